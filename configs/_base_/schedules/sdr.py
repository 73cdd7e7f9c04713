# How a super-net and its sub-nets are trained, whatever algorithm, backbone and data: these settings need each other.
_base_ = 'baseline.py'

train_dataloader = dict(
    # From tools/cluster.py.
    dataset=dict(clusters='work_dirs/clusters.npz'))

optim_wrapper = dict(type='SubnetOptimWrapper', _scope_='sdr_mm')

custom_hooks = [
    dict(type='ProgressiveTrainingHook'),
    dict(type='NonFiniteHook', action='stop'),
    dict(type='SubnetStepHook'),
    dict(type='FixedLRHook'),
    dict(type='CollapseMonitorHook'),
    dict(type='SkipCountHook'),
]
