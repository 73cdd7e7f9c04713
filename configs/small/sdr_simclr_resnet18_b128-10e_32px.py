# SDR on SimCLR, a contrastive loss for runs of minutes on two cores: 16 sub-nets, each of the baseline's size.
#     python tools/train.py configs/small/sdr_simclr_resnet18_b128-10e_32px.py --data FOLDER --clusters clusters.npz
# With --init-from baseline.pth every sub-net starts as a copy of the baseline that the clusters come from.
_base_ = [
    '../_base_/models/sdr_simsiam_resnet50.py',
    '../_base_/datasets/folder_32px_batched.py',
    '../_base_/schedules/sgd_b128_10e.py',
    '../_base_/schedules/sdr.py',
]

norm = dict(type='BN')

model = dict(
    type='SimCLRSDR',
    backbone=dict(
        depth=18,
        stem_channels=16,
        base_channels=(12, 4),
        # Two routed blocks: 16 sub-nets.
        routed_blocks=(2, 3),
        norm_cfg=norm,
        zero_init_residual=False),
    neck=dict(hid_channels=512, out_channels=512, norm_cfg=norm),
    head=dict(_delete_=True, type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2))

train_dataloader = dict(
    batch_size=_base_.batch_size,
    num_workers=_base_.num_workers,
    persistent_workers=False,
    dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer)
train_cfg = dict(max_epochs=_base_.epochs)
