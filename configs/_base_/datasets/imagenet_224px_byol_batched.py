# The views of imagenet_224px_byol.py, faster, see imagenet_224px_batched.py: the first one is always blurred, the other
# seldom, and then solarized.
_base_ = 'imagenet_224px_batched.py'

data_preprocessor = dict(saturation=0.2, blur_prob=(1.0, 0.1), solarize_prob=(0.0, 0.2))

train_pipeline = [
    dict(
        type='sdr_mm.CropViews',
        transforms=[dict(type='sdr_mm.LoadImage')],
        size=224,
        crop_ratio_range=(0.08, 1.),
        interpolation='bicubic'),
    dict(type='PackInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'crops')),
]
train_dataset = dict(pipeline=train_pipeline)
