"""A training that diverges: what is said, what is skipped, what is never written."""

import math
import re
import sys
from itertools import count

import non_finite_worker
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from non_finite_worker import NAN, Rows, make_runner, state
from PIL import Image
from processes import run_ranks
from repository import ROOT, load_tool
from small_runs import small_config, write_clusters, write_images

from sdr_mm.cli import run as run_tool
from sdr_mm.clusters import Clusters
from sdr_mm.engine.non_finite_hook import OVERFLOWS, NonFiniteHook
from sdr_mm.engine.training import build_runner, train
from sdr_mm.errors import InputError, NotFiniteError
from sdr_mm.images import fingerprint
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.space import SUPERNET

NUMBER = count()


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('sdr_mm')


def runner_of(tmp_path, dataset, *, warnings=None, **options):
    runner = make_runner(tmp_path / str(next(NUMBER)), dataset, options.pop('hook', {}), **options)
    if warnings is not None:
        runner.logger.warning = warnings.append
    return runner


def finite(file):
    return all(tensor.isfinite().all() for tensor in read_checkpoint(file)['state_dict'].values())


@pytest.mark.parametrize('value', [NAN, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_what_was_saved_stays(tmp_path, value):
    runner = runner_of(tmp_path, Rows([9], value))
    with pytest.raises(NotFiniteError, match=r'^Regression has diverged at iteration 3: loss (nan|inf), gradient norm '
                                             r'(nan|inf); the checkpoints so far stay: lower the learning rate, or'):
        runner.train()
    files = sorted(path.name for path in (tmp_path / runner.work_dir).glob('*.pth'))
    assert files == ['iter_1.pth', 'iter_2.pth'] and all(finite(f'{runner.work_dir}/{name}') for name in files)


@pytest.mark.parametrize('optimizer', [
    dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1), dict(type='AdamW', lr=0.1, weight_decay=0.1),
    dict(type='LARS', lr=0.1, momentum=0.9, weight_decay=0.1)])
def test_a_skipped_batch_leaves_no_trace(tmp_path, optimizer):
    wrapper = dict(optimizer=optimizer)
    warnings = []
    skipped = runner_of(tmp_path, Rows([9]), hook=dict(action='skip'), optim_wrapper=wrapper, warnings=warnings)
    skipped.train()
    assert [line for line in warnings if 'diverged' in line] == [
        'Regression has diverged at iteration 3: loss nan, gradient norm nan; the step was not taken']
    others = Rows()
    others.rows = torch.cat([others.rows[:8], others.rows[12:]])
    without = runner_of(tmp_path, others, optim_wrapper=wrapper)
    without.train()
    expected, found = state(without), state(skipped)
    assert found.keys() == expected.keys() and 'layers.0.running_var' in found
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_batches_may_be_skipped_now_and_then_but_not_for_ever(tmp_path):
    # Iterations 1, 2, 4 and 5 of eight.
    runner_of(tmp_path, Rows([0, 4, 12, 16]), hook=dict(action='skip', max_skips=2)).train()
    runner = runner_of(tmp_path, Rows([0, 4, 12, 16, 20]), hook=dict(action='skip', max_skips=2))
    with pytest.raises(NotFiniteError, match='at iteration 6: .*, after 2 such batches in a row; the checkpoints'):
        runner.train()


def test_a_loss_that_overflows_alone_is_named_and_its_step_said_to_be_taken(tmp_path):
    # The square of an output of 1e20 overflows, a hundred-thousandth of its gradient does not.
    warnings = []
    runner = runner_of(tmp_path, Rows(), hook=dict(action='skip'), warnings=warnings)
    with torch.no_grad():
        runner.model.layers[-1].bias.fill_(1e20)
    runner.model.factor = 1e-5
    runner.train()
    assert 'loss inf; its gradient is finite, so the step was taken' in warnings[0]


def test_no_checkpoint_is_written_with_weights_that_are_not_finite(tmp_path):
    runner = runner_of(tmp_path, Rows())
    with torch.no_grad():
        runner.model.layers[0].running_var[1] = math.inf  # In training nothing reads it.
    with pytest.raises(NotFiniteError, match=r'layers\.0\.running_var is not finite after iteration 1: .* nothing was '
                                             'saved'):
        runner.train()
    assert not list((tmp_path / runner.work_dir).glob('*.pth'))


def test_all_ranks_skip_the_batch_of_which_one_has_a_part(tmp_path):
    run_ranks(non_finite_worker, tmp_path)
    first, second = (np.load(tmp_path / f'rank{rank}.npz') for rank in range(2))
    for name in first.files:
        assert np.isfinite(first[name]).all() and np.isfinite(second[name]).all(), name
        if 'running' not in name:  # Each rank has its own statistics, of the rows that it has seen.
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_gradients_that_are_long_accumulated_are_no_overflow(tmp_path):
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=OVERFLOWS + 5)
    runner = runner_of(tmp_path, Rows(), optim_wrapper=wrapper, epochs=4)
    before = runner.model.layers[1].weight.detach().clone()
    runner.train()
    assert runner.iter == 32 and not torch.equal(runner.model.layers[1].weight, before)


def test_accumulated_gradients_are_judged_at_their_step(tmp_path):
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=4)
    runner = runner_of(tmp_path, Rows(), optim_wrapper=wrapper)
    runner.train()
    runner = runner_of(tmp_path, Rows([9]), optim_wrapper=wrapper, hook=dict(action='skip'))
    runner.train()
    assert all(np.isfinite(array).all() for array in state(runner).values())


