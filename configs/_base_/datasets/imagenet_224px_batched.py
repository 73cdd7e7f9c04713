# The views of imagenet_224px.py, faster: a worker of the loader decodes an image once and cuts both crops, and the
# other augmentations run on whole batches where the model does. To train with it:
#     sed 's/imagenet_224px[_a-z]*/&_batched/' configs/sdr_simsiam.py > configs/sdr_simsiam_batched.py
#     bash tools/dist_train.sh configs/sdr_simsiam_batched.py 8
# With `--cfg-options train_dataloader.dataset.dataset.pipeline.0.decoder=dali` NVIDIA DALI decodes JPEGs and cuts the
# crops on the GPU, and the workers read files only (pip install 'sdr-mm[dali]').
_base_ = 'imagenet_224px.py'

data_preprocessor = dict(
    type='sdr_mm.BatchedColors',
    flip_prob=0.5,
    jitter_prob=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    gray_prob=0.2,
    blur_prob=0.5,
    blur_sigma=(0.1, 2.0))

train_pipeline = [
    dict(
        type='sdr_mm.CropViews',
        transforms=[dict(type='sdr_mm.LoadImage')],
        size=224,
        crop_ratio_range=(0.2, 1.)),
    dict(type='PackInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'crops')),
]
train_dataset = dict(pipeline=train_pipeline)
