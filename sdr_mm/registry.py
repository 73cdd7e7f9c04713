"""Registries of the scope ``sdr_mm``.

They are children of MMEngine's roots, so a config of any OpenMMLab library finds
``sdr_mm.SDRResNet``; and they fall back on MMPretrain's registries, so a config with
``default_scope = 'sdr_mm'`` finds ``SDRResNet`` and the plain names of every recipe it inherits from
MMPretrain.

Neither torch nor MMPretrain is imported before a name is looked up, so that ``import sdr_mm`` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmengine import registry as root

SCOPE = 'sdr_mm'


class FallbackRegistry(root.Registry):
    """A child of MMEngine's root that looks in MMPretrain's registry of the same kind last.

    Args:
        name (str): Name of the registry in :mod:`mmpretrain.registry`.
        parent (Registry, optional): MMEngine's root; None if it has none of the kind.
        locations (str): Subpackages of ``sdr_mm`` whose import registers the classes.
    """

    def __init__(self, name: str, parent: root.Registry | None, *locations: str) -> None:
        super().__init__(
            parent.name if parent is not None else name.lower(), parent=parent, scope=SCOPE,
            locations=[f'{SCOPE}.{location}' for location in locations])
        self.fallback = name

    def get(self, key: str) -> Any | None:
        found = super().get(key)
        return getattr(import_module('mmpretrain.registry'), self.fallback).get(key) if found is None else found


MODELS = FallbackRegistry('MODELS', root.MODELS, 'models')
WEIGHT_INITIALIZERS = FallbackRegistry('WEIGHT_INITIALIZERS', root.WEIGHT_INITIALIZERS, 'models')
DATASETS = FallbackRegistry('DATASETS', root.DATASETS, 'datasets')
DATA_SAMPLERS = FallbackRegistry('DATA_SAMPLERS', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = FallbackRegistry('TRANSFORMS', root.TRANSFORMS, 'datasets')
HOOKS = FallbackRegistry('HOOKS', root.HOOKS, 'engine', 'routing')
LOOPS = FallbackRegistry('LOOPS', root.LOOPS, 'engine')
OPTIM_WRAPPERS = FallbackRegistry('OPTIM_WRAPPERS', root.OPTIM_WRAPPERS, 'engine')
EVALUATORS = FallbackRegistry('EVALUATORS', root.EVALUATOR, 'routing')

# Nothing of ours is in these; without them MMEngine would warn that the scope has no such registry.
RUNNERS = FallbackRegistry('RUNNERS', root.RUNNERS)
RUNNER_CONSTRUCTORS = FallbackRegistry('RUNNER_CONSTRUCTORS', root.RUNNER_CONSTRUCTORS)
LOG_PROCESSORS = FallbackRegistry('LOG_PROCESSORS', root.LOG_PROCESSORS)
OPTIMIZERS = FallbackRegistry('OPTIMIZERS', root.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = FallbackRegistry('OPTIM_WRAPPER_CONSTRUCTORS', root.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = FallbackRegistry('PARAM_SCHEDULERS', root.PARAM_SCHEDULERS)
METRICS = FallbackRegistry('METRICS', root.METRICS)
MODEL_WRAPPERS = FallbackRegistry('MODEL_WRAPPERS', root.MODEL_WRAPPERS)
BATCH_AUGMENTS = FallbackRegistry('BATCH_AUGMENTS', None)
TASK_UTILS = FallbackRegistry('TASK_UTILS', root.TASK_UTILS)
VISUALIZERS = FallbackRegistry('VISUALIZERS', root.VISUALIZERS)
VISBACKENDS = FallbackRegistry('VISBACKENDS', root.VISBACKENDS)
