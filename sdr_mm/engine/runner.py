"""The runner that trains: MMEngine's, which loses nothing."""

from __future__ import annotations

import atexit
import io
import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from mmpretrain.models import BaseSelfSupervisor
from torch import nn
from torch.utils.data import DataLoader

from ..distributed import unwrap
from ..files import atomic_write
from ..models.checkpoints import read_checkpoint
from ..models.sliced import ChannelLayout, SlicedBatchNorm
from .compiling import compile_backbones
from .configs import building
from .interrupt_hook import ENDING, end_workers, ignore_signals
from .non_finite_hook import NonFiniteHook
from .resuming import check_fits, check_whole, resuming, tensors_in
from .work_dir import RECORD, check_same_run


class TrainingRunner(Runner):
    """MMEngine's runner, which loses nothing when it is stopped, and refuses what it cannot continue from.

    Checkpoints are written whole or not at all, and the last whole one is never removed. A checkpoint to resume from
    has to fit: see :mod:`sdr_mm.engine.resuming`. The workers of its loaders leave signals to the main process.

    With ``channels_last = True`` in the config the backbone computes in that format, which is faster on CPUs, and on
    GPUs in mixed precision. The weights are converted before DDP wraps the model, because its buckets lay out the
    gradients like the weights that it finds.
    """

    identity: dict[str, Any] | None = None
    """What makes the training this training, once that is known; it goes into the checkpoints."""

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Builds the model, unless it is one, and converts its backbone."""
        built: nn.Module = super().build_model(model)
        if self.distributed and not torch.cuda.is_available():
            sync_on_cpus(built)
        if self.cfg.get('channels_last'):
            use_channels_last(built)
        return built

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Builds the logger, whose file shows by escapes what UTF-8 does not have, as in odd names of files."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
                handler.stream.reconfigure(errors='backslashreplace')
        return logger

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Builds the loader. Its workers, which get the signals of a process group too, ignore them."""
        loader: DataLoader[Any] = Runner.build_dataloader(*args, **kwargs)
        if loader.num_workers:
            loader.worker_init_fn = partial(ignore_signals, ending=ENDING, then=loader.worker_init_fn)
            atexit.unregister(end_workers)  # The last that is registered runs first, before Python's own.
            atexit.register(end_workers)
        return loader

    def register_default_hooks(self, hooks: dict[str, Hook | dict[str, Any] | None] | None = None) -> None:
        """Registers them, with a checkpoint hook that keeps the old file until the new one is whole, and throughput."""
        hooks = dict(hooks or {})
        hooks.setdefault('throughput', dict(type='sdr_mm.ThroughputHook'))
        checkpoint = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
        if isinstance(checkpoint, dict) and checkpoint.get('type') in ('CheckpointHook', 'mmengine.CheckpointHook'):
            hooks['checkpoint'] = {**checkpoint, 'type': 'sdr_mm.WholeCheckpointHook'}
        super().register_default_hooks(hooks)

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Registers them, and :class:`NonFiniteHook` unless it is one of them, whatever one optimizer trains."""
        super().register_hooks(*args, **kwargs)
        one = isinstance(self.optim_wrapper, OptimWrapper) or 'optimizer' in (self.optim_wrapper or {})
        if one and not any(isinstance(hook, NonFiniteHook) for hook in self._hooks):
            self.register_hook(NonFiniteHook())

    def dump_config(self) -> None:
        """Writes the config into the work directory, unless that is another run's, as far as is known yet."""
        if self.identity is not None or not (Path(self.work_dir) / RECORD).exists():
            super().dump_config()

    @dist.master_only  # type: ignore[untyped-decorator]  # of MMEngine
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, meta: dict[str, Any] | None = None,
                        **kwargs: Any) -> None:
        """Saves a checkpoint whole or not at all; on a remote file system as its client does.

        Raises:
            InputError: If the disk is full. Earlier checkpoints stay.
        """
        if self.identity is not None:
            meta = {**(meta or {}), 'run': self.identity}
        if isinstance(self.optim_wrapper, BaseOptimWrapper):
            meta = {**(meta or {}), 'optimizer_tensors': len(tensors_in(self.optim_wrapper.state_dict()))}
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)
            return
        with atomic_write(Path(out_dir) / filename, overwrite=True) as temporary:
            super().save_checkpoint(str(temporary.parent), temporary.name, *args, meta=meta, **kwargs)

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continues from a checkpoint.

        Raises:
            InputError: If it is not whole, or of another training.
        """
        checkpoint = read_checkpoint(filename)
        check_whole(checkpoint, filename)
        if self.identity is not None and 'run' in checkpoint['meta']:
            check_same_run(checkpoint['meta']['run'], self.identity, filename)
        check_fits(checkpoint, self, filename)
        with resuming(filename):
            super().resume(filename, *args, **kwargs)

    def _maybe_compile(self, target: str) -> None:
        """With ``compile`` in the config: the backbones of a self-supervised model, not the whole step as MMEngine."""
        options, model = self.cfg.get('compile'), unwrap(self.model)
        if not options or not isinstance(model, BaseSelfSupervisor):
            super()._maybe_compile(target)
            return
        with building(self.cfg):
            compile_backbones(model, {} if options is True else dict(options))
        self.logger.info('The backbone is compiled at its first forward passes, which takes minutes.')

    # What follows is built while the training begins.

    def build_train_loop(self, *args: Any) -> Any:
        """As MMEngine's, with one line for what is wrong in the config, as the next ones."""
        with building(self.cfg):
            return super().build_train_loop(*args)

    def build_optim_wrapper(self, *args: Any) -> Any:
        """The same."""
        with building(self.cfg):
            return super().build_optim_wrapper(*args)

    def build_param_scheduler(self, *args: Any) -> Any:
        """The same."""
        with building(self.cfg):
            return super().build_param_scheduler(*args)

    def build_val_loop(self, *args: Any) -> Any:
        """The same."""
        with building(self.cfg):
            return super().build_val_loop(*args)


def sync_on_cpus(model: nn.Module) -> None:
    """Replaces torch's SyncBN, which runs on GPUs only, by ours, with the same weights under the same names."""
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, nn.SyncBatchNorm):
                ours = SlicedBatchNorm(ChannelLayout(norm.num_features), norm.eps, norm.momentum or 0.1, norm.affine,
                                       sync=True)
                ours.load_state_dict(norm.state_dict())
                for old, new in zip(norm.parameters(), ours.parameters()):
                    new.requires_grad = old.requires_grad
                setattr(parent, name, ours)


def use_channels_last(model: nn.Module) -> None:
    """Lets the backbone of ``model`` compute in channels-last memory format."""
    backbone: Any = model.backbone
    backbone.to(memory_format=torch.channels_last)

    def convert(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        image, *rest = inputs
        return image.contiguous(memory_format=torch.channels_last), *rest

    backbone.register_forward_pre_hook(convert)
