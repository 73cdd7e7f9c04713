"""The configs: what the paper and its baseline name, SDR against the baseline, ablations, the model index."""

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.utils import package_utils
from repository import ROOT
from small_runs import write_images

from sdr_mm.arguments import Parser, config_arguments
from sdr_mm.clusters import Clusters
from sdr_mm.engine.configs import load_config, use_clusters, use_epochs, use_folder
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.images import find_images, fingerprint
from sdr_mm.models import L2KDLoss, SiamKDLoss
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.registry import HOOKS
from sdr_mm.space import SUPERNET, SubnetSpace

CONFIGS = ROOT / 'configs'
SMALL = 'small/{}simsiam_resnet18_b64-15e_32px.py'
SMALL_BYOL = 'small/{}byol_resnet18_b128-10e_32px.py'
PAIRS = [('simsiam.py', 'sdr_simsiam.py'), (SMALL.format(''), SMALL.format('sdr_')), ('byol.py', 'sdr_byol.py'),
         (SMALL_BYOL.format(''), SMALL_BYOL.format('sdr_'))]
TRAINING = [path for path in sorted(CONFIGS.rglob('*.py')) if not {'_base_', 'studies', 'tasks'} & {*path.parts}]


def resolved(name, epochs=None):
    """A config, of so many epochs, as plain dictionaries, without the scopes that inherited entries carry."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key != '_scope_'}
        return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value

    cfg = Config.fromfile(CONFIGS / name)
    if epochs is not None:
        use_epochs(cfg, epochs)
    return plain(cfg.to_dict())


@pytest.mark.parametrize('name, theirs', [('simsiam', 'simsiam/simsiam_resnet50_8xb32-coslr-200e_in1k'),
                                          ('byol', 'byol/byol_resnet50_16xb256-coslr-200e_in1k')])
def test_the_baseline_is_mmpretrains_recipe(name, theirs, tmp_path):
    """MMPretrain's file is read where it is installed, so the two cannot drift apart unnoticed."""
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(f"_base_ = 'mmpretrain::{theirs}.py'\n")
    ours, theirs = resolved(f'{name}.py'), resolved(recipe)
    if name == 'byol':  # Half the GPUs, so half the batch and learning rate; fewer checkpoints, more workers.
        assert (ours['auto_scale_lr'], theirs['auto_scale_lr']) == (dict(base_batch_size=2048),
                                                                    dict(base_batch_size=4096))
        theirs['optim_wrapper']['optimizer']['lr'] /= 2
        theirs['default_hooks']['checkpoint']['interval'], theirs['train_dataloader']['num_workers'] = 10, 8
        theirs['train_dataloader']['drop_last'] = True  # Which changes nothing there: the sampler fills it up.
    # The order of the images and the loop are SDR's, which start anywhere.
    assert ours['train_cfg'].pop('type') == 'SDRTrainLoop' and theirs['train_cfg'].pop('type') == 'EpochBasedTrainLoop'
    assert ours['train_dataloader'].pop('batch_sampler') == dict(type='ClusterAwareSampler')
    assert (ours['train_dataloader'].pop('drop_last'), theirs['train_dataloader'].pop('drop_last')) == (False, True)
    assert ours['train_dataloader']['dataset'].pop('type') == 'ClusterDataset'
    ours['train_dataloader'].update(ours['train_dataloader'].pop('dataset'))
    for key in ('model', 'data_preprocessor', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'env_cfg', 'visualizer'):
        assert ours[key] == theirs[key], key
    assert ours['default_hooks'] == theirs['default_hooks']
    loader, expected = ours['train_dataloader'], theirs['train_dataloader']
    # Two transforms are ours: the loader of the files, and the color jitter, of the same strength.
    pipeline = json.dumps(loader['dataset']['pipeline'])
    pipeline = pipeline.replace('sdr_mm.ColorJitter', 'ColorJitter').replace('sdr_mm.LoadImage', 'LoadImageFromFile')
    assert json.loads(pipeline) == expected['dataset']['pipeline']
    assert loader == {**expected, 'dataset': {**expected['dataset'], 'pipeline': loader['dataset']['pipeline']}}


