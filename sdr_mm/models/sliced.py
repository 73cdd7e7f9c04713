"""Layers of which a sub-net uses a slice (section 4.2, "Splits of sub-nets and SDR block").

The channels of a routed layer are laid out ``[shared | g0 | g1 | …]``. The super-net uses all of them; a sub-net uses
the shared group and one individual group. Every layer here takes the path as an argument of ``forward``, derives the
channels from it, and remembers nothing.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

PathLike = Sequence[int] | Tensor
"""One group per routed block: a tuple, or an integer tensor of shape ``(num_blocks,)``."""

Runs = tuple[tuple[int, int], ...]
"""Channels that are selected: (first, last + 1) of each unbroken run of them."""

Slices = tuple[Runs | Tensor | None, ...]
"""For each leading dimension of a tensor what is selected: runs, indices, or ``None`` for all."""

T = TypeVar('T')


@dataclass(frozen=True)
class ChannelLayout:
    """How the channels of one layer are split.

    Args:
        shared (int): Channels that every sub-net has.
        individual (int): Channels of one individual group. Defaults to 0.
        num_groups (int): Individual groups. Defaults to 0.
        block (int, optional): Which entry of the path chooses the group. Defaults to None: every network has all
            channels.
        group (int, optional): The only individual group of a :meth:`fixed` layout. Defaults to None, all of them.
    """

    shared: int
    individual: int = 0
    num_groups: int = 0
    block: int | None = None
    group: int | None = None

    @property
    def total(self) -> int:
        """Channels that the layer has: the super-net's, or after :meth:`fixed` the sub-net's."""
        return self.shared + self.individual * (self.num_groups if self.group is None else 1)

    @property
    def active(self) -> int:
        """Channels of a sub-net."""
        return self.total if self.block is None else self.shared + self.individual

    def scaled(self, factor: int) -> ChannelLayout:
        """The same split of ``factor`` times as many channels."""
        return replace(self, shared=self.shared * factor, individual=self.individual * factor)

    def fixed(self, path: Sequence[int]) -> ChannelLayout:
        """The layout of a layer that has the channels on ``path`` and no others."""
        return self if self.block is None else replace(self, group=path[self.block])

    @property
    def whole(self) -> ChannelLayout:
        """The super-net's layout, of which :meth:`fixed` made this one."""
        return replace(self, group=None)

    def source(self) -> Tensor | None:
        """Indices in the super-net of the channels of a :meth:`fixed` layout; ``None`` for all."""
        table = self.whole.table()
        return None if table is None or self.group is None else table[self.group]

    def origin(self) -> tuple[Tensor, Tensor]:
        """For each channel, ``(total,)``: its number in a sub-net, and its individual group, -1 for shared ones."""
        shared = torch.arange(self.shared)
        rest = torch.arange(self.total - self.shared)
        return (torch.cat([shared, self.shared + rest % max(1, self.individual)]),
                torch.cat([torch.full_like(shared, -1), rest // max(1, self.individual)]))

    def runs(self, group: int) -> Runs:
        """The channels of a sub-net that has this group."""
        first = self.shared + group * self.individual
        end = first + self.individual
        return ((0, end), ) if first == self.shared else ((0, self.shared), (first, end))

    def table(self) -> Tensor | None:
        """Channel indices by group, ``(num_groups, active)``, or ``None`` if there is nothing to choose."""
        if self.block is None or self.group is not None:
            return None
        shared = torch.arange(self.shared).expand(self.num_groups, -1)
        groups = self.shared + torch.arange(self.num_groups * self.individual).view(self.num_groups, -1)
        return torch.cat([shared, groups], dim=1)


def take(tensor: Tensor, slices: Slices) -> Tensor:
    """The selected sub-tensor, as a differentiable copy (or ``tensor`` itself if all is selected)."""
    if any(isinstance(part, tuple) for part in slices):
        taken: Tensor = _TakeRuns.apply(tensor, slices)  # type: ignore[no-untyped-call]  # torch types no apply
        return taken
    for dim, index in enumerate(slices):
        if isinstance(index, Tensor):
            tensor = tensor.index_select(dim, index)
    return tensor


def put(tensor: Tensor, slices: Slices, values: Tensor) -> None:
    """Writes ``values`` into the selected runs, the inverse of :func:`take`, in place."""
    for ours, theirs in rectangles(slices):
        tensor[ours] = values[theirs]


@lru_cache(maxsize=4096)
def rectangles(slices: tuple[Runs | None, ...]) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """The rectangles that make up a selection of runs: where each is in the whole tensor, and where in the selection.

    Taken one by one they are views, on which what is done to each element alone can be done in place.
    """
    sides: list[list[tuple[slice, slice]]] = []
    for runs in slices:
        side, at = [], 0
        for first, end in runs or ():
            side.append((slice(first, end), slice(at, at + end - first)))
            at += end - first
        sides.append(side if runs is not None else [(slice(None), slice(None))])
    return [(tuple(ours for ours, _ in corner), tuple(theirs for _, theirs in corner)) for corner in product(*sides)]


class _TakeRuns(torch.autograd.Function):
    """Copies whole runs, both ways, where ``index_select`` copies one dimension after the other.

    The copy has the memory format of the tensor, so that a convolution in channels-last finds its weight so, and the
    gradient has its strides.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, slices: tuple[Runs | None, ...]) -> Tensor:
        ctx.slices, ctx.shape, ctx.strides = slices, tensor.shape, tensor.stride()
        shape = list(tensor.shape)
        for dim, runs in enumerate(slices):
            if runs is not None:
                shape[dim] = sum(end - first for first, end in runs)
        channels_last = (torch.channels_last if tensor.dim() == 4 and not tensor.is_contiguous() and
                         tensor.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format)
        taken = torch.empty(shape, dtype=tensor.dtype, device=tensor.device, memory_format=channels_last)
        for ours, theirs in rectangles(slices):
            taken[theirs] = tensor[ours]
        return taken

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        whole = torch.empty_strided(ctx.shape, ctx.strides, dtype=grad.dtype, device=grad.device).zero_()
        put(whole, ctx.slices, grad)
        return whole, None


class SlicedLayer(nn.Module, metaclass=ABCMeta):
    """Mix-in for a layer whose input and output channels follow a :class:`ChannelLayout`."""

    in_table: Tensor | None
    out_table: Tensor | None

    def _set_layouts(self, in_layout: ChannelLayout, out_layout: ChannelLayout) -> None:
        self.in_layout, self.out_layout = in_layout, out_layout
        # Derived from the layouts, so they follow .to(device) but are no part of a checkpoint.
        self.register_buffer('in_table', in_layout.table(), persistent=False)
        self.register_buffer('out_table', out_layout.table(), persistent=False)

    @abstractmethod
    def by_name(self, inputs: T, outputs: T) -> dict[str, tuple[T, ...]]:
        """For each own parameter and buffer that a path slices, which of the two its leading dimensions count."""

    def slices(self, path: PathLike | None) -> dict[str, Slices]:
        """For each own parameter and buffer that ``path`` slices, which part of it the sub-net is."""
        return self.by_name(_selected(self.in_layout, self.in_table, path),
                            _selected(self.out_layout, self.out_table, path))


def _selected(layout: ChannelLayout, table: Tensor | None, path: PathLike | None) -> Runs | Tensor | None:
    """The channels on ``path``; ``None`` for all."""
    if path is None or table is None or layout.block is None:
        return None
    group = path[layout.block]
    # A tensor as index keeps the group out of a compiled graph: one graph then serves all sub-nets.
    return table.index_select(0, group.view(1)).squeeze(0) if isinstance(group, Tensor) else layout.runs(group)


class SlicedConv2d(SlicedLayer, nn.Conv2d):
    """Convolution without bias that uses the rows and columns of its weight that lie on the path.

    Args:
        in_layout (ChannelLayout): Split of the input channels.
        out_layout (ChannelLayout): Split of the output channels.
        kernel_size (int): As for ``nn.Conv2d``.
        **kwargs: As for ``nn.Conv2d``, but ``bias``.
    """

    def __init__(self, in_layout: ChannelLayout, out_layout: ChannelLayout, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(in_layout.total, out_layout.total, kernel_size, bias=False, **kwargs)
        self._set_layouts(in_layout, out_layout)

    def by_name(self, inputs: T, outputs: T) -> dict[str, tuple[T, ...]]:
        return {'weight': (outputs, inputs)}

    def forward(self, x: Tensor, path: PathLike | None = None) -> Tensor:
        """``(N, in, H, W)`` to ``(N, out, H', W')``, channels as the network on ``path`` has them."""
        out: Tensor = self._conv_forward(x, take(self.weight, self.slices(path)['weight']), None)
        return out


class SlicedLinear(SlicedLayer, nn.Linear):
    """Linear layer that uses the rows and columns of its weight that lie on the path.

    Args:
        in_layout (ChannelLayout): Split of the input features.
        out_layout (ChannelLayout): Split of the output features.
        bias (bool): Whether to add a bias. Defaults to True.
    """

    def __init__(self, in_layout: ChannelLayout, out_layout: ChannelLayout, bias: bool = True) -> None:
        super().__init__(in_layout.total, out_layout.total, bias=bias)
        self._set_layouts(in_layout, out_layout)

    def by_name(self, inputs: T, outputs: T) -> dict[str, tuple[T, ...]]:
        weight: dict[str, tuple[T, ...]] = {'weight': (outputs, inputs)}
        return weight if self.bias is None else {**weight, 'bias': (outputs, )}

    def forward(self, x: Tensor, path: PathLike | None = None) -> Tensor:
        """``(…, in)`` to ``(…, out)``, features as the network on ``path`` has them."""
        slices = self.slices(path)
        return F.linear(x, take(self.weight, slices['weight']),
                        None if self.bias is None else take(self.bias, slices['bias']))


class SlicedBatchNorm(SlicedLayer, _InstanceNorm):
    """Batch normalization of 2-D or 4-D input for the super-net and its sub-nets.

    In training every network normalizes with the statistics of its batch, but only the super-net updates the running
    ones: those of a sub-net would be a mixture over all networks that have the channel. In evaluation a sub-net reads
    its slice of the super-net's running statistics, a stand-in until :func:`sdr_mm.routing.reset_bn` has measured its
    own.

    Note:
        It is not a ``_BatchNorm``, so that ``SyncBatchNorm.convert_sync_batchnorm`` leaves it alone: the converted
        layer would not know of paths. Ask for ``sync=True`` instead. Of the classes by which MMEngine's optimizer
        settings (``norm_decay_mult``) know a norm, it therefore has the other one with running statistics as its base,
        and replaces all that is particular to it.

    Args:
        layout (ChannelLayout): Split of the channels.
        eps (float): Added to the variance. Defaults to 1e-5.
        momentum (float): Weight of the batch in the running statistics. Defaults to 0.1.
        affine (bool): Whether to learn scale and shift. Defaults to True.
        sync (bool): Whether to take the statistics over the batches of all ranks. Defaults to False.
    """

    def __init__(self, layout: ChannelLayout, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
                 sync: bool = False) -> None:
        super().__init__(layout.total, eps=eps, momentum=momentum, affine=affine, track_running_stats=True)
        self.sync = sync
        self._set_layouts(layout, layout)

    def by_name(self, inputs: T, outputs: T) -> dict[str, tuple[T, ...]]:
        names = ['weight', 'bias'] if self.affine else []
        return dict.fromkeys([*names, 'running_mean', 'running_var'], (outputs, ))

    def forward(self, x: Tensor, path: PathLike | None = None, update_stats: bool = True) -> Tensor:
        """Normalizes ``x``, of shape ``(N, C)`` or ``(N, C, H, W)``.

        Args:
            x (Tensor): The input, with the channels of the network on ``path``.
            path (PathLike, optional): The sub-net. Defaults to None, the super-net.
            update_stats (bool): ``False`` keeps a training forward of the super-net from updating the running
                statistics, as when it teaches on a cluster. Defaults to True.
        """
        if x.dim() not in (2, 4):
            raise ValueError(f'expected 2-D or 4-D input, got {x.dim()}-D')
        slices = self.slices(path)
        names = ['weight', 'bias'] if self.affine else []
        part = {name: take(getattr(self, name), slices[name])
                for name in (names if self.training else [*names, 'running_mean', 'running_var'])}
        weight, bias = part.get('weight'), part.get('bias')
        if not self.training:
            return F.batch_norm(x, part['running_mean'], part['running_var'], weight, bias, False, 0., self.eps)
        assert self.num_batches_tracked is not None and self.momentum is not None
        mean = var = None
        if path is None and update_stats:
            mean, var = self.running_mean, self.running_var
            self.num_batches_tracked.add_(1)
        elif path is None and torch.is_grad_enabled():
            # A pass that checkpointing repeats has to save as many tensors as the first one. A teacher saves none.
            mean, var = self.running_mean.clone(), self.running_var.clone()  # type: ignore[union-attr]
        if self.sync and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return _sync_batch_norm(x, weight, bias, mean, var, self.eps, self.momentum)
        return F.batch_norm(x, mean, var, weight, bias, True, self.momentum, self.eps)


class _AllReduceSum(torch.autograd.Function):
    """Sum over ranks, whose gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _AllReduceSum.forward(ctx, grad)


def _sync_batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                     running_var: Tensor | None, eps: float, momentum: float) -> Tensor:
    """Batch normalization with the statistics of all ranks.

    On CUDA this is the fused function under ``nn.SyncBatchNorm``, which exists for no other device; elsewhere (gloo on
    CPUs) the moments are summed over the ranks in float64 and autograd does the rest.
    """
    if x.is_cuda:
        from torch.nn.modules._functions import SyncBatchNorm
        ones = x.new_ones(x.shape[1], dtype=torch.float32)
        weight = ones if weight is None else weight
        bias = torch.zeros_like(ones) if bias is None else bias
        out: Tensor = SyncBatchNorm.apply(x, weight, bias, running_mean, running_var, eps, momentum, dist.group.WORLD,
                                          dist.get_world_size())
        return out
    dims = [dim for dim in range(x.dim()) if dim != 1]
    wide = x.double()
    count = wide.new_full((1, ), x.numel() // x.shape[1])
    moments = torch.cat([wide.sum(dims), wide.square().sum(dims), count])
    sums: Tensor = _AllReduceSum.apply(moments)  # type: ignore[no-untyped-call]  # torch types no apply
    total = sums[-1]
    mean = sums[:x.shape[1]] / total
    var = sums[x.shape[1]:-1] / total - mean.square()
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * total / (total - 1)).to(running_var.dtype), momentum)
    shape = [1, -1] + [1] * (x.dim() - 2)
    out = ((wide - mean.view(shape)) * (var + eps).rsqrt().view(shape)).to(x.dtype)
    if weight is not None and bias is not None:
        out = out * weight.view(shape) + bias.view(shape)
    return out


def iter_slices(module: nn.Module, path: PathLike | None) -> Iterator[tuple[str, Slices]]:
    """For each tensor of ``module.state_dict()`` that ``path`` slices: its name and its slices."""
    for prefix, layer in _sliced_layers(module):
        for name, slices in layer.slices(path).items():
            yield prefix + name, slices


def _sliced_layers(module: nn.Module) -> Iterator[tuple[str, SlicedLayer]]:
    """The sliced layers in ``module``, each with what stands before the names of its tensors."""
    for name, layer in module.named_modules():
        if isinstance(layer, SlicedLayer):
            yield f'{name}.' if name else '', layer


@torch.no_grad()
def subnet_state_dict(module: nn.Module, path: PathLike | None) -> dict[str, Tensor]:
    """State of the network on ``path``, as copies, under the names it has in ``module``.

    Args:
        module (nn.Module): Anything made of sliced and plain layers.
        path (PathLike, optional): The sub-net; ``None`` gives the super-net.

    Returns:
        dict[str, Tensor]: What a plain module of the sub-net's size loads as it is.
    """
    sliced = dict(iter_slices(module, path))
    return {name: take(tensor.detach(), sliced.get(name, ())).clone() for name, tensor in module.state_dict().items()}


@torch.no_grad()
def cut_state_dict(module: nn.Module, state: dict[str, Tensor], prefix: str = '') -> dict[str, Tensor]:
    """What a module of :meth:`~ChannelLayout.fixed` layouts needs of a super-net's state.

    Args:
        module (nn.Module): Anything made of sliced and plain layers.
        state (dict[str, Tensor]): Weights of the super-net, or of the sub-net that the module is. It is not changed.
        prefix (str): What the names in ``state`` have before those in ``module``. Defaults to ''.

    Returns:
        dict[str, Tensor]: ``state``, where each tensor of the shape that the super-net's layer would have is replaced
        by its part. Tensors of any other shape are as they were, so that loading refuses them.
    """
    cut = dict(state)
    for name, layer in _sliced_layers(module):
        slices = layer.by_name(layer.in_layout.source(), layer.out_layout.source())
        shapes = layer.by_name(layer.in_layout.whole.total, layer.out_layout.whole.total)
        for own, shape in shapes.items():
            key = prefix + name + own
            if key in cut and cut[key].shape[:len(shape)] == shape:
                cut[key] = take(cut[key], slices[own])
    return cut


@torch.no_grad()
def grow_state_dict(module: nn.Module, state: dict[str, Tensor], prefix: str = '') -> dict[str, Tensor]:
    """State of a super-net whose every sub-net is the network that ``state`` is of.

    The first channels of a layer become the shared group, the last ones each individual group. What leads from one
    group of a block to another group of the same block, which no sub-net has, is zero.

    Args:
        module (nn.Module): Anything made of sliced and plain layers, with the layouts of a super-net.
        state (dict[str, Tensor]): Weights of a network of a sub-net's size. It is not changed.
        prefix (str): What the names in ``state`` have before those in ``module``. Defaults to ''.

    Returns:
        dict[str, Tensor]: ``state``, where each tensor of the shape that a sub-net's layer has is replaced by the
        super-net's. Tensors of any other shape are as they were, so that loading refuses them.
    """
    grown = dict(state)
    for name, layer in _sliced_layers(module):
        inputs, outputs = layer.in_layout, layer.out_layout
        origins = layer.by_name(inputs.origin(), outputs.origin())
        for own, active in layer.by_name(inputs.active, outputs.active).items():
            key = prefix + name + own
            if key not in grown or grown[key].shape[:len(active)] != active:
                continue
            grown[key] = take(grown[key], tuple(origin[0] for origin in origins[own]))
            if len(active) == 2 and inputs.block == outputs.block is not None:
                (_, of_outputs), (_, of_inputs) = origins[own]
                between = (of_outputs[:, None] != of_inputs) & (of_outputs[:, None] >= 0) & (of_inputs >= 0)
                grown[key][between] = 0
    return grown
