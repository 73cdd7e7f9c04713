"""Registries of the scope ``sdr_mm``.

Their parents are MMPretrain's registries, whose parents are MMEngine's roots. So a config with
``default_scope = 'sdr_mm'`` finds ``SDRResNet`` and the plain names of every recipe it inherits
from MMPretrain, and a config of any other OpenMMLab library finds ``sdr_mm.SDRResNet``.
"""

from mmengine.registry import Registry
from mmpretrain.registry import DATA_SAMPLERS as PARENT_DATA_SAMPLERS
from mmpretrain.registry import DATASETS as PARENT_DATASETS
from mmpretrain.registry import EVALUATORS as PARENT_EVALUATORS
from mmpretrain.registry import HOOKS as PARENT_HOOKS
from mmpretrain.registry import LOOPS as PARENT_LOOPS
from mmpretrain.registry import MODELS as PARENT_MODELS
from mmpretrain.registry import OPTIM_WRAPPERS as PARENT_OPTIM_WRAPPERS
from mmpretrain.registry import TRANSFORMS as PARENT_TRANSFORMS

SCOPE = 'sdr_mm'


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[f'sdr_mm.{name}' for name in locations])


MODELS = _child(PARENT_MODELS, 'models')
DATASETS = _child(PARENT_DATASETS, 'datasets')
DATA_SAMPLERS = _child(PARENT_DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(PARENT_TRANSFORMS, 'datasets')
HOOKS = _child(PARENT_HOOKS, 'engine')
LOOPS = _child(PARENT_LOOPS, 'engine')
OPTIM_WRAPPERS = _child(PARENT_OPTIM_WRAPPERS, 'engine')
EVALUATORS = _child(PARENT_EVALUATORS, 'routing')
