"""Running a training config."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from ..clusters import Clusters
from ..distributed import unwrap
from ..errors import InputError
from ..models.checkpoints import load_exactly, read_checkpoint, state_of
from ..models.sliced import ChannelLayout, SlicedBatchNorm
from ..space import SubnetSpace
from .configs import building, check_epochs


class TrainingRunner(Runner):
    """MMEngine's runner, which with ``channels_last = True`` in the config lets the backbone compute in that format.

    That is faster on CPUs, and on GPUs in mixed precision. The weights are converted before DDP wraps the model,
    because its buckets lay out the gradients like the weights that it finds.
    """

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Builds the model, unless it is one, and converts its backbone."""
        built = super().build_model(model)
        if self.distributed and not torch.cuda.is_available():
            sync_on_cpus(built)
        if self.cfg.get('channels_last'):
            use_channels_last(built)
        return built

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


def train(cfg: Config) -> Runner:
    """Builds the runner of ``cfg``, trains and returns it.

    Raises:
        InputError: If a checkpoint to resume from is of another model, or the images do not fill one batch over all
            ranks. A loader that drops the last, incomplete batch would give none, and the run would end at once.
    """
    runner = build_runner(cfg)
    if conflict := check_epochs(cfg):
        runner.logger.warning(conflict)
    check_clusters(runner)
    check_resumed_weights(runner)
    loader = runner.train_dataloader
    if len(loader) == 0:
        total = loader.batch_size * runner.world_size
        raise InputError(f'{len(loader.dataset)} images do not fill one batch of {total}: give more images, or a '
                         'lower train_dataloader.batch_size')
    runner.train()
    return runner


def build_runner(cfg: Config) -> Runner:
    """The runner of ``cfg``; on machines without a GPU gloo joins processes, which MMEngine's launcher does not do."""
    if cfg.get('launcher') == 'pytorch' and not torch.cuda.is_available():
        torch.distributed.init_process_group('gloo')
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
    if cfg.get('visualizer'):
        # Under the one name that MMDetection's configs give it, a second run of this process would write its
        # numbers into the files of the first. Without it the visualizer is named after the run.
        cfg.visualizer.pop('name', None)
    with building(cfg):
        runner: Runner = RUNNERS.build(cfg) if 'runner_type' in cfg else TrainingRunner.from_cfg(cfg)
    # MMEngine warns of its own use of its own deprecated classes, about which nobody here can do anything.
    runner.logger.addFilter(lambda record: 'deprecated' not in record.getMessage())
    return runner


def check_clusters(runner: Runner) -> None:
    """Raises an InputError if there are not as many clusters as sub-nets, before any is found to be too small."""
    dataset = runner.cfg.train_dataloader.get('dataset') or {}
    space = getattr(getattr(unwrap(runner.model), 'backbone', None), 'space', None)
    if isinstance(space, SubnetSpace) and isinstance(dataset.get('clusters'), str):
        Clusters.load(dataset['clusters']).check_space(space, dataset['clusters'])


def check_resumed_weights(runner: Runner) -> None:
    """Raises an InputError if the weights to resume from do not fit, of which MMEngine only warns."""
    file = runner._load_from or find_latest_checkpoint(runner.work_dir) if runner._resume else None
    if file is not None:
        load_exactly(unwrap(runner.model), state_of(read_checkpoint(file), file), file)


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
