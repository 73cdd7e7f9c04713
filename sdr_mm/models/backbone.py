"""What routing, clustering, export and detection know of a backbone: this contract, and no network by name."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from ..errors import InputError
from ..registry import MODELS, SCOPE
from ..space import Path, SubnetSpace
from .sliced import ChannelLayout, PathLike


class SDRBackbone(BaseModule, metaclass=ABCMeta):
    """A backbone that holds a sub-net for every path.

    Whatever is sliced is made of :class:`~sdr_mm.models.sliced.SlicedLayer`, so that the part of each weight on a path
    is known (:func:`~sdr_mm.models.sliced.iter_slices`), and each sub-net is a plain network whose weights have the
    same names.

    Attributes:
        space (SubnetSpace): Its paths.
        path (tuple[int, …], optional): The only path that it was built with; None: it has all of them.
        in_channels (int): Channels of the image.
        out_layout (ChannelLayout): Channels of the last map, and so of the pooled features.
        segments (list[list[str]]): Names of its children in the order in which they run. ``segments[0]`` comes
            before the first routed block, ``segments[d]`` depends on the first ``d`` groups of the path. A sub-net's
            plain network has children of the same names, which do the same one after another.
    """

    space: SubnetSpace
    path: Path | None = None
    in_channels: int
    out_layout: ChannelLayout
    segments: list[list[str]]

    @abstractmethod
    def forward(self, x: Tensor, path: PathLike | None = None, update_stats: bool = True) -> tuple[Tensor, ...]:
        """Feature maps of the network on ``path``, the last one last.

        Args:
            x (Tensor): Images, ``(N, in_channels, H, W)``.
            path (PathLike, optional): The sub-net, as a tuple or an integer tensor with one group per routed block.
                Defaults to None: the path that the network was built for, or else the super-net.
            update_stats (bool): Whether a training forward of the super-net, or of a network built for one path,
                updates the running statistics; that of one sub-net among others never does. Defaults to True.

        Raises:
            InputError: If ``path`` is outside the space, or not the one that the network was built for.
        """

    @abstractmethod
    def subnet_config(self) -> dict[str, Any]:
        """Config of the plain network that a sub-net is, whose ``type`` any registry of OpenMMLab resolves."""

    def supernet_config(self) -> dict[str, Any]:
        """The same for the super-net.

        Raises:
            InputError: If no plain network is like it.
        """
        raise InputError(f'the super-net of {type(self).__name__} is no plain network: export a sub-net')

    def check_path(self, path: PathLike | None) -> PathLike | None:
        """Returns the path that the layers take: ``None`` for all the channels that they have.

        Raises:
            InputError: If the path is outside the space, or not the one that this network was built for.
        """
        if path is None:
            return None
        if self.path is not None:
            if tuple(map(int, path)) != self.path:
                raise InputError(f'this {type(self).__name__} has the sub-net on path {self.path} only, and no '
                                 f'{tuple(path)}: build it without a path')
            return None
        if not isinstance(path, Tensor):
            return self.space.check(path)
        if path.shape != (self.space.num_blocks, ):
            raise InputError(f'path of shape {tuple(path.shape)} is outside the space: '
                             f'a path is {self.space.num_blocks} groups')
        return path


def build_plain(config: dict[str, Any]) -> nn.Module:
    """The plain network of a :meth:`SDRBackbone.subnet_config`, in evaluation mode, whatever the default scope is."""
    network: nn.Module = MODELS.build({'_scope_': SCOPE, **config})
    network.eval()  # MMPretrain's backbones return nothing there.
    return network


def check_rgb(channels: int, where: Any, *, values: int = 3) -> None:
    """Refuses a network that cannot take the images that are read here, which are RGB.

    Args:
        channels (int): That it takes.
        where (Any): What it is from, for the message.
        values (int): Of the mean that is subtracted. Defaults to 3.

    Raises:
        InputError: If it takes another number of channels, or the mean has another.
    """
    if channels != 3:
        raise InputError(f'{where}: the network takes images of {channels} channel(s), and images are read here with '
                         f'3 (RGB): give one that was trained on RGB images')
    if values not in (1, 3):
        raise InputError(f'{where}: the normalization has {values} values, and images have 3 channels: correct mean '
                         f'and std of its data_preprocessor')


def pool_features(output: Any) -> Tensor:
    """Features ``(N, C)`` float32: what a backbone returned, averaged over space.

    Args:
        output (Any): A map ``(N, C, h, w)``, features ``(N, C)``, or a tuple of which the last one counts.

    Raises:
        InputError: If it is something else.
    """
    if isinstance(output, (tuple, list)) and output:
        output = output[-1]
    if isinstance(output, Tensor) and output.dim() == 4:
        return output.float().mean((2, 3))
    if isinstance(output, Tensor) and output.dim() == 2:
        return output.float()
    what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(f'the network returns {what}, not feature maps (N, C, h, w) or features (N, C): '
                     'give a backbone without its head')
