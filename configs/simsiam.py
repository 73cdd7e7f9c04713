# The SimSiam baseline: MMPretrain's ResNet-50 recipe on ImageNet, 8 GPUs x 32 images, 200 epochs.
# Its checkpoint gives the features that are clustered, and the row that SDR has to beat.
_base_ = 'mmpretrain::simsiam/simsiam_resnet50_8xb32-coslr-200e_in1k.py'

custom_imports = dict(imports=['sdr_mm'])
default_scope = 'sdr_mm'

train_pipeline = [
    # Reads any image file, alpha and EXIF included, and stops or skips (on_error) at a broken one.
    dict(type='sdr_mm.LoadImage'),
    dict(type='MultiView', num_views=2, transforms=[{{_base_.view_pipeline}}]),
    dict(type='PackInputs')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# In place of SimSiamHook, which --auto-scale-lr does not reach.
custom_hooks = [dict(type='LoaderCheckHook'), dict(type='FixedLRHook')]

auto_scale_lr = dict(base_batch_size=256)
