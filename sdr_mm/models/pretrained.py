"""Starting a backbone from a checkpoint so that nothing is left out silently."""

from __future__ import annotations

import re

from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit, update_init_info
from mmpretrain.models import BaseSelfSupervisor
from torch import nn

from ..registry import WEIGHT_INITIALIZERS
from .checkpoint_loaders import load_for_mmengine
from .checkpoints import state_of
from .warm_start import load_resnet_into, warm_start

_STAGE = re.compile(r'layer[1-4]\.0\.conv1\.weight')


@WEIGHT_INITIALIZERS.register_module('Pretrained')
class ExactPretrainedInit(PretrainedInit):
    """``Pretrained`` that loads every weight of a ResNet, or stops.

    MMEngine's own only warns of weights that are missing or of another shape, and training then starts from random
    ones. This one is asked for by its scope, in any OpenMMLab config::

        init_cfg=dict(type='Pretrained', _scope_='sdr_mm', checkpoint='backbone.pth')

    The type is still ``Pretrained``, on which MMPretrain's and MMDetection's backbones rely.

    - The checkpoint may be an export, that of a training, or that of any publisher that
      :func:`~sdr_mm.models.checkpoints.split_backbone` knows: no prefix is needed.
    - The module may be a whole ResNet, an :class:`SDRResNet`, with or without a path, or some stages of a ResNet, as
      in detectors of the C4 kind. It takes the stages it has. In an :class:`SDRResNet` of all paths, weights of a
      sub-net's size become every sub-net's (:func:`~sdr_mm.models.warm_start.warm_start`).
    - The module may be a whole model with a backbone, whose neck and head then start from the same file.
    - For a module that is no ResNet, and where a prefix is given, it does what MMEngine's does.

    Args:
        checkpoint (str): A file, or a name that MMEngine resolves, such as ``torchvision://resnet50``.
        prefix (str, optional): As for MMEngine's. Defaults to None.
        map_location (str): As for MMEngine's. Defaults to 'cpu'.
    """

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights.

        Raises:
            InputError: If there is no such file, it holds no ResNet, or a weight is missing, unexpected or of another
                shape.
        """
        whole = isinstance(module, BaseSelfSupervisor)
        if self.prefix is not None or not whole and not any(map(_STAGE.fullmatch, module.state_dict())):
            super().__call__(module)
            return
        state = state_of(load_for_mmengine(self.checkpoint, 'cpu'), self.checkpoint)
        if whole:
            parts = warm_start(module, state, self.checkpoint)
            print_log(f'{", ".join(parts)} start from {self.checkpoint}', logger='current')
        else:
            load_resnet_into(module, state, self.checkpoint)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())
