# How a super-net and its sub-nets are trained, whatever algorithm, backbone and data: these settings need each other.
_base_ = 'baseline.py'

train_dataloader = dict(
    # The batch sampler takes the data set, the seed and the batch size from the other settings. PyTorch wants
    # drop_last to be false beside it.
    drop_last=False,
    batch_sampler=dict(type='ClusterAwareSampler'),
    # From tools/cluster.py; around the data set of the recipe.
    dataset=dict(type='ClusterDataset', clusters='work_dirs/clusters.npz'))

optim_wrapper = dict(type='SubnetOptimWrapper', _scope_='sdr_mm')
train_cfg = dict(type='SDRTrainLoop', _scope_='sdr_mm')

custom_hooks = [
    dict(type='ProgressiveTrainingHook'),
    dict(type='SubnetStepHook'),
    dict(type='FixedLRHook'),
    dict(type='CollapseMonitorHook'),
    dict(type='SkipCountHook'),
]
