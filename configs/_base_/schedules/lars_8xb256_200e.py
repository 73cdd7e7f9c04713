# BYOL's LARS with a warm-up and a cosine: 8 GPUs x 256 images, 200 epochs. MMPretrain's batch and learning rate are
# twice as large; for other batches pass --auto-scale-lr.
_base_ = '../default_runtime.py'

epochs = 200
batch_size = 256
num_workers = 8
optimizer = dict(type='LARS', lr=2.4, weight_decay=1e-6, momentum=0.9)
# Norms and biases are neither decayed nor scaled by layer.
_plain = dict(decay_mult=0, lars_exclude=True)
paramwise_cfg = dict(custom_keys={'bn': _plain, 'bias': _plain, 'downsample.1': _plain})
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=epochs - 10, by_epoch=True, begin=10, end=epochs),
]
