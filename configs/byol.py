# The BYOL baseline: MMPretrain's ResNet-50 recipe on ImageNet, at half its batch: 8 GPUs x 256 images, 200 epochs.
# The other baseline of the paper trains for 400: pass --epochs 400.
_base_ = [
    '_base_/models/byol_resnet50.py',
    '_base_/datasets/imagenet_224px_byol.py',
    '_base_/schedules/baseline.py',
    '_base_/schedules/lars_8xb256_200e.py',
]

train_dataloader = dict(
    batch_size=_base_.batch_size, num_workers=_base_.num_workers, dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer, paramwise_cfg=_base_.paramwise_cfg)
train_cfg = dict(max_epochs=_base_.epochs)
auto_scale_lr = dict(base_batch_size=2048)
