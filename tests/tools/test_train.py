"""tools/train.py: overrides, resuming, refusals; two processes against one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT, load_tool
from small_runs import assert_same_training

from sdr_mm.clusters import Clusters
from sdr_mm.engine.configs import amp_wrapper, load_config, use_clusters, use_folder
from sdr_mm.engine.training import build_runner
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.models.checkpoints import load_resnet, read_checkpoint
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.models.sliced import subnet_state_dict
from sdr_mm.registry import MODELS

train = load_tool('train')

BASELINE = str(ROOT / 'configs/small/simsiam_resnet18_b64-15e_32px.py')
SDR = str(ROOT / 'configs/small/sdr_simsiam_resnet18_b64-15e_32px.py')
SDR_BYOL = str(ROOT / 'configs/small/sdr_byol_resnet18_b128-10e_32px.py')
TINY = [
    'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
    'train_cfg.max_epochs=2', 'log_level=ERROR', 'default_hooks.checkpoint.interval=1'
]


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A flat folder of 80 random pictures."""
    folder = tmp_path_factory.mktemp('images')
    random = np.random.default_rng(0)
    for number in range(80):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / f'{number:02d}.png')
    return folder


@pytest.fixture(scope='module')
def clusters(images):
    names = sorted(path.name for path in images.iterdir())
    return write_clusters(images.parent / 'clusters.npz', names, np.arange(80) % 16)


def write_clusters(file, names, assignment, num_clusters=16, num_groups=4, num_blocks=2):
    paths = np.stack(np.unravel_index(np.arange(num_clusters), (num_groups, ) * num_blocks), axis=1)
    Clusters(
        assignment=np.asarray(assignment, dtype=np.int64),
        centroids=np.eye(num_clusters, 17, dtype=np.float32),
        paths=paths.astype(np.int64),
        num_groups=num_groups,
        fingerprint=fingerprint(names),
        method='test').save(file, overwrite=True)
    return file


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def run_tool(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, argv)])
    train.main()


def test_baseline_trains_on_a_flat_folder_and_resumes(images, tmp_path, monkeypatch):
    arguments = [BASELINE, '--data', images, '--work-dir', tmp_path / 'run', '--cfg-options', *TINY]
    run_tool(monkeypatch, *arguments)
    first = read_checkpoint(tmp_path / 'run/epoch_2.pth')
    assert first['meta']['iter'] == 40
    # The message hub that upstream MMEngine cannot read back is in there.
    assert first['message_hub']['log_scalars']
    longer = [argument.replace('max_epochs=2', 'max_epochs=3') if isinstance(argument, str) else argument
              for argument in arguments]
    run_tool(monkeypatch, *longer[:5], '--resume', *longer[5:])
    assert read_checkpoint(tmp_path / 'run/epoch_3.pth')['meta']['iter'] == 60


def test_log_has_a_line_of_an_image_whose_name_is_no_utf8(images, tmp_path, monkeypatch, capfd):
    shutil.copytree(images, tmp_path / 'images')
    (tmp_path / 'images' / os.fsdecode(b'caf\xe9.png')).write_bytes(b'no picture')
    run_tool(monkeypatch, BASELINE, '--data', tmp_path / 'images', '--work-dir', tmp_path / 'run', '--on-error', 'skip',
             '--cfg-options', *TINY, 'log_level=WARNING', 'train_cfg.max_epochs=1')
    log, = (tmp_path / 'run').glob('*/*.log')
    assert 'skipped: ' in log.read_text() and r'caf\udce9.png cannot be decoded' in log.read_text()
    assert 'Logging error' not in capfd.readouterr().err


def test_sdr_trains_and_logs_each_network(images, clusters, tmp_path, monkeypatch):
    run_tool(monkeypatch, SDR, '--data', images, '--clusters', clusters, '--work-dir', tmp_path / 'run',
             '--cfg-options', *TINY, 'log_level=WARNING')
    log, = (tmp_path / 'run').glob('*/*.log')
    assert 'the training ends after 2 epochs and the CosineAnnealingLR after 15: let --epochs 2' in log.read_text()
    scalars, = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    logged = {key for line in scalars.read_text().splitlines() for key in json.loads(line)}
    assert {f'networks/supernet/{key}' for key in ('loss_ssl', 'effective_rank', 'feature_spread')} <= logged
    assert any(key.startswith('networks/subnet_') and key.endswith('/loss_kd') for key in logged)


