# Some minutes on two cores for twenty thousand small images, which a contrastive loss learns from.
_base_ = 'sgd_b64_15e.py'

epochs = 10
batch_size = 128
num_workers = 0
optimizer = dict(lr=0.1)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, end=epochs, by_epoch=True, convert_to_iter_based=True)]
