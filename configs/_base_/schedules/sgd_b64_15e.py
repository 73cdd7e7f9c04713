# Some hundred iterations for a few thousand small images on a CPU.
_base_ = '../default_runtime.py'

epochs = 15
batch_size = 64
num_workers = 1
optimizer = dict(type='SGD', lr=0.05, weight_decay=5e-4, momentum=0.9)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, end=epochs, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=20))
randomness = dict(seed=0)
channels_last = True
