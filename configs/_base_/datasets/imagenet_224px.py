# ImageNet at 224 px with the two views of MoCo v2 and SimSiam. MMPretrain's pipeline but for two transforms: a color
# jitter whose hue works under NumPy 2 too, and a loader of any image file, which stops or skips at a broken one.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

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
    dict(type='sdr_mm.LoadImage'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataset = dict(type='ImageNet', data_root='data/imagenet/', split='train', pipeline=train_pipeline)

# Stored in the checkpoints, for the tools that evaluate them: the paper's kNN.
evaluation = dict(resize=256, size=224, k=200)
