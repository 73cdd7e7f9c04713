"""Registries of the scope ``sdr_mm``.

They are children of MMEngine's roots, so a config of any OpenMMLab library finds
``sdr_mm.SDRResNet``; and they fall back on MMPretrain's registries, so a config with
``default_scope = 'sdr_mm'`` finds ``SDRResNet`` and the plain names of every recipe it inherits from
MMPretrain.
"""

from __future__ import annotations

from typing import Any

from mmengine.registry import Registry
from mmpretrain import registry as mmpretrain_registry

SCOPE = 'sdr_mm'


class FallbackRegistry(Registry):
    """A child of MMPretrain's parent that looks in MMPretrain last.

    Args:
        fallback (Registry): MMPretrain's registry of the same kind.
        locations (str): Subpackages of ``sdr_mm`` whose import registers the classes.
    """

    def __init__(self, fallback: Registry, *locations: str) -> None:
        super().__init__(
            fallback.name, parent=fallback.parent, scope=SCOPE, locations=[f'{SCOPE}.{name}' for name in locations])
        self.fallback = fallback

    def get(self, key: str) -> Any | None:
        found = super().get(key)
        return self.fallback.get(key) if found is None else found


MODELS = FallbackRegistry(mmpretrain_registry.MODELS, 'models')
WEIGHT_INITIALIZERS = FallbackRegistry(mmpretrain_registry.WEIGHT_INITIALIZERS, 'models')
DATASETS = FallbackRegistry(mmpretrain_registry.DATASETS, 'datasets')
DATA_SAMPLERS = FallbackRegistry(mmpretrain_registry.DATA_SAMPLERS, 'datasets')
TRANSFORMS = FallbackRegistry(mmpretrain_registry.TRANSFORMS, 'datasets')
HOOKS = FallbackRegistry(mmpretrain_registry.HOOKS, 'engine')
LOOPS = FallbackRegistry(mmpretrain_registry.LOOPS, 'engine')
OPTIM_WRAPPERS = FallbackRegistry(mmpretrain_registry.OPTIM_WRAPPERS, 'engine')
EVALUATORS = FallbackRegistry(mmpretrain_registry.EVALUATORS, 'routing')

# Nothing of ours is in these; without them MMEngine would warn that the scope has no such registry.
RUNNERS = FallbackRegistry(mmpretrain_registry.RUNNERS)
RUNNER_CONSTRUCTORS = FallbackRegistry(mmpretrain_registry.RUNNER_CONSTRUCTORS)
LOG_PROCESSORS = FallbackRegistry(mmpretrain_registry.LOG_PROCESSORS)
OPTIMIZERS = FallbackRegistry(mmpretrain_registry.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = FallbackRegistry(mmpretrain_registry.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = FallbackRegistry(mmpretrain_registry.PARAM_SCHEDULERS)
METRICS = FallbackRegistry(mmpretrain_registry.METRICS)
MODEL_WRAPPERS = FallbackRegistry(mmpretrain_registry.MODEL_WRAPPERS)
BATCH_AUGMENTS = FallbackRegistry(mmpretrain_registry.BATCH_AUGMENTS)
TASK_UTILS = FallbackRegistry(mmpretrain_registry.TASK_UTILS)
VISUALIZERS = FallbackRegistry(mmpretrain_registry.VISUALIZERS)
VISBACKENDS = FallbackRegistry(mmpretrain_registry.VISBACKENDS)
