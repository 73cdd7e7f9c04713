# The SimSiam baseline: MMPretrain's ResNet-50 recipe on ImageNet, 8 GPUs x 32 images, 200 epochs.
# Its checkpoint gives the features that are clustered, and the row that SDR has to beat.
_base_ = 'mmpretrain::simsiam/simsiam_resnet50_8xb32-coslr-200e_in1k.py'

custom_imports = dict(imports=['sdr_mm'])
default_scope = 'sdr_mm'

# MMPretrain's views, with a color jitter whose hue works under NumPy 2 too.
view_pipeline = [
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.), backend='pillow'),
    dict(
        type='RandomApply',
        transforms=[dict(type='sdr_mm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)],
        prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    # Reads any image file, alpha and EXIF included, and stops or skips (on_error) at a broken one.
    dict(type='sdr_mm.LoadImage'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline),
    # Without the _scope_ that an inherited entry carries, which MMEngine would pass to the function.
    collate_fn=dict(_delete_=True, type='default_collate'))

# In place of SimSiamHook, which --auto-scale-lr does not reach.
custom_hooks = [dict(type='FixedLRHook'), dict(type='SkipCountHook')]

auto_scale_lr = dict(base_batch_size=256)
