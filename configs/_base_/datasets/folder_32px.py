# A folder of small images at 32 px. Color and place say much about small pictures, so color is changed little and
# place a lot.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

view_pipeline = [
    dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.1, 1.), backend='cv2'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='sdr_mm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1),
]
train_pipeline = [
    dict(type='sdr_mm.LoadImage'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataset = dict(type='ImageFolder', data_root='data/images', pipeline=train_pipeline)

# Stored in the checkpoints, for the tools that evaluate them. Small tasks have no 200 neighbors of a kind.
evaluation = dict(resize=32, size=32, k=20)