def test_sdr_on_imagenet_is_the_papers():
    cfg = resolved('sdr_simsiam.py')
    assert cfg['model'] == dict(
        type='SimSiamSDR',
        backbone=dict(type='SDRResNet', depth=50, base_channels=[52, 12], num_groups=4, norm_cfg=dict(type='SyncBN')),
        neck=dict(type='SDRNonLinearNeck', hid_channels=2048, out_channels=2048, num_layers=3,
                  with_last_bn_affine=False, norm_cfg=dict(type='SyncBN')),
        head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=dict(
            type='SDRNonLinearNeck', in_channels=2048, hid_channels=512, out_channels=2048, with_avg_pool=False,
            with_last_bn=False, with_last_bias=True, norm_cfg=dict(type='SyncBN'))),
        distillation=dict(type='SiamKDLoss'))
    assert cfg['optim_wrapper'] == dict(
        type='SubnetOptimWrapper', optimizer=dict(type='SGD', lr=0.05, weight_decay=1e-4, momentum=0.9),
        paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True))))
    assert cfg['train_cfg'] == dict(type='SDRTrainLoop', max_epochs=200)
    assert cfg['train_dataloader']['batch_size'] == 32
    assert cfg['auto_scale_lr'] == dict(base_batch_size=256)


def test_the_small_ones_are_as_they_were():
    baseline, sdr = map(resolved, PAIRS[1])  # of SimSiam
    batch_norm, batch_norm_1d = dict(type='BN'), dict(type='BN1d')
    assert baseline['model']['backbone'] == dict(
        type='ResNet', depth=18, stem_channels=16, base_channels=16, norm_cfg=batch_norm, zero_init_residual=False)
    assert baseline['model']['neck'] == dict(
        type='NonLinearNeck', in_channels=128, hid_channels=512, out_channels=512, num_layers=3,
        with_last_bn_affine=False, with_avg_pool=True, norm_cfg=batch_norm_1d)
    assert baseline['model']['head']['predictor'] == dict(
        type='NonLinearNeck', in_channels=512, hid_channels=128, out_channels=512, with_avg_pool=False,
        with_last_bn=False, with_last_bias=True, norm_cfg=batch_norm_1d)
    assert sdr['model']['backbone'] == dict(
        type='SDRResNet', depth=18, stem_channels=16, base_channels=[12, 4], num_groups=4, routed_blocks=[2, 3],
        norm_cfg=batch_norm, zero_init_residual=False)
    assert sdr['model']['neck'] == dict(
        type='SDRNonLinearNeck', hid_channels=512, out_channels=512, num_layers=3, with_last_bn_affine=False,
        norm_cfg=batch_norm)
    assert sdr['model']['head']['predictor'] == dict(
        type='SDRNonLinearNeck', in_channels=512, hid_channels=128, out_channels=512, with_avg_pool=False,
        with_last_bn=False, with_last_bias=True, norm_cfg=batch_norm)
    for cfg in (baseline, sdr):
        assert cfg['param_scheduler'] == [
            dict(type='CosineAnnealingLR', T_max=15, end=15, by_epoch=True, convert_to_iter_based=True)]
        assert cfg['optim_wrapper']['optimizer'] == dict(type='SGD', lr=0.05, weight_decay=5e-4, momentum=0.9)
        assert cfg['train_cfg']['max_epochs'] == 15 and cfg['channels_last'] is True
        assert cfg['randomness'] == dict(seed=0, deterministic=False)
        assert cfg['default_hooks']['checkpoint'] == dict(type='CheckpointHook', interval=5, max_keep_ckpts=3)
        assert cfg['default_hooks']['logger'] == dict(type='LoggerHook', interval=20)
        loader = cfg['train_dataloader']
        assert (loader['batch_size'], loader['num_workers'], loader['persistent_workers']) == (64, 1, True)