@pytest.mark.parametrize('config', [SDR, SDR_BYOL], ids=['SimSiam', 'BYOL'])
def test_resume_in_mid_epoch_is_bit_identical_on_the_real_model(config, images, clusters, tmp_path, monkeypatch):
    options = ['--data', images, '--clusters', clusters, '--cfg-options', *TINY,
               'default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=13',
               'default_hooks.checkpoint.max_keep_ckpts=-1']
    run_tool(monkeypatch, config, '--work-dir', tmp_path / 'whole', *options)
    # As if the run had been interrupted in the middle of epoch 1 of 2.
    (tmp_path / 'parts').mkdir()
    for name in ('run.json', 'iter_13.pth'):
        (tmp_path / 'parts' / name).write_bytes((tmp_path / 'whole' / name).read_bytes())
    run_tool(monkeypatch, config, '--work-dir', tmp_path / 'parts', '--resume', tmp_path / 'parts/iter_13.pth',
             *options)
    whole, resumed = (read_checkpoint(tmp_path / part / 'iter_39.pth') for part in ('whole', 'parts'))
    for name, tensor in whole['state_dict'].items():
        assert torch.equal(tensor, resumed['state_dict'][name]), name
    if config == SDR_BYOL:
        assert resumed['state_dict']['target_net.steps'] == 39


CHANGES = {  # what is one word away from being right
    'optimizer.lr=1': 'would change nothing, .*: did you mean optim_wrapper.optimizer.lr',
    'train_dataloader.batchsize=4': "unexpected keyword argument 'batchsize': did you mean train_dataloader.batch_size",
    'train_dataloader.batch_size=many': "batch_size cannot be 'many', it is 64",
    'train_dataloader.batch_size=0': 'cannot be built, AssertionError: a batch has at least one image, got',
    'train_dataloader.num_workers=-1': 'cannot be built, ValueError: num_workers option should be non-negative',
    'train_dataloader.num_workers=1.5': 'train_dataloader.num_workers is a whole number, got 1.5',
    'default_hooks.checkpoint.intervall=1': 'default_hooks.checkpoint.intervall is no option of a checkpoint',
    'load_from=0': 'load_from is the path of a checkpoint, got 0',
    'evaluation.k=-3': 'evaluation needs whole numbers .* got size=32, resize=32 and k=-3',
    'train_dataloader=5': 'train_dataloader cannot be 5, it is a section with ',
    'train_cfg.max_epoch=3': "unexpected keyword argument 'max_epoch': did you mean train_cfg.max_epochs",
    'train_cfg.max_epochs.x=3': 'train_cfg.max_epochs is 15 and has no entries',
    'param_scheduler.3.T_max=4': 'param_scheduler has the entries 0 to 0, and no 3',
    'optim_wrapper.optimizer.learning_rate=2': "unexpected keyword argument 'learning_rate'",
    'model.backbone.dept=18': "unexpected keyword argument 'dept': did you mean model.backbone.depth",
    'model.backbone.type=ResNett': 'cannot be built, KeyError: ResNett is not in the ',
    'chanels_last=True': 'nothing reads chanels_last: did you mean channels_last',
    'channels_last=3': 'channels_last cannot be 3, it is True',
    'evaluation.resiz=3': 'nothing reads evaluation.resiz: did you mean evaluation.resize',
    'default_hooks.checkpont.interval=1': 'must contain the key "type"',
}


@pytest.mark.parametrize('change', CHANGES)
def test_a_change_that_is_no_change_is_one_line(change, images, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=CHANGES[change]) as error:
        run_tool(monkeypatch, BASELINE, '--data', images, '--work-dir', tmp_path / 'run', '--cfg-options',
                 'log_level=ERROR', 'train_dataloader.num_workers=0', change)
    assert '\n' not in str(error.value) and not list(tmp_path.rglob('*.pth'))


def test_a_loader_without_processes_needs_no_second_option():
    cfg = load_config(SDR, {'train_dataloader.num_workers': 0})
    assert 'persistent_workers' not in cfg.train_dataloader
    assert load_config(SDR).train_dataloader.persistent_workers


