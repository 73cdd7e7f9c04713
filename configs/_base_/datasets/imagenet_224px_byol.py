# ImageNet at 224 px with the two different views of BYOL: one is always blurred, the other seldom, and then solarized.
_base_ = 'imagenet_224px.py'

first_view = [
    dict(type='RandomResizedCrop', scale=224, interpolation='bicubic', backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[dict(type='sdr_mm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)],
        prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0),
    dict(type='Solarize', thr=128, prob=0.0),
]
second_view = [
    *first_view[:-2],
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.1),
    dict(type='Solarize', thr=128, prob=0.2),
]
train_pipeline = [
    dict(type='sdr_mm.LoadImage'),
    dict(type='MultiView', num_views=[1, 1], transforms=[first_view, second_view]),
    dict(type='PackInputs'),
]
train_dataset = dict(pipeline=train_pipeline)
