"""Which checkpoint a run continues from, and whether it can."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor
from torch.optim import Optimizer

from ..distributed import unwrap
from ..errors import InputError, NotFiniteError
from ..models.checkpoints import load_exactly, read_checkpoint, some, state_of
from ..models.safe_globals import allow_checkpoints

ADVICE = 'resume from another checkpoint of the run'


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of ``folder`` that may be checkpoints; what was left half-written is hidden, and none."""
    return sorted(file for file in folder.glob('*.pth') if not file.name.startswith('.'))


def remove_half_written(folder: Path) -> None:
    """Removes what is left of checkpoints during whose writing a run was killed."""
    for file in folder.glob('.*-????????.pth'):
        file.unlink()


def checkpoint_folder(cfg: Config) -> Path:
    """Where a run writes its checkpoints: its work directory, unless the hook has another ``out_dir``."""
    work_dir = Path(cfg.work_dir)
    other = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')
    return Path(other) / work_dir.name if other else work_dir


def newest_whole(folder: Path, warn: Any) -> Path | None:
    """The whole checkpoint in ``folder`` that was written last; None if there are no checkpoints at all.

    That is a matter of what they say of themselves: in a copied folder the times of the files are new, and
    ``last_checkpoint`` names a file of the original. After a return to an earlier checkpoint, those of the iterations
    that were given up are older than the ones that follow.

    Args:
        folder (Path): The work directory.
        warn (Callable[[str], None]): Is told in one line of each file that is passed over.

    Raises:
        InputError: If there are checkpoints, but no whole one.
    """
    ages: dict[Path, tuple[str, int]] = {}
    for file in checkpoint_files(folder):
        try:
            ages[file] = _age(file)
        except InputError as error:
            warn(f'passed over: {error}')
    for file in sorted(ages, key=lambda file: ages[file], reverse=True):
        try:
            check_whole(read_checkpoint(file), file)
            return file
        except InputError as error:
            warn(f'passed over: {error}')
    if names := [file.name for file in checkpoint_files(folder)]:
        raise InputError(f'{folder} holds no whole checkpoint to resume from ({some(names)}): pass another one to '
                         '--resume, or another --work-dir to begin again')
    return None


def _age(file: Path) -> tuple[str, int]:
    """When a checkpoint was written, and its iteration. No tensor is read."""
    allow_checkpoints()
    try:
        meta = torch.load(file, map_location='cpu', weights_only=True, mmap=True)['meta']
    except Exception:  # Arbitrary bytes may raise anything; reading all of it says what is wrong.
        meta = read_checkpoint(file).get('meta')
    return str(meta.get('time', '')), _count(meta, 'iter', file)


def check_whole(checkpoint: dict[str, Any], file: str | Path) -> None:
    """Checks what can be seen without the run: that everything is there, and finite.

    Raises:
        InputError: Otherwise, naming the first fault.
    """
    for part in ('state_dict', 'optimizer', 'message_hub', 'meta'):
        if not isinstance(checkpoint.get(part), dict):
            raise InputError(f'{file} holds no {part}, so a training cannot continue from it: {ADVICE}')
    for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
        if not isinstance(checkpoint['message_hub'].get(part), dict):
            raise InputError(f'{file} holds no {part} in its message_hub: {ADVICE}')
    meta = checkpoint['meta']
    if not isinstance(run := meta.get('run', {}), dict) or not all(isinstance(name, str) for name in run):
        raise InputError(f'{file} says that its run is {str(run)[:40]!r}: {ADVICE}')
    _count(meta, 'iter', file)
    _count(meta, 'epoch', file)
    if not isinstance(meta.get('seed'), (int, type(None))):
        raise InputError(f'{file} says that the seed is {str(meta["seed"])[:40]!r}: {ADVICE}')
    written = meta.get('optimizer_tensors')
    if written is not None and written != (found := len(tensors_in(checkpoint['optimizer']))):
        raise InputError(f'{file} was written with {str(written)[:40]} tensors in the state of its optimizer, and '
                         f'{found} are there: {ADVICE}')
    for part, tensors in (('weights', checkpoint['state_dict']), ('state of the optimizer', checkpoint['optimizer'])):
        broken = [name for name, tensor in tensors_in(tensors) if not bool(tensor.isfinite().all())]
        if broken:
            raise NotFiniteError(f'{file}: the {part} are not finite ({some(broken)}), the training has diverged: '
                                 f'resume from an earlier checkpoint, with a lower learning rate')


def check_fits(checkpoint: dict[str, Any], runner: Runner, file: str | Path) -> None:
    """Checks that a whole checkpoint is one of the training of ``runner``, whose optimizer is built.

    Raises:
        InputError: If the weights, the optimizer, the schedulers or the iteration do not fit, naming the first.
    """
    load_exactly(unwrap(runner.model), state_of(checkpoint, file), file)
    wrapper = runner.optim_wrapper
    for name, one in (wrapper.items() if isinstance(wrapper, OptimWrapperDict) else [('', wrapper)]):
        _check_optimizer(checkpoint['optimizer'].get(name) if name else checkpoint['optimizer'], one.optimizer, file)
    _check_schedulers(checkpoint.get('param_schedulers'), runner.param_schedulers, checkpoint['optimizer'], file)
    loop, meta = runner.train_loop, checkpoint['meta']
    if meta['iter'] > loop.max_iters or meta['epoch'] > loop.max_epochs:
        raise InputError(f'{file} is at iteration {meta["iter"]} (epoch {meta["epoch"]}), and this training ends at '
                         f'{loop.max_iters} (epoch {loop.max_epochs}): pass a larger --epochs or train_cfg.max_iters')
    if isinstance(loop, EpochBasedTrainLoop):
        length = len(loop.dataloader)
        if not meta['epoch'] * length <= meta['iter'] <= (meta['epoch'] + 1) * length:
            raise InputError(f'{file} is at iteration {meta["iter"]} in epoch {meta["epoch"]}, where an epoch of this '
                             f'training has {length} iterations: use the images, batch size and ranks of that run')