@pytest.mark.slow
def test_the_baseline_with_synchronized_norms_trains_on_two_cpus(images, tmp_path):
    """By torchrun alone, without --launcher."""
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--master_port',
               str(free_port()), ROOT / 'tools/train.py', BASELINE, '--data', images, '--work-dir', tmp_path / 'run',
               '--epochs', '1', '--cfg-options', 'train_dataloader.batch_size=20', 'train_dataloader.num_workers=0',
               'default_hooks.checkpoint.interval=1',
               *(f'model.{part}.norm_cfg.type=SyncBN' for part in ('backbone', 'neck', 'head.predictor'))]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint = read_checkpoint(tmp_path / 'run/epoch_1.pth')
    assert checkpoint['meta']['iter'] == 2, '80 images in batches of 20 on each of two ranks'
    assert checkpoint['state_dict']['backbone.layer4.1.bn2.num_batches_tracked'] == 4, 'two views in each iteration'


@pytest.mark.slow
@pytest.mark.parametrize('config', [SDR, SDR_BYOL], ids=['SimSiam', 'BYOL'])
def test_two_processes_train_what_one_trains(config, images, tmp_path):
    """gloo and SyncBN: each rank has half of every batch, and after 10 iterations the weights agree.

    Batches of 16 images and branches that begin at zero: batch norm over a handful of values, layer upon
    layer, amplifies rounding so much that after a few steps any two orders of summation lead elsewhere.
    """
    names = sorted(path.name for path in images.iterdir())
    clusters = write_clusters(tmp_path / 'clusters.npz', names, np.arange(80) % 4, 4, num_blocks=1)
    options = [option for option in TINY if 'batch_size' not in option]
    options += ['model.backbone.routed_blocks=(3,)', 'model.backbone.zero_init_residual=True',
                f'optim_wrapper.optimizer.lr={0.001 if config == SDR_BYOL else 0.005}']  # Its loss is 4 times as large.
    options += [f'model.{part}.norm_cfg.type=SyncBN' for part in ('backbone', 'neck', 'head.predictor')]
    weights = []
    for ranks in (1, 2):
        command = [
            'bash', ROOT / 'tools/dist_train.sh', config, ranks, '--data', images, '--clusters', clusters, '--work-dir',
            tmp_path / str(ranks), '--cfg-options', *options, f'train_dataloader.batch_size={16 // ranks}'
        ]
        environment = {**os.environ, 'PORT': str(free_port()), 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT),
                       'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        weights.append(read_checkpoint(tmp_path / f'{ranks}/epoch_2.pth')['state_dict'])
    for name, tensor in weights[0].items():
        if tensor.is_floating_point():
            scale = tensor.abs().max().clamp(min=1e-3)
            torch.testing.assert_close(weights[1][name] / scale, tensor / scale, rtol=0, atol=1e-3, msg=name)


def two_ranks(*args, **kwargs):
    """The finished ``tools/dist_train.sh`` on two gloo ranks."""
    return subprocess.run(**command_of_two_ranks(*args, **kwargs), capture_output=True, text=True, timeout=500)


def command_of_two_ranks(config, images, work_dir, *options, workers=0):
    environment = {**os.environ, 'PORT': str(free_port()), 'OMP_NUM_THREADS': '1',
                   'PYTHONPATH': f'{ROOT}:{ROOT}/tests/helpers',
                   'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    return dict(env=environment, args=[str(word) for word in (
        'bash', ROOT / 'tools/dist_train.sh', config, 2, '--data', images, '--work-dir', work_dir, *options,
        '--cfg-options', *(option for option in TINY if 'workers' not in option and 'max_epochs' not in option),
        f'train_dataloader.num_workers={workers}', f'train_dataloader.persistent_workers={workers > 0}')])


def with_accident(config, folder, kind, iteration):
    accident = folder / 'accident.py'
    hooks = load_config(str(config)).to_dict()['custom_hooks']
    accident.write_text(f"""
_base_ = {str(config)!r}
custom_imports = dict(imports=['sdr_mm', 'accidents'])
custom_hooks = {[*hooks, dict(type='AccidentHook', kind=kind, iteration=iteration)]!r}
""")
    return accident


