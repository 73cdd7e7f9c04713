"""Running a training config."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.distributed
from mmengine import dist
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..clusters import Clusters
from ..datasets.sampler import ClusterAwareSampler
from ..distributed import leaving_the_group, on_all_ranks, unwrap
from ..errors import InputError
from ..files import check_folder
from ..space import SubnetSpace
from .configs import building, check_epochs
from .interrupt_hook import InterruptHook
from .resuming import checkpoint_folder, newest_whole, remove_half_written
from .runner import TrainingRunner
from .visualizers import check_backends
from .work_dir import check_work_dir, claim_work_dir, training_identity


def train(cfg: Config, guard: bool = False) -> Runner:
    """Builds the runner of ``cfg``, trains and returns it.

    Args:
        cfg (Config): The config. With ``resume`` it continues from ``load_from``, or from the newest whole checkpoint
            of the work directory.
        guard (bool): Whether the work directory and this process are for this training alone: the directory is
            claimed, and after SIGTERM or SIGINT the state is saved; see :class:`InterruptHook`. Defaults to False.

    Raises:
        InputError: If the work directory holds another run, a checkpoint cannot be resumed from, or the images do not
            fill one batch over all ranks. A loader that drops the last, incomplete batch would give none, and the run
            would end at once.
        Interrupted: After a signal.
    """
    signals = InterruptHook()
    if guard:
        check_folder(cfg.work_dir)
        check_work_dir(cfg)
    with signals.listening() if guard else nullcontext(), leaving_the_group():
        runner = build_runner(cfg)
        if conflict := check_epochs(cfg):
            runner.logger.warning(conflict)
        check_clusters(runner)
        loader = runner.train_dataloader
        sampler = loader.batch_sampler
        if len(loader) == 0 or (isinstance(sampler, ClusterAwareSampler)
                                and len(loader.dataset) < sampler.total_batch_size):
            total = (loader.batch_size or sampler.batch_size) * runner.world_size
            raise InputError(f'{len(loader.dataset)} images do not fill one batch of {total}: give more images, or a '
                             'lower train_dataloader.batch_size')
        if guard:
            claim(runner)
            runner.register_hook(signals)
        if runner._resume and runner._load_from is None:
            resume_from_newest(runner)
        runner.train()
    return runner


def claim(runner: Runner) -> None:
    """Claims the work directory for the training of ``runner``; an InputError of all ranks if it is another one's."""
    def work() -> None:
        if dist.is_main_process():
            identity = training_identity(runner)
            claim_work_dir(runner.cfg, identity)
            runner.identity = identity
            runner.dump_config()
            remove_half_written(checkpoint_folder(runner.cfg))
    on_all_ranks(work)
    shared = [getattr(runner, 'identity', None)]
    dist.broadcast_object_list(shared)
    runner.identity = shared[0]


def resume_from_newest(runner: Runner) -> None:
    """Lets all ranks resume from the newest whole checkpoint of the work directory, if there is any."""
    chosen: list[str | None] = [None]

    def work() -> None:
        if dist.is_main_process():
            file = newest_whole(checkpoint_folder(runner.cfg), runner.logger.warning)
            chosen[0] = None if file is None else str(file)
    on_all_ranks(work)
    dist.broadcast_object_list(chosen)
    runner._load_from, runner._resume = chosen[0], chosen[0] is not None
    if chosen[0] is None:
        runner.logger.warning(f'{runner.work_dir} holds no checkpoint yet: the training begins at its start')


def build_runner(cfg: Config) -> Runner:
    """The runner of ``cfg``; on machines without a GPU gloo joins processes, which MMEngine's launcher does not do."""
    check_backends(cfg)
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
        Clusters.open(dataset['clusters']).check_space(space, dataset['clusters'])
