# SDR for a few thousand small images on a CPU: 16 sub-nets, each of the baseline's size.
#     python tools/train.py configs/small/sdr_simsiam_resnet18_b64-15e_32px.py --data FOLDER --clusters clusters.npz
_base_ = [
    '../_base_/models/sdr_simsiam_resnet50.py',
    '../_base_/datasets/folder_32px.py',
    '../_base_/schedules/sgd_b64_15e.py',
    '../_base_/schedules/sdr.py',
]

norm = dict(type='BN')

model = dict(
    # Two routed blocks: 16 sub-nets.
    backbone=dict(
        depth=18,
        stem_channels=16,
        base_channels=(12, 4),
        routed_blocks=(2, 3),
        norm_cfg=norm,
        zero_init_residual=False),
    neck=dict(hid_channels=512, out_channels=512, norm_cfg=norm),
    head=dict(predictor=dict(in_channels=512, hid_channels=128, out_channels=512, norm_cfg=norm)))

train_dataloader = dict(
    batch_size=_base_.batch_size, num_workers=_base_.num_workers, dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer, paramwise_cfg=_base_.paramwise_cfg)
train_cfg = dict(max_epochs=_base_.epochs)
