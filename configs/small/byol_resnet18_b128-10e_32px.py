# BYOL for some ten thousand small images on a CPU: a quarter of ResNet-18's width at 32 px.
#     python tools/train.py configs/small/byol_resnet18_b128-10e_32px.py --data FOLDER
_base_ = [
    '../_base_/models/byol_resnet50.py',
    '../_base_/datasets/folder_32px_batched.py',
    '../_base_/schedules/sgd_b128_10e.py',
    '../_base_/schedules/baseline.py',
]

norm = dict(type='BN1d')

model = dict(
    backbone=dict(depth=18, stem_channels=16, base_channels=16, norm_cfg=dict(type='BN')),
    neck=dict(in_channels=128, hid_channels=512, out_channels=128, norm_cfg=norm),
    head=dict(predictor=dict(in_channels=128, hid_channels=512, out_channels=128, norm_cfg=norm)))

train_dataloader = dict(
    batch_size=_base_.batch_size,
    num_workers=_base_.num_workers,
    persistent_workers=False,
    dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer)
train_cfg = dict(max_epochs=_base_.epochs)