@pytest.mark.slow
@pytest.mark.parametrize('name', ['baseline', 'SDR'])
def test_ranks_stop_together_when_one_is_told_to_and_go_on_as_if_they_had_not(name, images, tmp_path):
    config, options = BASELINE, ['--epochs', 2]
    if name == 'SDR':
        config = tmp_path / 'sdr.py'
        config.write_text(f'_base_ = {SDR!r}\nmodel = dict(backbone=dict(routed_blocks=(3, )))\n')
        names = sorted(path.name for path in images.iterdir())
        options += ['--clusters', write_clusters(tmp_path / 'c.npz', names, np.arange(80) % 4, 4, num_blocks=1)]
    whole = two_ranks(config, images, tmp_path / 'whole', *options)
    assert whole.returncode == 0, whole.stderr[-3000:]
    stopped = two_ranks(with_accident(config, tmp_path, 'told', 3), images, tmp_path / 'parts', *options)
    assert stopped.returncode == 75, stopped.stderr[-3000:]
    assert stopped.stderr.count('stopped by SIGTERM, the state after iteration 5 is in') == 1
    assert [file.name for file in (tmp_path / 'parts').glob('*.pth')] == ['interrupted.pth']
    resumed = two_ranks(config, images, tmp_path / 'parts', *options, '--resume')
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert_same_training(tmp_path / 'whole/epoch_2.pth', tmp_path / 'parts/epoch_2.pth')


def processes_of(work_dir):
    """Ids of all that run with this folder on their command lines; ranks are in sessions of their own."""
    found = []
    for file in Path('/proc').glob('[0-9]*/cmdline'):
        with suppress(OSError):
            found += [int(file.parent.name)] * (os.fsencode(work_dir) in file.read_bytes())
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc').exists(), reason='Linux only')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('send', [os.kill, os.killpg], ids=['the script', 'its group'])
def test_script_that_is_told_to_stop_ends_with_its_ranks_after_they_have_saved(send, number, images, tmp_path):
    work_dir = tmp_path / 'run'
    # A shell cannot trap what was ignored when it began, as SIGINT is in the background of another one.
    script = subprocess.Popen(
        **command_of_two_ranks(BASELINE, images, work_dir, '--epochs', 1000, workers=1), start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True)
    try:
        while not list(work_dir.glob('epoch_*.pth')):
            assert script.poll() is None, script.stderr.read()
            time.sleep(0.05)
        assert len(processes_of(work_dir)) > 3
        send(script.pid, number)
        _, errors = script.communicate(timeout=200)
        assert script.returncode == 75, errors[-3000:]
        assert not processes_of(work_dir)
    finally:
        for process in processes_of(work_dir):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    saved = read_checkpoint(work_dir / 'interrupted.pth')
    assert errors.count(f'the state after iteration {saved["meta"]["iter"]} is in') == 1


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['killed', 'fails', 'loses a worker'])
def test_job_ends_with_the_rank_that_ends(kind, images, tmp_path):
    done = two_ranks(with_accident(BASELINE, tmp_path, kind, 3), images, tmp_path / 'run', '--epochs', 1000, workers=1)
    assert done.returncode not in (0, 75)
    reason = {'killed': 'Signal 9', 'fails': 'an accident', 'loses a worker': 'killed by signal'}[kind]
    assert reason in done.stderr


SLURM = {
    # Slurm itself is not at hand: these write down how they are called, and do what it would do next.
    'sbatch': """
echo "sbatch $*" >> "$LOG"
while [ "$1" != "$SDR_MM_TOOLS/slurm_train.sh" ]; do shift; done
cp "$1" "$LOG.batch"  # It runs a copy, from elsewhere.
shift
restarts=0
while :; do
    rm -f "$LOG.again"
    (cd /; SLURM_JOB_ID=7 SLURM_RESTART_COUNT=$restarts bash "$LOG.batch" "$@") && status=0 || status=$?
    [ -e "$LOG.again" ] || exit $status
    restarts=$((restarts + 1))
done
""",
    'srun': """
echo "srun $*" >> "$LOG"
mkdir -p "$WORK" && touch "$WORK/run.json"
[ "$(grep -c ^srun "$LOG")" -ge 3 ] || exit ${STATUS:-75}
""",
    'scontrol': """
echo "scontrol $*" >> "$LOG"
touch "$LOG.again"
""",
}


