# SimSiam on a plain ResNet-50 of the super-net's size, 57.3M parameters (Table 3), to be pruned with tools/prune.py.
# Of the paper's sizes, 56.2M: --cfg-options model.backbone.base_channels=99 model.neck.in_channels=3168
_base_ = '../simsiam.py'

model = dict(backbone=dict(base_channels=100), neck=dict(in_channels=3200))
