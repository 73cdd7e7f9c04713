# 4 sub-nets (Table 4): the last stage is routed. Clusters from tools/cluster.py --num-blocks 1.
_base_ = '../sdr_simsiam.py'

model = dict(backbone=dict(routed_blocks=(3, )))
train_dataloader = dict(dataset=dict(clusters='work_dirs/clusters_4.npz'))
