# The SimSiam baseline: MMPretrain's ResNet-50 recipe on ImageNet, 8 GPUs x 32 images, 200 epochs.
# Its checkpoint gives the features that are clustered, and the row that SDR has to beat.
_base_ = [
    '_base_/models/simsiam_resnet50.py',
    '_base_/datasets/imagenet_224px.py',
    '_base_/schedules/sgd_8xb32_200e.py',
    '_base_/schedules/baseline.py',
]

train_dataloader = dict(
    batch_size=_base_.batch_size, num_workers=_base_.num_workers, dataset=dict(dataset=_base_.train_dataset))
optim_wrapper = dict(optimizer=_base_.optimizer, paramwise_cfg=_base_.paramwise_cfg)
train_cfg = dict(max_epochs=_base_.epochs)
