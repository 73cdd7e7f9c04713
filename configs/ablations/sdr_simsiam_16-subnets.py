# 16 sub-nets (Table 4): the last two stages are routed. Clusters from tools/cluster.py --num-blocks 2.
_base_ = '../sdr_simsiam.py'

model = dict(backbone=dict(routed_blocks=(2, 3)))
train_dataloader = dict(dataset=dict(clusters='work_dirs/clusters_16.npz'))