@pytest.mark.parametrize('baseline, sdr', PAIRS)
def test_sdr_differs_from_its_baseline_in_what_makes_it_sdr(baseline, sdr):
    plain, sdr = resolved(baseline, 400 if sdr == 'sdr_byol.py' else None), resolved(sdr)
    model, hooks = sdr.pop('model'), sdr.pop('custom_hooks')
    assert [hook['type'] for hook in hooks] == [
        'ProgressiveTrainingHook', 'NonFiniteHook', 'SubnetStepHook', 'FixedLRHook', 'CollapseMonitorHook',
        'SkipCountHook']
    assert plain.pop('custom_hooks') == [
        hook for hook in hooks if hook['type'] not in ('ProgressiveTrainingHook', 'SubnetStepHook')]
    assert hooks[1] == dict(type='NonFiniteHook', action='stop')
    assert model['type'] == plain.pop('model')['type'] + 'SDR'
    loader = plain['train_dataloader']
    assert 'clusters' not in loader['dataset']
    loader['dataset']['clusters'] = 'work_dirs/clusters.npz'
    plain['optim_wrapper']['type'] = 'SubnetOptimWrapper'
    for cfg in (plain, sdr):
        cfg.pop('norm', None), cfg.pop('epochs')
    assert sdr == plain


@pytest.mark.parametrize('part', 'ab')
def test_a_part_of_imagenet_differs_from_all_in_its_list(part):
    whole, config = resolved('simsiam.py'), resolved(f'negative_transfer/simsiam_imagenet-{part}.py')
    whole['train_dataloader']['dataset']['dataset'].update(ann_file=f'meta/strict_522_478_{part}.txt', with_label=False)
    assert config == whole


@pytest.mark.parametrize('pair, sizes', zip(PAIRS, 2 * [(256, 224, 200), (32, 32, 20)]))
def test_a_checkpoint_will_know_how_to_be_evaluated(pair, sizes):
    for name in pair:
        settings = EvalSettings.of(Config.fromfile(CONFIGS / name).to_dict())
        assert (settings.resize, settings.size, settings.k) == sizes


ABLATIONS = {  # Sub-nets, and what each base width of the four stages of the largest network is.
    'simsiam_supernet-size': (0, (100, 100, 100, 100)), 'sdr_simsiam_in': (256, (100, 100, 100, 100)),
    'sdr_simsiam_l2kd': (256, (100, 100, 100, 100)), 'sdr_simsiam_4-subnets': (4, (64, 64, 64, 100)),
    'sdr_simsiam_16-subnets': (16, (64, 64, 100, 100)), 'sdr_simsiam_64-subnets': (64, (64, 100, 100, 100))}


def resnet50_parameters(bases):
    """By hand: kernels, and a scale and a shift for each output channel, of a ResNet-50 with a base width a stage."""
    count, inputs = 3 * 64 * 49 + 2 * 64, 64
    for stage, (base, blocks) in enumerate(zip(bases, (3, 4, 6, 3))):
        width, out = base * 2**stage, 4 * base * 2**stage
        count += inputs * out + 2 * out  # the projection
        for _ in range(blocks):
            count += inputs * width + 9 * width * width + width * out + 2 * (width + width + out)
            inputs = out
    return count


def test_ablations_differ_from_sdr_in_what_they_are_named_after():
    assert {path.stem for path in CONFIGS.glob('ablations/*.py')} == set(ABLATIONS)

    def of(name):
        return resolved(f'ablations/{name}.py')

    sdr = resolved('sdr_simsiam.py')
    sdr['train_dataloader']['dataset']['share_images'] = True
    assert of('sdr_simsiam_in') == sdr
    del sdr['train_dataloader']['dataset']['share_images']
    for count, routed in ((4, [3]), (16, [2, 3]), (64, [1, 2, 3])):
        sdr['model']['backbone']['routed_blocks'] = routed
        sdr['train_dataloader']['dataset']['clusters'] = f'work_dirs/clusters_{count}.npz'
        assert of(f'sdr_simsiam_{count}-subnets') == sdr
    sdr = resolved('sdr_simsiam.py')
    sdr['model']['distillation'] = dict(type='L2KDLoss')
    assert of('sdr_simsiam_l2kd') == sdr
    baseline = resolved('simsiam.py')
    baseline['model']['backbone']['base_channels'], baseline['model']['neck']['in_channels'] = 100, 3200
    assert of('simsiam_supernet-size') == baseline


def commands_of(page):
    """Config, clusters and options of each training that a page has in its commands."""
    text = (ROOT / page).read_text(encoding='utf-8').replace('\\\n', ' ')
    found = [shlex.split(line) for line in re.findall(r'tools/dist_train\.sh [^`\n]*', text)]
    parser = Parser('', parents=[config_arguments()])
    for flag in ('config', 'gpus', '--data', '--clusters', '--work-dir'):
        parser.add_argument(flag)
    return [parser.parse_args(words[1:]) for words in found]


