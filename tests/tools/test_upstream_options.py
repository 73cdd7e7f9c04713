"""The options of MMPretrain's tools are there and do the same: its own files are run beside ours."""

import argparse
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config
from repository import ROOT, load_tool

from sdr_mm.engine import testing
from sdr_mm.errors import InputError

MIM = Path(mmpretrain.__file__).parent / '.mim'
CLASSIFIER = str(MIM / 'configs/resnet/resnet18_8xb16_cifar10.py')
BASELINE = str(ROOT / 'configs/small/simsiam_resnet18_b64-15e_32px.py')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def upstream(tool):
    spec = spec_from_file_location(f'upstream_{tool}', MIM / f'tools/{tool}.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options_of(main, monkeypatch):
    """The actions of the parser that ``main`` builds, by their names; it ends where it would parse."""
    class Found(Exception):
        pass

    def stop(parser, *_):
        raise Found(parser)

    with monkeypatch.context() as patch, pytest.raises(Found) as found:
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        main()
    return {name: action for action in found.value.args[0]._actions for name in action.option_strings or [action.dest]}


def argv(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['tool.py', *map(str, arguments)])
    monkeypatch.setenv('LOCAL_RANK', '0')


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_each_option_of_upstream_is_there_and_takes_as_much(tool, monkeypatch):
    ours = load_tool(tool)
    mine = options_of(ours.parse_args if tool == 'train' else ours.main, monkeypatch)
    theirs = options_of(upstream(tool).parse_args, monkeypatch)
    assert len(theirs) > 12
    for name, action in theirs.items():
        assert name in mine, name
        same = mine[name]
        assert (same.nargs, same.const, same.required) == (action.nargs, action.const, action.required), name
        assert set(action.choices or ()) <= set(same.choices or ()), name


@pytest.mark.parametrize('config, options', [
    (BASELINE, []), (BASELINE, ['--work-dir', 'elsewhere']), (BASELINE, ['--resume']),
    (BASELINE, ['--resume', 'x.pth']),
    (BASELINE, ['--no-pin-memory', '--no-persistent-workers']), (BASELINE, ['--launcher', 'slurm']),
    (CLASSIFIER, ['--no-validate']), (CLASSIFIER, ['--no-pin-memory']), (CLASSIFIER, ['--no-persistent-workers']),
    (CLASSIFIER, ['--auto-scale-lr']), (CLASSIFIER, ['--amp'])])
def test_an_option_of_train_changes_what_it_changes_upstream(config, options, monkeypatch):
    argv(monkeypatch, config, *options)
    theirs = upstream('train')
    wanted = theirs.merge_args(Config.fromfile(config), theirs.parse_args())
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)  # without a GPU we refuse --amp
    train = load_tool('train')
    found = train.configure(train.parse_args())
    for key in ('val_cfg', 'val_evaluator', 'launcher', 'resume', 'load_from', 'auto_scale_lr'):
        assert found.get(key) == wanted.get(key), key
    assert os.path.normpath(found.work_dir) == os.path.normpath(wanted.work_dir)
    assert ('Amp' in found.optim_wrapper.get('type', '')) == ('Amp' in wanted.optim_wrapper.get('type', ''))
    assert found.optim_wrapper.get('loss_scale') == wanted.optim_wrapper.get('loss_scale')
    for loader in LOADERS:
        assert bool(found.get(loader)) == bool(wanted.get(loader)), loader
        for entry, option in (('pin_memory', '--no-pin-memory'), ('persistent_workers', '--no-persistent-workers')):
            if wanted.get(loader) and option in options:
                assert found[loader][entry] is wanted[loader][entry] is False


def tested(monkeypatch, tmp_path, *options):
    """The config with which tools/test.py tests, and where predictions go."""
    seen = []
    monkeypatch.setattr(testing, 'evaluate', lambda *given: seen.append(given) or {'accuracy/top1': 12.5})
    load_tool('test').main([CLASSIFIER, 'x.pth', '--work-dir', str(tmp_path / 'run'), *map(str, options)])
    (cfg, checkpoint, predictions), = seen
    assert checkpoint == 'x.pth'
    return cfg, predictions


