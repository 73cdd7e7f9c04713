"""MoCo's head for detectors of the C4 kind."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import build_norm_layer
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmengine.model import BaseModule
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class ExtraNormResLayer(BaseModule):
    """The last stage of a ResNet as the head of a C4 detector, with a norm after it.

    Section 4.2 of MoCo (He et al. 2020): all norms are trained, so one more follows the stage, which
    calibrates magnitudes between backbones.

    Args:
        depth (int): Depth of the ResNet.
        stage (int): Which stage, from 0. Defaults to 3, the last one.
        norm_cfg (dict): Norm layers. Defaults to SyncBN.
        init_cfg (dict, optional): Of the stage. Defaults to None, Kaiming.
        kwargs (Any): Further arguments of :class:`mmdet.models.ResLayer`.
    """

    def __init__(self, depth: int, stage: int = 3, norm_cfg: dict[str, Any] = dict(type='SyncBN', requires_grad=True),
                 init_cfg: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__()
        self.res = ResLayer(depth, stage=stage, norm_cfg=norm_cfg, init_cfg=init_cfg, **kwargs)
        last = getattr(self.res, f'layer{stage + 1}')[-1]
        channels = (last.norm3 if hasattr(last, 'norm3') else last.norm2).num_features
        self.norm_name, norm = build_norm_layer(norm_cfg, channels)
        self.add_module(self.norm_name, norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(regions, C, h, w)`` to ``(regions, 2C, h/2, w/2)``."""
        out: Tensor = getattr(self, self.norm_name)(self.res(x))
        return out