def test_slurm_job_goes_back_into_the_queue_until_it_is_done(tmp_path):
    for name, text in SLURM.items():
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\n{text}')
        (tmp_path / name).chmod(0o755)
    log = tmp_path / 'log'
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'LOG': str(log), 'GRACE': '60',
                   'WORK': str(tmp_path / 'run'), 'GPUS': '2', 'GPUS_PER_NODE': '2', 'SBATCH_ARGS': '--time=1:00:00'}
    command = ['bash', 'tools/slurm_train.sh', '--requeue', 'gpu', 'sdr', 'config.py', str(tmp_path / 'run'), '--amp']

    def run(*command, **changes):
        log.unlink(missing_ok=True)
        done = subprocess.run(command, env={**environment, **changes}, cwd=ROOT)
        return done.returncode, log.read_text().splitlines()

    status, (submitted, first, again, second, _, third) = run(*command)
    assert status == 0 and again == 'scontrol requeue 7'
    assert '-p gpu --job-name=sdr --gres=gpu:2 --ntasks=2' in submitted
    assert '--requeue --open-mode=append --signal=TERM@60 --time=1:00:00' in submitted
    assert first.endswith(f'python -u {ROOT}/tools/train.py config.py --work-dir {tmp_path}/run --launcher slurm --amp')
    assert ' --kill-on-bad-exit=1 ' in first, 'a rank that dies ends the job'
    assert second == third == f'{first} --resume'
    # A training that fails is not repeated, and without --requeue nothing is.
    status, lines = run(*command, STATUS='1')
    assert status == 1 and len(lines) == 2
    status, lines = run(*command[:2], *command[3:])
    assert status == 75 and len(lines) == 1 and '--resume' not in lines[0]


