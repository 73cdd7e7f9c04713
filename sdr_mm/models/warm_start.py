"""Starting a training of sub-nets from a network that was trained already."""

from __future__ import annotations

from typing import Any

from torch import nn

from .checkpoints import FilePath, State, load_exactly, split_backbone, with_counters
from .sliced import cut_state_dict, grow_state_dict


def warm_start(model: nn.Module, state: State, where: FilePath = 'the checkpoint') -> list[str]:
    """Lets a model start from a checkpoint of a sub-net's size, so that every sub-net equals it exactly.

    The backbone takes the ResNet in it, whoever published it (:func:`~sdr_mm.models.checkpoints.split_backbone`). Neck
    and head take the weights of their names if all of them are there and fit, as in a checkpoint of the baseline that
    was trained with the same ones; else they stay as they are.

    Args:
        model (nn.Module): With a ``backbone``, and perhaps a ``neck`` and a ``head``. What is not sliced in it is
            loaded as it is, so the model may be a baseline too.
        state (dict[str, Tensor]): All weights of the checkpoint.
        where (str | Path): Where they come from, for messages.

    Returns:
        list[str]: The parts of the model that start from it.

    Raises:
        InputError: If there is no ResNet in it, or one that is not of a sub-net's size.

    Note:
        The super-net is no copy: it adds up what its groups, which are all alike, say. Its first statistics come with
        its first batches.
    """
    load_resnet_into(model.backbone, state, where)  # type: ignore[arg-type]
    taken = ['backbone']
    for name in ('neck', 'head'):
        part: Any = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            continue
        prefix = f'{name}.'
        found = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
        found, own = grow_state_dict(part, found), part.state_dict()
        if own and found.keys() == own.keys() and all(found[key].shape == own[key].shape for key in own):
            part.load_state_dict(found)
            taken.append(name)
    return taken


def load_resnet_into(network: nn.Module, state: State, where: FilePath) -> None:
    """Loads the ResNet of a checkpoint, whoever published it, into one that may be sliced, or some stages of one.

    Args:
        network (nn.Module): A plain ResNet, an :class:`SDRResNet` of one path, which takes its part of a super-net's
            weights, or of all paths, for which weights of a sub-net's size grow into a super-net.
        state (dict[str, Tensor]): All weights of the checkpoint.
        where (str | Path): Where they come from, for messages.

    Raises:
        InputError: If there is no ResNet in it, or a weight is missing, unexpected or of another shape.
    """
    parts = {name for name, _ in network.named_children()}
    resnet = {name: value for name, value in split_backbone(state, where)[0].items() if name.split('.')[0] in parts}
    resnet = grow_state_dict(network, cut_state_dict(network, resnet))
    load_exactly(network, with_counters(network, resnet), where)