def test_the_commands_of_the_ablations_page_are_what_the_page_says():
    """Each one builds its schedule and loss; the options say what is set by them."""
    found = {}
    for command in commands_of('docs/ablations.md'):
        cfg = load_config(str(ROOT / command.config), command.cfg_options)
        if command.cfg_options is None:
            found[Path(command.config).stem, command.clusters] = None
            continue
        with DefaultScope.overwrite_default_scope('sdr_mm'):
            loss = cfg.model.get('distillation')
            hook = HOOKS.build(dict(cfg.custom_hooks[0]))
        name = ' '.join(sorted(command.cfg_options))
        assert Path(command.config).stem in ('sdr_simsiam', 'simsiam_supernet-size')
        found[name] = (None if loss is None else loss.type, getattr(hook, 'phase_iters', None),
                       getattr(hook, 'supernet_prob', None), getattr(hook, 'joint', None))
    page = (ROOT / 'docs/ablations.md').read_text(encoding='utf-8')
    rows = {int(count): size for count, size in re.findall(r'^\| (\d+) \|.*\| ([\d.]+M) \|', page, re.MULTILINE)}
    assert rows == {4**routed: f'{resnet50_parameters((4 - routed) * (64, ) + routed * (100, )) / 1e6:.3f}M'
                    for routed in range(5)}
    plain = {key[0] for key in found if isinstance(key, tuple)}
    assert plain == {*ABLATIONS, 'simsiam', 'sdr_simsiam'}
    assert ('sdr_simsiam', 'work_dirs/random.npz') in found
    kd = 'SiamKDLoss'
    assert {key: value for key, value in found.items() if isinstance(key, str)} == {
        'model.distillation': (None, None, None, False),
        'custom_hooks.0.phase_iters': (kd, (0, 0, 0, 0, 0), None, False),
        'custom_hooks.0.supernet_prob': (kd, None, 0.5, False), 'custom_hooks.0.joint': (kd, None, None, True),
        'model.backbone.base_channels': (kd, None, None, False),
        'model.backbone.base_channels model.neck.in_channels': (None, None, None, None)}


SMALLER = {'model.backbone.depth': 18, 'model.backbone.stem_channels': 4, 'train_dataloader.batch_size': 2,
           'train_dataloader.num_workers': 0, 'model.neck.hid_channels': 8, 'model.neck.out_channels': 8,
           'model.head.predictor.in_channels': 8, 'model.head.predictor.hid_channels': 4,
           'model.head.predictor.out_channels': 8, 'default_hooks.checkpoint.interval': 1, 'log_level': 'ERROR',
           'train_dataloader.dataset.dataset.pipeline.1.transforms.0.0.scale': 32}
"""As wide as it takes to run in seconds. What the ablations are about stays as their configs say."""


@HOOKS.register_module(force=True)
class SeenHook(Hook):
    """Notes the network of each iteration and the images that it was given."""

    def before_train(self, runner):
        runner.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.seen.append([(sample.get('network'), sample.img_path) for sample in data_batch['data_samples']])


@pytest.mark.slow
@pytest.mark.parametrize('name', ABLATIONS)
def test_each_ablation_trains(name, tmp_path):
    """For real, on pictures of noise: each network on the images that the ablation is about, with its loss."""
    options, count = dict(SMALLER), ABLATIONS[name][0]
    if count == 0:  # As wide as four groups of the layout of the others.
        options.update({'model.backbone.base_channels': 10, 'model.neck.in_channels': 80})
    else:
        options['model.backbone.base_channels'] = (2, 2)
    if count == 256:
        options['model.backbone.routed_blocks'], count = (3, ), 4
    images = write_images(tmp_path / 'images', 2 * max(count, 12))
    cfg = load_config(str(CONFIGS / f'ablations/{name}.py'), options)
    use_epochs(cfg, 1)
    use_folder(cfg, str(images))
    names = find_images(str(images))
    if count:
        blocks = round(math.log(count, 4))
        space = SubnetSpace(4, blocks)
        owner = np.arange(len(names)) % count
        Clusters(owner, np.eye(count, dtype=np.float32), np.array(space.paths), 4, fingerprint(names), 'test').save(
            tmp_path / 'clusters.npz')
        use_clusters(cfg, str(tmp_path / 'clusters.npz'))
    cfg.work_dir, cfg.custom_hooks = str(tmp_path / 'run'), [*cfg.custom_hooks, dict(type='SeenHook')]
    runner = train(cfg)
    written = read_checkpoint(tmp_path / 'run/epoch_1.pth')
    assert written['meta']['iter'] == len(runner.seen) == len(names) // 2
    assert len(getattr(runner.model.backbone, 'space', ())) == count
    seen = [(network, names.index(Path(image).name)) for batch in runner.seen for network, image in batch]
    if count:
        assert {True, False} == {network == SUPERNET for network, _ in seen}
        own = [owner[image] == network for network, image in seen if network != SUPERNET]
        assert all(own) if name != 'sdr_simsiam_in' else 0 < sum(own) < len(own)
        kind = L2KDLoss if name == 'sdr_simsiam_l2kd' else SiamKDLoss
        assert type(runner.model.distillation) is kind


