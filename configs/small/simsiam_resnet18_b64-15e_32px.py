# SimSiam for a few thousand small images on a CPU: a quarter of ResNet-18's width at 32 px.
#     python tools/train.py configs/small/simsiam_resnet18_b64-15e_32px.py --data FOLDER
_base_ = [
    '../_base_/models/simsiam_resnet50.py',
    '../_base_/datasets/folder_32px.py',
    '../_base_/schedules/sgd_b64_15e.py',
    '../_base_/schedules/baseline.py',
]

model = dict(
    # Residual branches that begin at zero come too late in a run of some hundred iterations.
    backbone=dict(depth=18, stem_channels=16, base_channels=16, norm_cfg=dict(type='BN'), zero_init_residual=False),
    neck=dict(in_channels=128, hid_channels=512, out_channels=512, norm_cfg=dict(type='BN1d')),
    head=dict(predictor=dict(in_channels=512, hid_channels=128, out_channels=512, norm_cfg=dict(type='BN1d'))))

train_dataloader = dict(
    batch_size=_base_.batch_size, num_workers=_base_.num_workers, dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer, paramwise_cfg=_base_.paramwise_cfg)
train_cfg = dict(max_epochs=_base_.epochs)
