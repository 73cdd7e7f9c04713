"""Hooks, loops and optimizer wrappers that drive the training of an SDRNet."""

from .checkpoint_hook import WholeCheckpointHook
from .cluster_batches_hook import ClusterBatchesHook
from .collapse_monitor_hook import CollapseMonitorHook
from .fixed_lr_hook import FixedLRHook
from .interrupt_hook import InterruptHook
from .loops import SDRTrainLoop
from .non_finite_hook import NonFiniteHook
from .profile_hook import ProfileHook
from .progress_bar_hook import ProgressBarHook
from .progressive_training_hook import ProgressiveTrainingHook
from .skip_count_hook import SkipCountHook
from .subnet_optim_wrapper import AmpSubnetOptimWrapper, SubnetOptimWrapper
from .subnet_step_hook import SubnetStepHook
from .throughput_hook import ThroughputHook

__all__ = [
    'AmpSubnetOptimWrapper', 'ClusterBatchesHook', 'CollapseMonitorHook', 'FixedLRHook', 'InterruptHook',
    'NonFiniteHook', 'ProfileHook', 'ProgressBarHook', 'ProgressiveTrainingHook', 'SDRTrainLoop', 'SkipCountHook',
    'SubnetOptimWrapper', 'SubnetStepHook', 'ThroughputHook', 'WholeCheckpointHook'
]
