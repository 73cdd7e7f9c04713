# How one network is trained; its data set, batch size, optimizer and length are the recipe's.
train_dataloader = dict(
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'))

optim_wrapper = dict(type='OptimWrapper')
train_cfg = dict(type='EpochBasedTrainLoop')

# FixedLRHook in place of MMPretrain's SimSiamHook, which --auto-scale-lr does not reach.
custom_hooks = [dict(type='FixedLRHook'), dict(type='SkipCountHook')]

auto_scale_lr = dict(base_batch_size=256)
