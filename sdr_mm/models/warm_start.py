"""Starting a training of sub-nets from a network that was trained already."""

from __future__ import annotations

from typing import Any

from torch import nn

from .checkpoints import FilePath, State, load_exactly, split_backbone, with_counters
from .sliced import grow_state_dict


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
    part: Any = model.backbone
    resnet = grow_state_dict(part, split_backbone(state, where)[0])
    load_exactly(part, with_counters(part, resnet), where)
    taken = ['backbone']
    for name in ('neck', 'head'):
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            continue
        prefix = f'{name}.'
        found = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
        found, own = grow_state_dict(part, found), part.state_dict()
        if own and found.keys() == own.keys() and all(found[key].shape == own[key].shape for key in own):
            part.load_state_dict(found)
            taken.append(name)
    return taken