def _check_optimizer(state: Any, optimizer: Optimizer, file: str | Path) -> None:
    groups = optimizer.param_groups
    theirs = state.get('param_groups') if isinstance(state, dict) else None
    if not isinstance(theirs, list) or not isinstance(state.get('state'), dict):
        raise InputError(f'{file} holds no state of an optimizer: {ADVICE}')
    sizes = [len(group['params']) for group in groups]
    if [len(_list(group, 'params')) for group in theirs] != sizes:
        raise InputError(f'{file}: its optimizer has {len(theirs)} groups of other parameters than the {len(groups)} '
                         f'of this training: use the optim_wrapper of that run')
    parameters = [parameter for group in groups for parameter in group['params']]
    numbers = [number for group in theirs for number in group['params']]
    if numbers != list(range(len(parameters))):
        raise InputError(f'{file}: its optimizer does not number its {len(parameters)} parameters: {ADVICE}')
    # Flags, which versions of torch add, have defaults; numbers have none.
    for group, own in zip(theirs, groups):
        for name, default in optimizer.defaults.items():
            if type(default) in (int, float):
                value = group.get(name)
                if type(value) not in (int, float) or not math.isfinite(value):
                    raise InputError(f'{file}: the {name} of its optimizer is {str(value)[:40]}: {ADVICE}')
            elif (value := group.get(name, own.get(name))) != own.get(name):
                raise InputError(f'{file}: the {name} of its optimizer is {str(value)[:40]}, and of this training '
                                 f'{own.get(name)}: use the optim_wrapper of that run')
    names = {frozenset(kept) for kept in state['state'].values() if isinstance(kept, dict) and kept}
    if len(names) > 1:
        raise InputError(f'{file}: the state of its optimizer has different entries for different parameters '
                         f'({some(sorted(set().union(*names) - frozenset.intersection(*names), key=str))}): {ADVICE}')
    for number, parameter in zip(numbers, parameters):
        kept = state['state'].get(number, {})
        for name, value in kept.items() if isinstance(kept, dict) else [('state', kept)]:
            if isinstance(value, Tensor) and value.shape not in (parameter.shape, ()):
                raise InputError(f'{file}: {name} of a parameter has the shape {tuple(value.shape)} in its optimizer, '
                                 f'and the parameter {tuple(parameter.shape)}: {ADVICE}')
            if isinstance(value, Tensor) and (value.dtype.is_floating_point or not value.dim()):
                continue
            if value is not None and type(value) not in (int, float, bool):
                what = f'a tensor of {value.dtype}' if isinstance(value, Tensor) else repr(value)[:40]
                raise InputError(f'{file}: {name} of a parameter is {what} in its optimizer: {ADVICE}')


def _list(group: Any, name: str) -> list[Any]:
    found = group.get(name) if isinstance(group, dict) else None
    return found if isinstance(found, list) else []


def _check_schedulers(theirs: Any, own: Any, optimizer: dict[str, Any], file: str | Path) -> None:
    if own is None:
        return
    if isinstance(own, dict):
        theirs = [state for name in own for state in (theirs or {}).get(name, ())]
        own = [one for schedulers in own.values() for one in schedulers]
    if not isinstance(theirs, list) or len(theirs) != len(own) or any(
            not isinstance(state, dict) or {*state} != {*one.state_dict()} for state, one in zip(theirs, own)):
        raise InputError(f'{file} holds the state of other param_schedulers than the {len(own)} of this training: use '
                         'those of that run')
    for state, one in zip(theirs, own):
        first = [group.get(f'initial_{one.param_name}') for group in optimizer.get('param_groups', ())]
        for name, value in one.state_dict().items():
            if not _is_alike(state[name], value) or name == 'base_values' and state[name][:len(first)] != first:
                raise InputError(f'{file}: the {name} of its {type(one).__name__} is {str(state[name])[:40]!r}, which '
                                 f'cannot be: {ADVICE}')


def _is_alike(theirs: Any, own: Any) -> bool:
    """Whether what a scheduler keeps is of the kind that it may be; numbers may be None before they are known."""
    if isinstance(own, (list, tuple)):
        return type(theirs) is type(own) and len(theirs) == len(own) and all(map(_is_alike, theirs, own))
    if own is None or type(own) in (int, float):
        return theirs is None or type(theirs) in (int, float) and math.isfinite(theirs)
    return type(theirs) is type(own)


@contextmanager
def resuming(file: str | Path) -> Iterator[None]:
    """Around what MMEngine does with a checkpoint: any error of it becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # It takes what is in the file as it is, and may raise anything.
        reason = ' '.join(str(error).split())[:200]
        raise InputError(f'{file} cannot be resumed from ({type(error).__name__}: {reason}): {ADVICE}') from error


def _count(meta: Any, name: str, file: str | Path) -> int:
    value = meta.get(name) if isinstance(meta, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f'{file} says that its {name} is {str(value)[:40]}, which none can be: {ADVICE}')
    return value


def tensors_in(value: Any, name: str = '') -> list[tuple[str, Tensor]]:
    """All tensors in nested containers, with their names."""
    if isinstance(value, Tensor):
        return [(name, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [found for key, part in items for found in tensors_in(part, f'{name}.{key}' if name else str(key))]
