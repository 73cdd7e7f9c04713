# SDR on BYOL for some ten thousand small images on a CPU: 16 sub-nets, each of the baseline's size.
#     python tools/train.py configs/small/sdr_byol_resnet18_b128-10e_32px.py --data FOLDER --clusters clusters.npz
_base_ = [
    '../_base_/models/sdr_byol_resnet50.py',
    '../_base_/datasets/folder_32px_batched.py',
    '../_base_/schedules/sgd_b128_10e.py',
    '../_base_/schedules/sdr.py',
]

norm = dict(type='BN')

model = dict(
    backbone=dict(
        depth=18,
        stem_channels=16,
        base_channels=(12, 4),
        # Two routed blocks: 16 sub-nets.
        routed_blocks=(2, 3),
        norm_cfg=norm),
    neck=dict(hid_channels=512, out_channels=128, norm_cfg=norm),
    head=dict(predictor=dict(in_channels=128, hid_channels=512, out_channels=128, norm_cfg=norm)))

train_dataloader = dict(
    batch_size=_base_.batch_size,
    num_workers=_base_.num_workers,
    persistent_workers=False,
    dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer)
train_cfg = dict(max_epochs=_base_.epochs)