@pytest.mark.parametrize('options', [
    [], ['--amp'], ['--no-pin-memory'], ['--show-dir', 'pictures'], ['--show-dir', 'pictures', '--interval', '3'],
    ['--show', '--wait-time', '0.5', '--interval', '1']])
def test_an_option_of_test_changes_what_it_changes_upstream(options, tmp_path, monkeypatch):
    argv(monkeypatch, CLASSIFIER, 'x.pth', *options)
    theirs = upstream('test')
    args = theirs.parse_args()
    wanted = theirs.merge_args(Config.fromfile(CLASSIFIER), args)
    found, _ = tested(monkeypatch, tmp_path, *options)
    assert found.test_cfg == wanted.test_cfg
    mine, hook = (dict(cfg.default_hooks.visualization) for cfg in (found, wanted))
    if '--interval' not in options:  # Without one we leave it to the config; upstream draws every image.
        mine.pop('interval', None), hook.pop('interval', None)
    assert mine == hook
    if '--no-pin-memory' in options:
        assert found.test_dataloader.pin_memory is wanted.test_dataloader.pin_memory is False


def test_what_test_writes(tmp_path, monkeypatch):
    scores, pickled = tmp_path / 'scores.json', tmp_path / 'predictions.pkl'
    assert tested(monkeypatch, tmp_path, '--out', scores)[1] is None
    assert '12.5' in scores.read_text()
    assert tested(monkeypatch, tmp_path, '--out', pickled, '--out-item', 'pred')[1] == str(pickled)
    assert not pickled.exists()  # MMEngine writes it, at the end of the test


@pytest.mark.parametrize('options, line', [
    (['--tta'], 'averages the scores of a classifier'), (['--out-item', 'pred'], '--out-item pred needs --out FILE'),
    (['--out', 'x.json', '--out-item', 'pred'], 'give a NAME.pkl')])
def test_what_test_refuses(options, line):
    with pytest.raises(InputError, match=line):
        load_tool('test').main([CLASSIFIER, 'x.pth', *options])


def test_a_config_without_a_hook_that_draws_says_so(tmp_path, monkeypatch):
    with pytest.raises(InputError, match='draws nothing: it needs a default_hooks.visualization'):
        tested(monkeypatch, tmp_path, '--show-dir', 'x', '--cfg-options', 'default_hooks.visualization=None')


@pytest.mark.parametrize('script, arguments', [
    ('dist_test.sh', ['c.py', 'x.pth', '2', '--work-dir', 'a b']), ('dist_train.sh', ['c.py', '2', '--amp']),
    ('slurm_test.sh', ['part', 'job', 'c.py', 'x.pth', '--out', 'y']),
    ('slurm_train.sh', ['part', 'job', 'c.py', 'run', '--amp'])])
def test_a_script_starts_what_it_starts_upstream(script, arguments, tmp_path):
    for name in ('torchrun', 'python', 'srun'):
        (tmp_path / name).write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$SAID"\n')
        (tmp_path / name).chmod(0o755)
    started = []
    for number, tools in enumerate((ROOT / 'tools', MIM / 'tools')):
        said = tmp_path / str(number)
        env = dict(os.environ, PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', SAID=str(said), GPUS='4', NNODES='3',
                   GPUS_PER_NODE='2', CPUS_PER_TASK='1', NODE_RANK='1', PORT='1234', MASTER_ADDR='host',
                   SRUN_ARGS='--qos=high')
        subprocess.run(['bash', tools / script, *arguments], env=env, check=True, timeout=60)
        words = said.read_text().replace('--launcher=', '--launcher\n').replace('--work-dir=', '--work-dir\n').split()
        started.append(sorted(Path(word).name if word.endswith('.py') else word for word in words
                              if word not in ('-m', 'torch.distributed.launch')))
    assert started[0] == started[1]
    done = subprocess.run(['bash', ROOT / 'tools' / script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith('usage: bash tools/' + script)