def amp_runner(tmp_path, monkeypatch, dataset, fused=False, **options):
    """With a real scaler, which torch has for CPUs too; only MMEngine's wrapper asks for a GPU."""
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    optimizer = dict(type='SGD', lr=1e-3, **dict(fused=True) if fused else {})
    runner = runner_of(tmp_path, dataset, optim_wrapper=dict(type='AmpOptimWrapper', optimizer=optimizer), **options)
    assert runner.train_loop is not None  # Built now, so that it finds the wrapper that is built below.
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.**127)
    return runner


@pytest.mark.parametrize('fused', [False, True])
def test_overflows_until_the_loss_scale_fits_are_no_error(tmp_path, monkeypatch, fused):
    # Fewer in a row than are allowed, and more in all.
    monkeypatch.setattr('sdr_mm.engine.non_finite_hook.OVERFLOWS', 16)
    runner = amp_runner(tmp_path, monkeypatch, Rows(), fused, epochs=3)
    with torch.no_grad():
        runner.model.layers[-1].weight.mul_(100)  # More than ten halvings until the gradient fits.
    before = state(runner)['layers.1.weight']
    runner.train()
    scale = runner.optim_wrapper.loss_scaler.get_scale()
    assert scale <= 2.**114, 'ten steps and more were held back'
    assert (state(runner)['layers.1.weight'] != before).any(), 'the rest were taken'


@pytest.mark.parametrize('fused', [False, True])
def test_overflows_that_no_loss_scale_mends_are_an_error(tmp_path, monkeypatch, fused):
    runner = amp_runner(tmp_path, monkeypatch, Rows(), fused, epochs=9)
    runner.model.layers[1].weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(NotFiniteError, match=f'at iteration {OVERFLOWS}: gradient norm inf'):
        runner.train()
    with pytest.raises(NotFiniteError, match='at iteration 3: loss nan'):
        amp_runner(tmp_path, monkeypatch, Rows([9]), fused).train()


@pytest.mark.parametrize('options, message', [(dict(action='warn'), "'stop' or 'skip', got 'warn'"),
                                              (dict(max_skips=0), 'at least 1, got 0')])
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        NonFiniteHook(**options)


class SpoilHook(Hook):
    """Makes weights NaN that all networks share, before the third iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            self.networks = {sample.network for sample in data_batch['data_samples']}
            with torch.no_grad():
                next(runner.model.parameters()).fill_(NAN)


@pytest.mark.parametrize('options, before', [(dict(supernet_prob=0.), ''), (dict(joint=True), 'supernet and ')])
def test_the_line_names_the_subnet_that_was_drawn_and_the_supernet_beside_it(options, before, tmp_path):
    images = write_images(tmp_path / 'images')
    cfg = small_config(images, tmp_path / 'run', write_clusters(tmp_path / 'clusters.npz', images))
    cfg.custom_hooks[0].update(phase_iters=(0, 0), **options)
    runner, spoil = build_runner(cfg), SpoilHook()
    runner.register_hook(spoil)
    with pytest.raises(NotFiniteError) as error:
        runner.train()
    (subnet,) = spoil.networks - {SUPERNET}
    assert subnet > 0 and len(spoil.networks) == 1 + bool(before)
    assert str(error.value).split(':')[0] == f'{before}subnet_{subnet:03d} has diverged at iteration 3'


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    random = np.random.default_rng(0)
    for number in range(64):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f'{number:02d}.png')
    names = sorted(path.name for path in folder.iterdir())
    paths = np.stack(np.unravel_index(np.arange(16), (4, 4)), axis=1)
    Clusters(np.arange(64) % 16, np.eye(16, 17, dtype=np.float32), paths, 4, fingerprint(names), 'test').save(
        folder.parent / 'clusters.npz', overwrite=True)
    return folder


@pytest.mark.parametrize('config, network', [('simsiam', 'SimSiam'), ('sdr_simsiam', '(supernet|subnet_[0-9]{3})')])
def test_the_recipes_stop_when_they_diverge(config, network, images, tmp_path, monkeypatch, capsys):
    """At a learning rate of 1e10; with status 2, one line, and checkpoints that are as they were."""
    options = [ROOT / f'configs/small/{config}_resnet18_b64-15e_32px.py', '--data', images, '--work-dir', tmp_path,
               *(['--clusters', images.parent / 'clusters.npz'] if 'sdr' in config else []),
               '--cfg-options', 'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False', 'log_level=ERROR', 'optim_wrapper.optimizer.lr=1e10',
               'default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=1',
               'default_hooks.checkpoint.max_keep_ckpts=-1']
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, options)])
    with pytest.raises(SystemExit) as end:
        run_tool(load_tool('train').main)
    assert end.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(rf'error: {network} has diverged at iteration \d+: loss.* gradient norm', line), line
    files = list(tmp_path.glob('*.pth'))
    assert all(map(finite, files))


def test_a_config_without_the_hook_stops_too(images, tmp_path):
    cfg = small_config(images, tmp_path / 'run', optim_wrapper__optimizer__lr=1e10)
    cfg.custom_hooks = []
    with pytest.raises(NotFiniteError, match='^SimSiam has diverged at iteration'):
        train(cfg)
    assert all(map(finite, (tmp_path / 'run').glob('*.pth')))
