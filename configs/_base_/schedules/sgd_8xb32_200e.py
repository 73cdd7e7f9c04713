# SimSiam's SGD with a cosine: 8 GPUs x 32 images, 200 epochs.
_base_ = '../default_runtime.py'

epochs = 200
batch_size = 32
num_workers = 8
optimizer = dict(type='SGD', lr=0.05, weight_decay=1e-4, momentum=0.9)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, begin=0, end=epochs)]
