# 64 sub-nets (Table 4): the last three stages are routed. Clusters from tools/cluster.py --num-blocks 3.
_base_ = '../sdr_simsiam.py'

model = dict(backbone=dict(routed_blocks=(1, 2, 3)))
train_dataloader = dict(dataset=dict(clusters='work_dirs/clusters_64.npz'))
