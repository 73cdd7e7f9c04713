# SDR on BYOL: ImageNet, 8 GPUs x 256 images, 400 epochs, 256 sub-nets (section 5.1 of the paper).
# Data, views and schedule are those of the baseline; clusters.npz comes from tools/cluster.py.
_base_ = [
    '_base_/models/sdr_byol_resnet50.py',
    '_base_/datasets/imagenet_224px_byol.py',
    '_base_/schedules/sdr.py',
    '_base_/schedules/lars_8xb256_200e.py',
]

epochs = 400
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=epochs - 10, by_epoch=True, begin=10, end=epochs),
]
train_dataloader = dict(
    batch_size=_base_.batch_size, num_workers=_base_.num_workers, dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer, paramwise_cfg=_base_.paramwise_cfg)
train_cfg = dict(max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=2048)
