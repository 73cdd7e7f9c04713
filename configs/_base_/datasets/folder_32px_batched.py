# A folder of small images at 32 px that fit into memory: decoded once, and augmented as batches where the model runs.
data_preprocessor = dict(
    type='sdr_mm.BatchedViews',
    size=32,
    crop_ratio_range=(0.2, 1.),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    jitter_prob=0.8,
    gray_prob=0.1,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)

train_pipeline = [
    dict(
        type='sdr_mm.Cached',
        transforms=[
            dict(type='sdr_mm.LoadImage'),
            dict(type='sdr_mm.ResizeAndCrop', resize=32, size=32),
        ]),
    dict(type='PackInputs'),
]
train_dataset = dict(type='ImageFolder', data_root='data/images', pipeline=train_pipeline)

# Stored in the checkpoints, for the tools that evaluate them. Small tasks have no 200 neighbors of a kind.
evaluation = dict(resize=32, size=32, k=20)
