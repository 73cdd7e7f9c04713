"""All sub-nets in one pass: what several paths have in common is computed once (section 4.2, Fig. 3).

Sub-nets whose paths begin alike compute the same up to there, so they form a tree: the stem at the
root, below it a node for each prefix, and the sub-nets as leaves. For a ResNet-50 with 256 sub-nets a
walk through the tree costs 1/3.27 of running them one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import InputError
from ..models.backbone import SDRBackbone, build_plain, pool_features
from ..models.checkpoints import load_exactly
from ..models.sliced import subnet_state_dict
from ..space import Path
from .bn_reset import NormMeter, norm_layers

MEMORY = 4 * 2**30
"""Bytes that the features of the sub-nets of one part may take, see :meth:`PrefixTree.parts`."""

Statistics = dict[str, tuple[Tensor | None, Tensor | None]]
"""Mean and variance of each norm layer of a node, by name."""


class PrefixTree:
    """The sub-nets of an SDRNet as a tree of plain network parts.

    The tree is exact where the BN statistics of a stage depend on the prefix of its path alone. That
    holds for the super-net's statistics, with which it begins, and after :meth:`reset_bn`, which gives
    each sub-net what :func:`reset_bn` would give it on the same batches. It does not hold for
    statistics of each sub-net's own cluster.

    Args:
        backbone (SDRBackbone): The SDRNet. It is not changed. Weights are copied, in the parts that the
            sub-nets use; at most one copy for each pair of neighboring groups.
    """

    def __init__(self, backbone: SDRBackbone) -> None:
        self.backbone = backbone
        self.space = backbone.space
        self.device = next(backbone.parameters()).device
        self._plain = build_plain(backbone.subnet_config())
        self._segments: dict[tuple[int, Path], tuple[nn.Module, dict[str, _NormBase], Statistics]] = {}
        self._statistics: dict[Path, Statistics] = {}

    def _segment(self, prefix: Path) -> nn.Module:
        """The plain modules of a node, with the super-net's statistics or those of its prefix."""
        # Weights depend on the node's own group and, by their input channels, on the one before.
        key = (len(prefix), prefix[-2:])
        if key not in self._segments:
            path = prefix + (0, ) * (self.space.num_blocks - len(prefix))
            parts = nn.Sequential()
            for name in self.backbone.segments[len(prefix)]:
                part = deepcopy(getattr(self._plain, name)).to(self.device)
                load_exactly(part, subnet_state_dict(getattr(self.backbone, name), path), f'{name} of path {path}')
                parts.add_module(name, part)
            parts.eval()
            layers = norm_layers(parts)
            statistics = {name: (layer.running_mean, layer.running_var) for name, layer in layers.items()}
            self._segments[key] = parts, layers, statistics
        segment, layers, statistics = self._segments[key]
        statistics = self._statistics.get(prefix, statistics)
        for name, layer in layers.items():
            layer.running_mean, layer.running_var = statistics[name]
        return segment

    def _walk(self, x: Tensor, nodes: set[Path], run: Callable[[Path, Tensor], Tensor],
              prefix: Path = ()) -> Iterator[tuple[Path, Tensor]]:
        """Depth first, so that one batch of activations a level is alive; yields the leaves."""
        x = run(prefix, x)
        if len(prefix) == self.space.num_blocks:
            yield prefix, x
            return
        for group in range(self.space.num_groups):
            child = (*prefix, group)
            if child in nodes:
                yield from self._walk(x, nodes, run, child)

    @staticmethod
    def nodes(paths: Iterable[Path]) -> set[Path]:
        """The prefixes of ``paths``, the root ``()`` and the paths themselves included."""
        return {path[:depth] for path in paths for depth in range(len(path) + 1)}

    @torch.no_grad()
    def reset_bn(self, batches: Iterable[Tensor], paths: Sequence[Path]) -> None:
        """Measures the BN statistics of the sub-nets on ``paths``, all of them on the same images.

        ``batches`` are images ``(N, 3, H, W)``, normalized, on the device. Other sub-nets keep what they had.

        Raises:
            InputError: As :func:`reset_bn`.
        """
        nodes = self.nodes(paths)
        meters = {prefix: NormMeter(self._segment(prefix)) for prefix in nodes}
        empty = True
        for batch in batches:
            empty = False
            for _ in self._walk(batch, nodes, lambda prefix, x: meters[prefix].run(self._segment(prefix), x)):
                pass
        if empty:
            raise InputError('BN reset has no images: give it at least one batch')
        for prefix, meter in meters.items():
            self._statistics[prefix] = {
                name: (mean.float(), var.float()) for name, (mean, var) in meter.statistics().items()
            }

    @torch.no_grad()
    def features(self, batches: Iterable[Tensor], paths: Sequence[Path]) -> dict[Path, Tensor]:
        """Pooled features ``(n, C)`` float32 of the sub-nets on ``paths``, in one walk a batch.

        They are what :func:`sdr_mm.evaluation.pooled_features` gives for the extracted sub-nets.
        """
        nodes = self.nodes(paths)
        pooled: dict[Path, list[Tensor]] = {path: [] for path in paths}
        for batch in batches:
            for path, x in self._walk(batch, nodes, lambda prefix, x: self._segment(prefix)(x)):
                pooled[path].append(pool_features(x))
        return {path: torch.cat(maps) for path, maps in pooled.items()}

    def parts(self, paths: Sequence[Path], num_images: int, at_least: int = 1,
              memory: int = MEMORY) -> list[list[Path]]:
        """Divides sub-nets into sub-trees, because the features of all of them may not fit into memory.

        What a sub-tree has above its own root is computed again for each, which costs little near the
        stem: 16 sub-trees of a ResNet-50 with 256 sub-nets cost 3 % more than one.

        Args:
            paths (Sequence[Path]): The sub-nets.
            num_images (int): Images whose features are kept.
            at_least (int): Wanted number of parts, for example of ranks. Defaults to 1.
            memory (int): Bytes for the features of one part. Defaults to :data:`MEMORY`.

        Returns:
            list[list[Path]]: Every path once, neighbors in the tree together.
        """
        each = 4 * num_images * self.backbone.out_layout.active
        size = max(1, min(memory // each, len(paths) // at_least))
        # Whole sub-trees, or multiples of them: 4 paths of a common prefix cost less than 5 that need two.
        if self.space.num_groups > 1:
            size -= size % self.space.num_groups**int(math.log(size, self.space.num_groups) + 1e-9)
        ordered = sorted(paths)
        return [ordered[start:start + size] for start in range(0, len(ordered), size)]

    @torch.no_grad()
    def level_macs(self, size: int) -> list[int]:
        """Multiply-accumulate operations of the convolutions for one image of ``size`` pixels: of the root, then of one
        node at each depth."""
        macs: list[int] = []

        def count(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
            assert isinstance(layer, nn.Conv2d)
            macs[-1] += out.numel() * layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]

        x = torch.zeros(1, self.backbone.in_channels, size, size, device=self.device)
        for depth in range(self.space.num_blocks + 1):
            segment = self._segment((0, ) * depth)
            convs = [module for module in segment.modules() if isinstance(module, nn.Conv2d)]
            hooks = [conv.register_forward_hook(count) for conv in convs]
            macs.append(0)
            x = segment(x)
            for hook in hooks:
                hook.remove()
        return macs

    def passes(self, paths: Sequence[Path], size: int) -> float:
        """Cost of a walk over ``paths`` for one image, in passes of one image through one sub-net."""
        macs = self.level_macs(size)
        depths = [len(node) for node in self.nodes(paths)]
        return sum(macs[depth] for depth in depths) / sum(macs)