BUILD = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
for file in sys.argv[1:]:
    cfg = Config.fromfile(file)
    if 'model' not in cfg:
        continue
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    space = getattr(model.backbone, 'space', ())
    print(len(space), sum(weights.numel() for weights in model.backbone.parameters()), cfg.default_scope)
"""


@pytest.mark.slow
def test_each_config_builds_its_model_in_a_fresh_process():
    """Sub-nets, and weights of the backbone: of ResNet-50 and of the super-net whose sub-nets are one."""
    names = [*(name for pair in PAIRS for name in pair), *(f'ablations/{name}.py' for name in ABLATIONS)]
    files = [*(CONFIGS / name for name in names), *sorted(CONFIGS.glob('tasks/*.py'))]
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', BUILD, *map(str, files)], capture_output=True,
                          text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    ablations = lines[8:]
    assert [int(line[0]) for line in lines[:8]] == 2 * [0, 256, 0, 16]
    assert [(int(line[0]), int(line[1])) for line in ablations] == [
        (count, resnet50_parameters(bases)) for count, bases in ABLATIONS.values()]
    assert int(ablations[0][1]) == 57_314_336
    for first in (0, 4):
        assert [int(line[1]) for line in lines[first:first + 2]] == [23_508_032, 57_314_336]
    assert {line[2] for line in lines} == {'sdr_mm'}


@pytest.mark.slow
@pytest.mark.ops
def test_each_detector_loads_in_a_fresh_process():
    files = [str(path) for path in TRAINING if path.parent.name == 'detection']
    code = ('import sys\nfrom mmengine.config import Config\n'
            'for file in sys.argv[1:]: print(Config.fromfile(file).model.type)')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *files], capture_output=True, text=True,
                          cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    # The maintained MMDetection prints lines of its own before.
    assert done.stdout.splitlines()[-5:] == 4 * ['FasterRCNN'] + ['MaskRCNN'] and len(files) == 5


def test_the_model_index_names_each_training_config_once():
    modelindex = pytest.importorskip('modelindex')
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert sorted(model.config for model in index.models) == [str(path.relative_to(ROOT)) for path in TRAINING]
    for model in index.models:
        assert model.name == (ROOT / model.config).stem and model.in_collection == 'SDR'
        assert not model.results and not model.weights, 'nothing is claimed that was not measured'
    collection, = index.collections
    assert (ROOT / collection.readme).is_file() and '2205.13267' in collection.paper['URL']
    for name in (*(name for pair in PAIRS for name in pair), *(f'ablations/{name}.py' for name in ABLATIONS)):
        metadata = next(model for model in index.models if model.config == f'configs/{name}').metadata.data
        cfg = Config.fromfile(CONFIGS / name)
        ranks = 8 if 'small' not in name else 1
        assert metadata['Epochs'] == cfg.train_cfg.max_epochs
        assert metadata['Batch Size'] == cfg.train_dataloader.batch_size * ranks


def test_a_setuptools_that_mmengine_does_not_work_with_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    if 'pkg_resources' not in Path(package_utils.__file__).read_text(encoding='utf-8'):
        assert load_config(str(ROOT / 'configs/simsiam.py')).model  # the maintained MMEngine needs none
        return
    with pytest.raises(InputError, match="pip install 'setuptools<82'$"):
        load_config(str(ROOT / 'configs/simsiam.py'))
