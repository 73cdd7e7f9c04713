# SimCLR on batches of one cluster at a time: the control of SDR, and a recipe of its own.
#     python tools/train.py configs/small/simclr_cluster-batches_resnet18_b128-10e_32px.py --data FOLDER \
#         --clusters clusters.npz --init-from baseline.pth
_base_ = 'simclr_resnet18_b128-10e_32px.py'

train_dataloader = dict(dataset=dict(clusters='work_dirs/clusters.npz'))
custom_hooks = [dict(type='ClusterBatchesHook'), *_base_.custom_hooks]