def test_predictor_keeps_its_learning_rate_under_any_scheduler(images, tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr('sdr_mm.engine.progress_bar_hook.ProgressBarHook.before_train_iter',
                        lambda self, runner, *args, **kwargs: rates.append(
                            [group['lr'] for group in runner.optim_wrapper.optimizer.param_groups]))
    config = tmp_path / 'warmup.py'
    config.write_text(f"""
_base_ = {BASELINE!r}
custom_hooks = [dict(type='FixedLRHook'), dict(type='ProgressBarHook')]
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=10),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=10, T_max=30),
]
""")
    # --auto-scale-lr divides the base rate by 64, because a batch has 4 images in place of 256.
    run_tool(monkeypatch, config, '--data', images, '--work-dir', tmp_path, '--auto-scale-lr', '--cfg-options', *TINY)
    groups = np.array(rates)
    fixed = np.isclose(groups, 0.05 * 4 / 256).all(axis=0)
    assert fixed.any() and not fixed.all()
    moving = groups[:, ~fixed]
    assert moving[0].max() < moving[12].max() and moving[-1].max() < 0.2 * moving[12].max()


def test_epochs_of_the_command_line_end_the_learning_rate_too(images, tmp_path, monkeypatch):
    options = [option for option in TINY if 'max_epochs' not in option]
    run_tool(monkeypatch, BASELINE, '--data', images, '--work-dir', tmp_path, '--epochs', 1, '--cfg-options', *options)
    checkpoint = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == 20
    assert max(group['lr'] for group in checkpoint['optimizer']['param_groups'] if not group.get('fix_lr')) < 1e-3
    # It also knows how it is to be evaluated.
    assert load_resnet(tmp_path / 'epoch_1.pth')[1]['settings'] == EvalSettings(resize=32, size=32, k=20)


def test_amp_changes_the_wrapper_that_is_there():
    for kind, expected in [('OptimWrapper', 'AmpOptimWrapper'), ('SubnetOptimWrapper', 'AmpSubnetOptimWrapper'),
                           ('sdr_mm.SubnetOptimWrapper', 'sdr_mm.AmpSubnetOptimWrapper')]:
        assert amp_wrapper(kind) == amp_wrapper(expected) == expected
    with pytest.raises(InputError, match='--amp'):
        amp_wrapper('ApexOptimWrapper')


def test_imagenet_recipe_is_the_papers():
    cfg = load_config(str(ROOT / 'configs/sdr_simsiam.py'))
    with torch.device('meta'):
        model = MODELS.build({**cfg.model, 'backbone': dict(cfg.model.backbone, norm_cfg=dict(type='BN'))})
    assert len(model.backbone.space) == 256
    assert cfg.train_cfg.max_epochs == 200 and cfg.train_dataloader.batch_size == 32
    assert cfg.train_dataloader.dataset.dataset.type == 'ImageNet'
    assert cfg.optim_wrapper.optimizer.lr == 0.05 and cfg.param_scheduler[0].T_max == 200


REFUSALS = {
    'missing folder': (lambda c: ['--data', 'nowhere'], 'no folder'),
    'empty folder': (lambda c: ['--data', c['empty']], 'no images'),
    'undecodable image': (lambda c: ['--data', c['broken'], '--on-error', 'stop'], 'cannot be decoded'),
    'other image list': (lambda c: ['--data', c['other'], '--clusters', c['clusters']], 'another image list'),
    'number of clusters': (lambda c: ['--data', c['images'], '--clusters', c['four']], '--num-groups'),
    'number of clusters, of which one is empty too': (
        lambda c: ['--data', c['images'], '--clusters', c['few']], '--num-groups'),
    'empty cluster': (lambda c: ['--data', c['images'], '--clusters', c['hole']], 'empty'),
    'cluster smaller than a batch': (
        lambda c: ['--data', c['images'], '--clusters', c['clusters'], '--cfg-options', *TINY,
                   'train_dataloader.batch_size=6'], 'batch'),
    'fewer images than a batch': (
        lambda c: ['--data', c['images'], '--cfg-options', *TINY, 'train_dataloader.batch_size=99'], 'fill one batch'),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_bad_input_is_one_line_that_says_what_to_do(name, images, clusters, tmp_path, monkeypatch):
    names = sorted(path.name for path in images.iterdir())
    context = dict(images=images, clusters=clusters)
    for folder in ('empty', 'broken', 'other'):
        context[folder] = tmp_path / folder
        context[folder].mkdir()
    for number in range(8):
        (context['other'] / f'x{number}.png').write_bytes((images / f'{number:02d}.png').read_bytes())
        (context['broken'] / f'{number}.png').write_bytes(b'no picture')
    context['four'] = write_clusters(tmp_path / 'four.npz', names, np.arange(80) % 4, 4, num_blocks=1)
    context['few'] = write_clusters(tmp_path / 'few.npz', names, np.arange(80) % 3, 4, num_blocks=1)
    context['hole'] = write_clusters(tmp_path / 'hole.npz', names, np.arange(80) % 15)
    build, expected = REFUSALS[name]
    arguments = build(context)
    config = SDR if '--clusters' in arguments else BASELINE
    if '--cfg-options' not in arguments:
        arguments += ['--cfg-options', *TINY]
    with pytest.raises(InputError, match=expected) as error:
        run_tool(monkeypatch, config, '--work-dir', tmp_path / 'run', *arguments)
    assert '\n' not in str(error.value).strip().splitlines()[-1]
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_checkpoint_of_another_layout_is_not_resumed_from(images, clusters, tmp_path, monkeypatch):
    options = ['--data', images, '--clusters', clusters, '--cfg-options', *TINY, 'train_cfg.max_epochs=1']
    run_tool(monkeypatch, SDR, '--work-dir', tmp_path / 'one', *options)
    with pytest.raises(InputError, match=r'another run, with model.backbone.base_channels = \[12, 4\]'):
        run_tool(monkeypatch, SDR, '--work-dir', tmp_path / 'two', '--resume', tmp_path / 'one/epoch_1.pth', *options,
                 'model.backbone.base_channels=(8,8)')
    assert not list((tmp_path / 'two').glob('*.pth'))
    with pytest.raises(InputError, match='nowhere.pth'):
        run_tool(monkeypatch, SDR, '--work-dir', tmp_path / 'two', '--resume', tmp_path / 'nowhere.pth', *options)


def test_folder_takes_the_place_of_the_images_and_keeps_the_transforms():
    cfg = load_config(SDR)
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    use_folder(cfg, '/photos')
    use_clusters(cfg, 'mine.npz')
    assert cfg.train_dataloader.dataset.dataset.data_root == '/photos'
    assert cfg.train_dataloader.dataset.dataset.pipeline == pipeline
    assert cfg.train_dataloader.dataset.clusters == 'mine.npz'
    with pytest.raises(InputError, match='has no clusters'):
        use_clusters(load_config(BASELINE), 'mine.npz')


def test_missing_config_is_refused():
    with pytest.raises(InputError, match='there is no config'):
        load_config('configs/nothing.py')


def test_every_subnet_starts_as_a_copy_of_the_baseline(images, clusters, tmp_path, monkeypatch):
    run_tool(monkeypatch, BASELINE, '--data', images, '--work-dir', tmp_path / 'baseline', '--epochs', '1',
             '--cfg-options', *TINY)
    file = tmp_path / 'baseline/epoch_1.pth'
    baseline = read_checkpoint(file)['state_dict']
    argv = [SDR, '--data', images, '--clusters', clusters, '--work-dir', tmp_path / 'sdr', '--init-from', file,
            '--cfg-options', *TINY]
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, argv)])
    model = build_runner(train.configure(train.parse_args())).model
    model.init_weights()
    for path in ((0, 0), (3, 1)):
        state = subnet_state_dict(model, path)
        assert all(torch.equal(state[key], value) for key, value in baseline.items() if key in state)
        assert {'backbone.conv1.weight', 'neck.fc0.weight', 'head.predictor.fc1.bias'} <= {*state} & {*baseline}
    argv[argv.index(file)] = tmp_path / 'gone.pth'
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, argv)])
    with pytest.raises(InputError, match='there is no file .*gone.pth'):
        train.configure(train.parse_args())


