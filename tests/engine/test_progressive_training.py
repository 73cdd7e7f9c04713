"""Phases in a real run, and resuming in the middle of an epoch."""

import json
import logging
import re
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from processes import run_ranks
from torch import nn

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.schedule import PhaseSchedule
from sdr_mm.engine.loops import SDRTrainLoop
from sdr_mm.engine.progressive_training_hook import ProgressiveTrainingHook
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.registry import HOOKS, LOOPS
from sdr_mm.space import SUPERNET, SubnetSpace

SPACE = SubnetSpace(2, 2)
# Runners of one name share their log.
NUMBER = count()


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('sdr_mm')


class PixelNet(BaseModel):
    """Linear in the pixels, with a scale per network, so that order and networks show in the weights."""

    def __init__(self, space=SPACE):
        super().__init__()
        self.backbone = nn.Linear(3 * 6 * 6, 1)
        self.backbone.space = space
        self.scales = nn.Parameter(torch.ones(len(space) + 1))
        self.seen = []

    def forward(self, inputs, data_samples, mode):
        networks = [sample.network for sample in data_samples]
        self.seen.append((sorted(set(networks)), len(networks)))
        pixels = torch.stack(inputs).flatten(1).float() / 255
        scales = self.scales[[network - SUPERNET for network in networks]]
        return dict(loss=(scales * self.backbone(pixels).squeeze(1) - 1).pow(2).mean())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    names = sorted(f'{i}.png' for i in range(24))
    for name in names:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / name)
    Clusters(np.arange(24) % 4, np.ones((4, 2), np.float32), np.array(SPACE.paths), 2, fingerprint(names),
             'random').save(folder / 'clusters.npz')
    return folder


def make_runner(folder, work_dir='run', hook=(), loop='SDRTrainLoop', num_workers=0, model=None, **options):
    """Four epochs of 6 iterations with 4 images each."""
    pipeline = [dict(type='LoadImage'), dict(type='RandomResizedCrop', scale=6), dict(type='PackInputs')]
    return Runner(
        model=PixelNet() if model is None else model,
        work_dir=str(folder / work_dir),
        experiment_name=f'{folder}/{work_dir}/{next(NUMBER)}',
        default_scope='sdr_mm',
        train_cfg=dict(type=loop, max_epochs=4),
        train_dataloader=dict(
            batch_size=4,
            num_workers=num_workers,
            drop_last=False,
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_sampler=dict(type='ClusterAwareSampler'),
            dataset=dict(
                type='ClusterDataset',
                dataset=dict(type='ImageFolder', data_root=str(folder), pipeline=pipeline),
                clusters=str(folder / 'clusters.npz'))),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.02, momentum=0.9)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=4, by_epoch=True, convert_to_iter_based=True),
                         dict(type='MultiStepLR', milestones=[2], by_epoch=True)],
        custom_hooks=[dict(type='ProgressiveTrainingHook', **dict(hook))],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1),
                           checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)),
        **{'randomness': dict(seed=11), **options})


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_weights(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope='module')
def whole(folder):
    """The weights and the batches of an uninterrupted run; its checkpoints stay in ``whole``."""
    init_default_scope('sdr_mm')
    torch.manual_seed(0)
    runner = make_runner(folder, 'whole')
    return state(runner.train()), runner.model.seen


