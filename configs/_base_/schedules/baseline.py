# How one network is trained; its data set, batch size, optimizer and length are the recipe's.
train_dataloader = dict(
    # The batch sampler takes the data set, the seed and the batch size from the other settings. PyTorch wants
    # drop_last to be false beside it; it drops the last, incomplete batch itself.
    drop_last=False,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='ClusterAwareSampler'),
    # Around the data set of the recipe: order and views of the images follow from the seed, so a run resumes anywhere.
    dataset=dict(type='ClusterDataset'),
    collate_fn=dict(type='default_collate'))

optim_wrapper = dict(type='OptimWrapper')
train_cfg = dict(type='SDRTrainLoop', _scope_='sdr_mm')

# FixedLRHook in place of MMPretrain's SimSiamHook, which --auto-scale-lr does not reach. NonFiniteHook may have
# action='skip', to pass over batches whose loss or gradient is not finite.
custom_hooks = [
    dict(type='NonFiniteHook', action='stop'),
    dict(type='FixedLRHook'),
    dict(type='CollapseMonitorHook'),
    dict(type='SkipCountHook'),
]

auto_scale_lr = dict(base_batch_size=256)
