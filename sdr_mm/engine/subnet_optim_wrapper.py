"""Optimizer steps that move one network only (Algorithm 1, line 10: "Optimize W_i")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.engine.optimizers import LARS
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from ..errors import InputError
from ..models.sliced import PathLike, Slices, iter_slices, put, rectangles, take
from ..registry import OPTIM_WRAPPERS

Selection = dict[nn.Parameter, Slices]
"""Which part of each sliced parameter belongs to the network being trained."""


def selection_of(model: nn.Module, path: PathLike) -> Selection:
    """What a step of the sub-net on ``path`` may move of a model's sliced parameters; the others are moved whole."""
    slices = dict(iter_slices(model, path))
    return {parameter: slices[name] for name, parameter in model.named_parameters() if name in slices}


class _SubnetStep:
    """Mix-in for an ``OptimWrapper`` whose step can be confined to a sub-net.

    The gradient of a sub-net's batch is zero outside the sub-net, but weight decay and momentum would move the other
    groups all the same. So the optimizer is shown the selected parts only, as parameters of their own with their own
    part of its state. What is outside keeps its weights and state bit for bit.

    The steps of a network are those that it would take alone if the optimizer's state is tensors of the parameter's
    shape: SGD with momentum, and LARS, which is layer-wise. Adam and AdamW keep one number of steps for a parameter,
    which all networks that have a part of it count up together: their averages of the gradient are exact, but are
    corrected as if they were older, so the first steps of a group that comes late are up to 3.2 times as long.
    """

    optimizer: Optimizer
    _selection: Selection | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kwargs.get('accumulative_counts', 1) != 1:
            raise InputError('accumulative_counts must be 1: the iterations of one step would belong to different '
                             'networks; lower the batch size and the learning rate instead')

    def confine(self, selection: Selection | None) -> None:
        """Confines the next step, and only it, to ``selection``; ``None`` is the super-net's step."""
        self._selection = selection

    def step(self, **kwargs: Any) -> None:
        selection, self._selection = self._selection, None
        if selection is None:
            super().step(**kwargs)  # type: ignore[misc]
        else:
            with confined(self.optimizer, selection):
                super().step(**kwargs)  # type: ignore[misc]


@contextmanager
def confined(optimizer: Optimizer, selection: Selection) -> Iterator[None]:
    """Shows ``optimizer`` only the selected parts of its parameters, and its state of them.

    SGD treats each element alone and LARS each layer, so they are shown views and work in place. Any other optimizer
    is shown copies, and what it did is written back. The state is, for each parameter, tensors of its shape and
    scalars. Parameters that are not named are shown whole.
    """
    full = [group['params'] for group in optimizer.param_groups]
    layer_wise = type(optimizer) is LARS
    in_place = _works_on_views(optimizer)
    parts: list[tuple[nn.Parameter, nn.Parameter, Slices]] = []
    layers: list[dict[str, Any]] = []
    rates = optimizer.register_step_pre_hook(partial(_set_rates, layers)) if in_place and layer_wise else None
    try:
        for group in optimizer.param_groups:
            shown: list[nn.Parameter] = []
            for parameter in group['params']:
                slices = selection.get(parameter, ())
                if parameter.grad is None or all(runs is None for runs in slices):
                    shown.append(parameter)
                    continue
                if in_place and group['momentum'] and optimizer.state[parameter].get('momentum_buffer') is None:
                    optimizer.state[parameter]['momentum_buffer'] = torch.zeros_like(parameter)
                pieces = []
                for cut in _cuts(slices, in_place):
                    part = nn.Parameter(cut(parameter.detach()))
                    part.grad = cut(parameter.grad)
                    optimizer.state[part] = {name: cut(value) if _is_sliced(value, parameter) else value
                                             for name, value in optimizer.state.get(parameter, {}).items()}
                    parts.append((parameter, part, slices))
                    pieces.append(part)
                if rates and not group.get('lars_exclude'):
                    layers.append({**group, 'params': pieces})
                else:
                    shown += pieces
            group['params'] = shown
        optimizer.param_groups += layers
        yield
        if not in_place:
            _write_back(optimizer, parts)
    finally:
        if rates:
            rates.remove()
        del optimizer.param_groups[len(full):]
        for group, parameters in zip(optimizer.param_groups, full):
            group['params'] = parameters
        for _, part, _ in parts:
            optimizer.state.pop(part, None)


def _works_on_views(optimizer: Optimizer) -> bool:
    """Whether what it does to an element depends on that element, and the norms of its layer, alone.

    The fused kernel counts on dense tensors. With dampening the first step, which knows no momentum, is another one.
    """
    return type(optimizer) in (SGD, LARS) and not any(
        group.get('fused') or group['dampening'] for group in optimizer.param_groups)


def _set_rates(layers: list[dict[str, Any]], optimizer: LARS, *_: Any) -> None:
    """Gives each layer that is shown in pieces the rate that LARS has for it, which then takes it as it is.

    Comes right before the step, when gradients have been clipped and are no longer scaled.
    """
    for layer in layers:
        weight, gradient = (float(torch.stack([torch.norm(piece) for piece in pieces]).norm()) for pieces in (
            layer['params'], [part.grad for part in layer['params']]))
        if weight and gradient:
            layer['lr'] *= layer['eta'] * weight / (gradient + layer['weight_decay'] * weight + optimizer.eps)
        layer['lars_exclude'] = True


def _cuts(slices: Slices, in_place: bool) -> list[Callable[[Tensor], Tensor]]:
    """What makes the parts that are shown of a tensor: views of its rectangles, or one copy."""
    if not in_place:
        return [partial(take, slices=slices)]
    return [itemgetter(where) for where, _ in rectangles(slices)]


@torch.no_grad()
def _write_back(optimizer: Optimizer, parts: list[tuple[nn.Parameter, nn.Parameter, Slices]]) -> None:
    for parameter, part, slices in parts:
        put(parameter, slices, part)
        state = optimizer.state[parameter]
        for name, value in optimizer.state.get(part, {}).items():
            if not _is_sliced(value, part):
                state[name] = value
                continue
            if not isinstance(state.get(name), Tensor):
                state[name] = torch.zeros_like(parameter, dtype=value.dtype)
            put(state[name], slices, value)


def _is_sliced(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


@OPTIM_WRAPPERS.register_module()
class SubnetOptimWrapper(_SubnetStep, OptimWrapper):
    """``OptimWrapper`` whose step can be confined to a sub-net; see :class:`SubnetStepHook`."""


@OPTIM_WRAPPERS.register_module()
class AmpSubnetOptimWrapper(_SubnetStep, AmpOptimWrapper):
    """``AmpOptimWrapper`` whose step can be confined to a sub-net; see :class:`SubnetStepHook`."""