def test_a_warm_start_takes_no_optimizer_and_resumes_bit_for_bit(images, clusters, tmp_path, monkeypatch):
    run_tool(monkeypatch, BASELINE, '--data', images, '--work-dir', tmp_path / 'baseline', '--epochs', '1',
             '--cfg-options', *TINY)
    trained = read_checkpoint(tmp_path / 'baseline/epoch_1.pth')
    for state in trained['optimizer']['state'].values():
        state['momentum_buffer'].fill_(1e3)
    torch.save(trained, tmp_path / 'pushed.pth')
    torch.save(dict(state_dict=trained['state_dict']), tmp_path / 'weights.pth')

    def run(name, start, *more):
        run_tool(monkeypatch, SDR, '--data', images, '--clusters', clusters, '--work-dir', tmp_path / name,
                 '--init-from', tmp_path / start, '--epochs', '2', *more, '--cfg-options', *TINY)
        return read_checkpoint(tmp_path / name / 'epoch_2.pth')

    pushed, weights = run('pushed', 'pushed.pth'), run('weights', 'weights.pth')
    assert pushed['meta']['iter'] == weights['meta']['iter'] > 0
    (tmp_path / 'resumed').mkdir()
    first = Path(shutil.copy(tmp_path / 'weights/epoch_1.pth', tmp_path / 'resumed'))
    written = first.stat().st_mtime_ns
    resumed = run('resumed', 'weights.pth', '--resume')
    assert first.stat().st_mtime_ns == written, 'it began again'
    for other in (pushed, resumed):
        assert all(torch.equal(value, other['state_dict'][key]) for key, value in weights['state_dict'].items())
        for number, state in weights['optimizer']['state'].items():
            assert torch.equal(state['momentum_buffer'], other['optimizer']['state'][number]['momentum_buffer'])


def test_the_contrastive_recipe_trains(images, clusters, tmp_path, monkeypatch):
    run_tool(monkeypatch, SDR.replace('sdr_simsiam_resnet18_b64-15e', 'sdr_simclr_resnet18_b128-10e'), '--data', images,
             '--clusters', clusters, '--work-dir', tmp_path / 'run', '--epochs', '1', '--cfg-options', *TINY)
    checkpoint = read_checkpoint(tmp_path / 'run/epoch_1.pth')
    assert checkpoint['meta']['iter'] == 20 and not any('predictor' in key for key in checkpoint['state_dict'])
    losses = checkpoint['message_hub']['log_scalars']['train/loss_ssl'].data[0]
    assert losses.min() > 0 and losses.max() < 10  # at chance it is log(7) = 1.9