@pytest.mark.parametrize('iteration', [6, 10, 17])
def test_a_run_resumed_in_mid_epoch_is_bit_identical(folder, whole, iteration):
    weights, seen = whole
    assert len(seen) == 24
    # Iteration 6 is the last of an epoch: its checkpoint comes before the end of the epoch.
    checkpoint = folder / 'whole' / f'iter_{iteration}.pth'
    resumed = make_runner(folder, f'from_{iteration}', resume=True, load_from=str(checkpoint),
                          num_workers=iteration % 2)
    assert_same_weights(state(resumed.train()), weights)
    assert resumed.model.seen == seen[iteration:], 'nothing is replayed, nothing left out'
    assert (resumed.iter, resumed.epoch) == (24, 4)
    log = next((folder / f'from_{iteration}').glob('*/*.log')).read_text()
    shown = re.findall(r'Epoch\(train\)\s+\[(\d)\]\[(\d)/6\]', log)
    assert shown == [(str(i // 6 + 1), str(i % 6 + 1)) for i in range(iteration, 24)]


def test_a_resumed_run_without_a_seed_keeps_the_seed_of_its_checkpoint(folder):
    whole = state(make_runner(folder, 'unseeded', randomness=dict(seed=None)).train())
    resumed = make_runner(
        folder, 'resumed', resume=True, load_from=str(folder / 'unseeded' / 'iter_9.pth'), randomness=dict(seed=None))
    assert_same_weights(state(resumed.train()), whole)


def test_networks_follow_the_schedule_whatever_the_loader_fetches_ahead(folder):
    runner = make_runner(folder, num_workers=2)
    runner.train()
    expected = PhaseSchedule(SPACE, 24).networks(11, 0, 24)
    assert [networks for networks, _ in runner.model.seen] == [[network] for network in expected]
    assert len(set(expected)) > 3


def test_without_the_supernet_only_subnets_follow_its_phase(folder):
    runner = make_runner(folder, hook=dict(supernet_prob=0.0))
    runner.train()
    drawn = [network for (network, ), _ in runner.model.seen]
    assert set(drawn[:8]) == {SUPERNET} and SUPERNET not in drawn[8:]


def test_every_epoch_trains_whatever_evaluated_the_model_before_it(folder):
    runner = make_runner(folder)
    modes = []

    class Evaluates(Hook):

        def before_train_epoch(self, runner):
            runner.model.eval()

        def before_train_iter(self, runner, **_):
            modes.append(runner.model.training)

    runner.register_hook(Evaluates())
    runner.train()
    assert modes == 24 * [True]


def test_joint_iterations_bring_two_networks(folder):
    runner = make_runner(folder, hook=dict(joint=True, phase_epochs=[0, 1, 2]))
    runner.train()
    assert runner.model.seen[:6] == [([SUPERNET], 4)] * 6
    for index, (networks, images) in enumerate(runner.model.seen[6:], 6):
        assert images == 8 and networks[0] == SUPERNET
        assert networks[1] in SPACE.phase(1 if index < 12 else 2)


def test_ranks_with_seeds_of_their_own_draw_the_same_networks(folder):
    """``diff_rank_seed`` adds the rank to the seed of a process; this file is what each of them runs."""
    run_ranks(sys.modules[__name__], folder)
    ranks = [json.loads((folder / f'rank{rank}.json').read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1] and ranks[0]['seed'] == 11
    expected = PhaseSchedule(SPACE, 24).networks(11, 0, 24)
    assert [networks for networks, _ in ranks[0]['seen']] == [[network] for network in expected]


def train_rank(folder):
    """One of two ranks, on its half of each batch."""
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    runner = make_runner(folder, 'ranks', launcher='pytorch', randomness=dict(seed=11, diff_rank_seed=True),
                         cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)))
    runner._train_dataloader['batch_size'] = 2
    assert runner.seed == 11 + rank
    runner.train()
    found = dict(seed=runner.train_dataloader.batch_sampler.seed, seen=runner.model.module.seen)
    (folder / f'rank{rank}.json').write_text(json.dumps(found))


def log_lines(runner):
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    return [line for line in records if line.startswith('phase')]


def test_phases_are_announced(folder):
    assert log_lines(make_runner(folder)) == [
        'phase 0: iterations 0 to 7, the super-net alone',
        'phase 1: iterations 8 to 15, the super-net and 2 sub-nets',
        'phase 2: iterations 16 to 23, the super-net and 4 sub-nets',
        'phase 1 begins: the super-net and 2 sub-nets',
        'phase 2 begins: the super-net and 4 sub-nets',
    ]
    hook = dict(phase_iters=[0, 5, 5], supernet_prob=0.2)
    assert log_lines(make_runner(folder, hook=hook)) == [
        'phase 0: iterations 0 to 4, the super-net alone',
        'phase 2: iterations 5 to 23, the super-net and 4 sub-nets',
        'phase 2 begins: the super-net and 4 sub-nets',
    ]


def test_a_network_with_other_subnets_than_the_clusters_is_refused(folder):
    with pytest.raises(InputError, match=r'9 sub-nets \(3 groups, 2 blocks\) against 4 .* --num-groups 3 --num-bl'):
        make_runner(folder, model=PixelNet(SubnetSpace(3, 2))).train()


def test_a_network_without_subnets_is_refused(folder):
    model = PixelNet()
    del model.backbone.space
    with pytest.raises(InputError, match='PixelNet has no sub-nets'):
        make_runner(folder, model=model).train()


def test_a_cluster_smaller_than_a_batch_is_refused(folder):
    runner = make_runner(folder)
    runner._train_dataloader['batch_size'] = 7
    with pytest.raises(InputError, match=r'clusters\.npz: cluster 0 has 6 images, fewer than a batch of 7 .* 24 images '
                                         r'cannot fill 4 of them, use batches of at most 6 over all ranks'):
        runner.train()


@pytest.mark.parametrize('starts, named', [([0, 6, 24], True), ([0, 6, 23], False)])
def test_a_phase_that_never_begins_is_named(folder, starts, named):
    runner = make_runner(folder, hook=dict(phase_iters=starts))
    warnings = []
    runner.logger.warning = warnings.append
    runner.train()
    late = [line for line in warnings if line.startswith('the last phase would begin')]
    assert bool(late) == named
    assert all(line.startswith('the last phase would begin at iteration 24, and the training ends at 24')
               for line in late)


def test_a_loop_that_would_replay_batches_is_refused(folder):
    with pytest.raises(InputError, match="cannot drive EpochBasedTrainLoop: give train_cfg=dict.type='SDRTrainLoop'"):
        make_runner(folder, loop='EpochBasedTrainLoop').train()


def test_a_loader_without_our_sampler_is_refused(folder):
    runner = make_runner(folder)
    del runner._train_dataloader['batch_sampler']
    with pytest.raises(InputError, match='SDRTrainLoop needs a loader whose order starts anywhere'):
        runner.train()


def test_starts_of_phases_are_given_once():
    with pytest.raises(InputError, match='phase_iters and phase_epochs exclude each other'):
        ProgressiveTrainingHook(phase_iters=[0], phase_epochs=[0])


def test_the_loop_is_found_by_its_name():
    assert LOOPS.get('SDRTrainLoop') is SDRTrainLoop
    assert HOOKS.get('ProgressiveTrainingHook') is ProgressiveTrainingHook


if __name__ == '__main__':
    train_rank(Path(sys.argv[1]))
