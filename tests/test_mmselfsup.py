"""Names, configs and checkpoints of MMSelfSup, of which nothing is installed here."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image, ImageFilter
from repository import ROOT, load_tool
from small_runs import write_images

from sdr_mm import mmselfsup
from sdr_mm.datasets.build import dataset_of_config
from sdr_mm.engine.configs import load_config
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import load_resnet, read_checkpoint, stored_config
from sdr_mm.models.zoo import load_network
from sdr_mm.registry import MODELS, TRANSFORMS

train = load_tool('train')

NAMES = {  # what a config of MMSelfSup names, and what it gets
    'MODELS': 'SimSiam LatentPredictHead CosineSimilarityLoss SelfSupDataPreprocessor SimCLR SwAV '
              'BarlowTwins MAE SwAVNeck ContrastiveHead MoCoV2Neck DenseCLNeck',
    'HOOKS': 'SimSiamHook SwAVHook DenseCLHook', 'OPTIMIZERS': 'LARS SGD', 'DATASETS': 'Places205',
    'TRANSFORMS': 'MultiView SimMIMMaskGenerator',
}
OTHER = {  # with arguments or a name of their own
    'MODELS': 'BYOL MoCo DenseCL MoCoV3 ResNet ResNetV1d ResNeXt NonLinearNeck LinearNeck MAEReconstructionLoss '
              'CosineEMA',
    'DATASETS': 'ImageList', 'VISUALIZERS': 'SelfSupVisualizer',
    'TRANSFORMS': 'PackSelfSupInputs RandomGaussianBlur RandomSolarize RandomResizedCrop RandomCrop ColorJitter',
}
MMCLS = {'MODELS': 'ResNet CrossEntropyLoss ImageClassifier LinearClsHead', 'DATASETS': 'ImageNet CIFAR10'}

ASK = """
import sys
import sdr_mm
from mmengine import registry
for scope, same, asked in {0!r}:
    for kind, names in asked.items():
        for name in names.split():
            found = getattr(registry, kind).get(scope + '.' + name)
            assert callable(found), name
            if same:
                assert found.__name__ == name and found.__module__.split('.')[0] in ('mmpretrain', 'torch'), found
assert not any(name in sys.modules for name in ('mmselfsup', 'mmcls'))
"""


@pytest.mark.slow
def test_names_of_old_resolve_in_any_registry_first_thing():
    code = ASK.format([('mmselfsup', True, NAMES), ('mmselfsup', False, OTHER), ('mmcls', True, MMCLS)])
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_model_of_scoped_names_is_built_anywhere():
    model = MODELS.build(dict(
        type='mmselfsup.SimSiam', data_preprocessor=dict(type='mmselfsup.SelfSupDataPreprocessor', bgr_to_rgb=True),
        backbone=dict(type='mmselfsup.ResNet', depth=18, out_indices=[4]),
        neck=dict(type='mmselfsup.NonLinearNeck', in_channels=512, hid_channels=8, out_channels=8, vit_backbone=False),
        head=dict(type='mmselfsup.LatentPredictHead', loss=dict(type='mmselfsup.CosineSimilarityLoss'), predictor=dict(
            type='mmselfsup.NonLinearNeck', in_channels=8, hid_channels=4, out_channels=8, with_avg_pool=False))))
    assert type(model).__module__ == 'mmpretrain.models.selfsup.simsiam' and model.backbone.out_indices == [3]


def test_the_resnet_counts_its_outputs_from_the_stem_and_its_branches_do_not_begin_at_zero():
    network = MODELS.build(dict(type='mmselfsup.ResNet', depth=18, out_indices=(1, 4)))
    network.init_weights()
    assert [output.shape[1:] for output in network(torch.zeros(1, 3, 64, 64))] == [(64, 16, 16), (512, 2, 2)]
    assert network.layer1[0].bn2.weight.min() == 1
    assert MODELS.build(dict(type='mmselfsup.ResNet', depth=18)).out_indices == [3]
    assert MODELS.build(dict(type='mmcls.ResNet', depth=18, out_indices=(0, 1))).out_indices == (0, 1)
    with pytest.raises(InputError, match='mmselfsup.ResNet: .*the output of the stem.*: name stages only, 1 to 4'):
        MODELS.build(dict(type='mmselfsup.ResNet', depth=18, out_indices=(0, 4)))


@pytest.mark.parametrize('arguments, kept', [(dict(momentum=0.75), 0.75), ({}, 0.999)])
def test_momentum_is_the_part_that_stays(arguments, kept):
    model = MODELS.build(dict(
        type='mmselfsup.MoCo', queue_len=8, feat_dim=4, backbone=dict(type='mmselfsup.ResNet', depth=18),
        neck=dict(type='mmselfsup.LinearNeck', in_channels=512, out_channels=4),
        head=dict(type='mmselfsup.ContrastiveHead', loss=dict(type='mmcls.CrossEntropyLoss')), **arguments))
    maps = torch.randn(2, 512, 3, 3)
    torch.testing.assert_close(model.neck((maps, ))[0], model.neck.fc(maps.mean((2, 3))))
    old = model.encoder_k.module[0].conv1.weight.clone()
    model.encoder_k.steps += 1  # The first update is a copy.
    with torch.no_grad():
        model.backbone.conv1.weight.add_(1)
    model.encoder_k.update_parameters(torch.nn.Sequential(model.backbone, model.neck))
    torch.testing.assert_close(model.encoder_k.module[0].conv1.weight, old + (1 - kept))


def recipe(algorithm):
    """The model of MMPretrain's recipe, without what is a default, and its views."""
    cfg = Config.fromfile(mmselfsup.find_config({
        'BYOL': 'byol_resnet50_16xb256-coslr-200e_in1k', 'MoCoV3': 'mocov3_resnet50_8xb512-amp-coslr-100e_in1k',
        'MoCo': 'mocov2_resnet50_8xb32-coslr-200e_in1k'}[algorithm]))
    return cfg.to_dict()


@pytest.mark.parametrize('algorithm, name, old', [
    ('BYOL', 'base_momentum', 0.99), ('MoCoV3', 'base_momentum', 0.99), ('MoCo', 'momentum', 0.999)])
def test_momenta_and_views_of_the_old_recipes_are_those_of_mmpretrains(algorithm, name, old):
    theirs = recipe(algorithm)
    ours = mmselfsup.successor('mmselfsup', algorithm, {name: old})
    assert ours == dict(type=theirs['model']['type'], **{name: theirs['model'][name]})
    if algorithm != 'BYOL':
        return
    crop = dict(type='RandomResizedCrop', size=224, interpolation='bicubic', backend='pillow')
    flip, gray = dict(type='RandomFlip', prob=0.5), dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
    jitter = dict(type='RandomApply', prob=0.8, transforms=[
        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)])
    views = [[crop, flip, jitter, gray, dict(type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=blur),
              dict(type='RandomSolarize', prob=solarize)] for blur, solarize in ((1.0, 0.0), (0.1, 0.2))]
    pipeline = [dict(type='LoadImageFromFile'), dict(type='MultiView', num_views=[1, 1], transforms=views),
                dict(type='PackSelfSupInputs', meta_keys=['img_path'])]
    read = mmselfsup.translate(Config(dict(default_scope='mmselfsup', pipeline=pipeline))).to_dict()['pipeline']
    expected = theirs['train_dataloader']['dataset']['pipeline']
    for view in read[1]['transforms']:
        assert view[2]['transforms'][0].pop('type') == 'sdr_mm.ColorJitter'
        view[2]['transforms'][0]['type'] = 'ColorJitter'
    assert read[:2] == expected[:2]
    assert read[2] == dict(type='PackInputs', input_key='img', algorithm_keys=(), meta_keys=['img_path'])


def transformed(config, image):
    return TRANSFORMS.build(config)(dict(img=image.copy(), img_path='x.png', mask=np.eye(2)))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def test_the_blur_has_sigmas_of_the_range_and_none_of_another(image):
    sharp = transformed(dict(type='mmselfsup.RandomGaussianBlur', sigma_min=0.5, sigma_max=2.0, prob=0.0), image)['img']
    assert np.array_equal(sharp, image)
    fixed = transformed(dict(type='mmselfsup.RandomGaussianBlur', sigma_min=1.5, sigma_max=1.5, prob=1.0), image)['img']
    assert np.array_equal(fixed, np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5))))
    blur = TRANSFORMS.build(dict(type='mmselfsup.RandomGaussianBlur', sigma_min=0.5, sigma_max=2.0))
    np.random.seed(0)
    drawn = [blur.random_magnitude() for _ in range(2000)]
    assert blur.prob == 0.5 and np.abs(np.quantile(drawn, [0, 0.5, 1]) - [0.5, 1.25, 2.0]).max() < 0.06


def test_solarize_turns_values_of_the_threshold_and_above(image):
    for threshold, more in ((128, {}), (200, dict(threshold=200))):
        found = transformed(dict(type='mmselfsup.RandomSolarize', prob=1.0, **more), image)['img']
        assert np.array_equal(found, np.where(image < threshold, image, 255 - image))
    assert TRANSFORMS.build(dict(type='mmselfsup.RandomSolarize')).prob == 0.5


def test_the_crop_has_its_size_as_height_and_width(image):
    config = dict(type='mmselfsup.RandomResizedCrop', size=(8, 20), scale=(1.0, 1.0), ratio=(1.5, 1.5))
    found = transformed(config, image)['img']
    assert np.array_equal(found, cv2.resize(image, (20, 8), interpolation=cv2.INTER_LINEAR))
    part = transformed(dict(config, size=8, scale=(0.1, 0.2), ratio=(1.0, 1.0), backend='pillow'), image)
    assert part['img'].shape == (8, 8, 3)
    assert transformed(dict(type='mmselfsup.RandomCrop', size=(5, 7)), image)['img'].shape == (5, 7, 3)


def test_packing_keeps_the_image_its_mask_and_its_path(image):
    config = dict(type='mmselfsup.PackSelfSupInputs', algorithm_keys=['mask'], meta_keys=['img_path'])
    packed = transformed(config, image)
    assert np.array_equal(packed['inputs'].numpy(), image.transpose(2, 0, 1))
    assert packed['data_samples'].metainfo == dict(img_path='x.png')
    assert np.array_equal(np.asarray(packed['data_samples'].mask), np.eye(2))


SIMSIAM = """
_base_ = ['runtime.py']
custom_hooks = [dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, lr=0.05)]
model = dict(
    type='SimSiam',
    data_preprocessor=dict(mean=(120., 110., 100.), std=(60., 50., 40.), bgr_to_rgb=True),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=[4], norm_cfg=dict(type='BN'),
                  zero_init_residual=True),
    neck=dict(type='NonLinearNeck', in_channels=64, hid_channels=16, out_channels=16, num_layers=3,
              with_last_bn_affine=False, with_avg_pool=True, norm_cfg=dict(type='BN1d')),
    head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=dict(
        type='NonLinearNeck', in_channels=16, hid_channels=8, out_channels=16, with_avg_pool=False, with_last_bn=False,
        with_last_bias=True, norm_cfg=dict(type='BN1d'))))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, weight_decay=1e-4, momentum=0.9),
                     paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, by_epoch=True, begin=0, end=2)]
"""
BYOL = """
_base_ = ['runtime.py']
neck = dict(type='mmselfsup.NonLinearNeck', in_channels=64, hid_channels=16, out_channels=8, num_layers=2,
            with_bias=True, with_last_bn=False, with_avg_pool=True, norm_cfg=dict(type='BN1d'))
model = dict(
    type='BYOL', base_momentum=0.99,
    data_preprocessor=dict(mean=(120., 110., 100.), std=(60., 50., 40.), bgr_to_rgb=True),
    backbone=dict(type='mmselfsup.ResNet', depth=18, base_channels=8, out_indices=[4], norm_cfg=dict(type='BN')),
    neck=neck,
    head=dict(type='LatentPredictHead', predictor=dict(neck, in_channels=8, with_avg_pool=False),
              loss=dict(type='CosineSimilarityLoss')))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='LARS', lr=0.1, momentum=0.9, weight_decay=1e-6),
    paramwise_cfg=dict(custom_keys={'bn': dict(decay_mult=0, lars_exclude=True)}))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True)]
"""
RUNTIME = """
default_scope = 'mmselfsup'
view = [
    dict(type='RandomResizedCrop', size=28, scale=(0.2, 1.), backend='pillow'),
    dict(type='RandomApply', prob=0.8, transforms=[
        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)]),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=0.5),
    dict(type='RandomSolarize', prob=0.2),
    dict(type='RandomFlip', prob=0.5),
]
train_dataloader = dict(
    batch_size=8, num_workers=0, drop_last=True, sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='{dataset}', data_root='{root}', ann_file='{list}', data_prefix=dict(img_path='images/'), pipeline=[
            dict(type='LoadImageFromFile'), dict(type='MultiView', num_views=2, transforms=[view]),
            dict(type='PackSelfSupInputs', meta_keys=['img_path'])]))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'), timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=1), param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1), sampler_seed=dict(type='DistSamplerSeedHook'))
visualizer = dict(type='SelfSupVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_level = 'WARNING'
"""


@pytest.fixture
def folder(tmp_path):
    """Images, a list of them with labels and one without."""
    names = sorted(path.name for path in write_images(tmp_path / 'images').iterdir())
    (tmp_path / 'labels.txt').write_text(''.join(f'{name} 0\n' for name in names))
    (tmp_path / 'names.txt').write_text(''.join(f'{name}\n' for name in names))
    return tmp_path


def write_config(folder, text, dataset='mmcls.ImageNet', listed='labels.txt'):
    runtime = RUNTIME
    for name, value in (('dataset', dataset), ('root', f'{folder}/'), ('list', listed)):
        runtime = runtime.replace(f'{{{name}}}', value)
    (folder / 'runtime.py').write_text(runtime)
    (folder / 'config.py').write_text(text)
    return folder / 'config.py'


def run(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, argv)])
    train.main()


@pytest.mark.parametrize('text, dataset, listed', [
    (SIMSIAM, 'mmcls.ImageNet', 'labels.txt'), (SIMSIAM, 'ImageList', 'names.txt'),
    (BYOL, 'mmcls.CustomDataset', 'labels.txt')], ids=['SimSiam', 'SimSiam of a list', 'BYOL'])
def test_a_config_trains_and_its_checkpoint_is_one_of_mmpretrain(text, dataset, listed, folder, monkeypatch, capfd):
    config = write_config(folder, text, dataset, listed)
    run(monkeypatch, config, '--work-dir', folder / 'run', '--cfg-options', 'train_cfg.max_epochs=1')
    file = folder / 'run/epoch_1.pth'
    checkpoint = read_checkpoint(file)
    assert checkpoint['meta']['iter'] == 3
    stored = stored_config(checkpoint)
    assert not re.search('mmselfsup|mmcls|SelfSupInputs|RandomSolarize', str(stored))
    assert stored['default_scope'] == 'sdr_mm'
    if text == BYOL:
        assert stored['model']['base_momentum'] == 0.01
    network, info = load_resnet(file)
    assert info['settings'].normalization == ((120, 110, 100), (60, 50, 40)) and info['settings'].size == 28
    assert 'make sure the registry' not in (said := ''.join(capfd.readouterr())) and 'not installed' not in said
    images, _ = dataset_of_config(str(config))
    assert len(images) == 24


def test_options_are_in_the_words_of_the_config_and_data_may_be_a_folder(folder, monkeypatch):
    config = write_config(folder, BYOL)
    cfg = load_config(str(config), {'model.base_momentum': 0.75, 'train_dataloader.batch_size': 4})
    assert cfg.model.base_momentum == 0.25 and cfg.train_dataloader.batch_size == 4
    run(monkeypatch, config, '--data', folder / 'images', '--work-dir', folder / 'run', '--epochs', 1)
    assert read_checkpoint(folder / 'run/epoch_1.pth')['meta']['iter'] == 3


@pytest.mark.slow
def test_mmengines_own_runner_takes_the_scope_too(folder):
    """In a process that imports only sdr_mm. Nothing is translated beforehand."""
    config = write_config(folder, SIMSIAM)
    code = f"""
import sdr_mm
from mmengine.config import Config
from mmengine.runner import Runner
cfg = Config.fromfile({str(config)!r})
cfg.work_dir, cfg.train_cfg.max_epochs = {str(folder / 'run')!r}, 1
runner = Runner.from_cfg(cfg)
runner.train()
print(type(runner.model).__module__, runner.model.backbone.out_indices, runner.iter)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split('\n')[-2] == 'mmpretrain.models.selfsup.simsiam [3] 3'


def test_configs_of_others_stay_as_they_are():
    cfg = Config(dict(default_scope='mmpretrain', model=dict(type='ResNet', out_indices=(4, ), x=dict(type='ClsHead'))))
    assert mmselfsup.translate(cfg) is cfg
    mixed = Config(dict(default_scope='mmdet', model=dict(type='FasterRCNN', backbone=dict(
        type='mmselfsup.ResNet', depth=50, out_indices=[1, 2, 3, 4]), neck=dict(type='FPN'), norm=dict(
            type='Wrapper', _scope_='mmselfsup', head=dict(type='SimMIMNeck')))))
    found = mmselfsup.translate(mixed).to_dict()
    assert found['default_scope'] == 'mmdet' and found['model']['neck'] == dict(type='FPN')
    assert found['model']['backbone'] == dict(type='mmpretrain.ResNet', depth=50, out_indices=[0, 1, 2, 3],
                                              zero_init_residual=False)
    assert found['model']['norm'] == dict(type='Wrapper', head=dict(type='SimMIMLinearDecoder'), _scope_='sdr_mm')


LINES = {  # changes of a config that trains, and what is said
    "model.update(type='ODC')": 'config.py: mmselfsup.ODC has no successor, its algorithm is not in MMPretrain: ',
    "model.update(type='mmselfsup.NPID')": 'config.py: mmselfsup.NPID has no successor',
    "model.update(type='mmselfsup.SimSiamese')": 'cannot be built, KeyError: .*SimSiamese is not in the ',
    "model.update(type='SimSiamese')": 'cannot be built, KeyError: .*SimSiamese is not in the ',
    "custom_hooks = [dict(type='DeepClusterHook')]": 'mmselfsup.DeepClusterHook has no successor',
    "model['head'].update(type='ClsHead')": 'mmselfsup.ClsHead has no successor, .*: take LinearClsHead',
    "model['backbone'].update(out_indices=[0, 4])": r'config.py: mmselfsup.ResNet: out_indices=\[0, 4\] asks',
    "model['backbone'].update(out_indices=4)": 'mmselfsup.ResNet cannot be built .*: correct its arguments',
    "model.update(type='MoCo', momentum='much')": 'mmselfsup.MoCo cannot be built .*: correct its arguments',
    "train_dataloader = dict(dataset=dict(pipeline=[dict(type='RandomGaussianBlur', sigma=1)]))":
        r"mmselfsup.RandomGaussianBlur cannot be built \(.*'sigma'\): correct its arguments",
    "train_dataloader = dict(dataset=dict(pipeline=[dict(type='PackSelfSupInputs', pseudo_label_keys=['x'])]))":
        'mmselfsup.PackSelfSupInputs: pseudo_label_keys=.*: leave them out',
    "custom_imports = dict(imports=['mmselfsup.models'], allow_failed_imports=False)":
        'needs the package mmselfsup, which cannot be installed beside MMPretrain, .*: take what names mmselfsup out',
    "_base_ = 'mmselfsup::selfsup/byol/byol_resnet50_8xb32-accum16-coslr-200e_in1k.py'":
        "write _base_ = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py' in place of 'mmselfsup::selfsup/",
    "_base_ = 'mmselfsup::selfsup/odc/odc_resnet50_8xb64-steplr-440e_in1k.py'":
        'odc_resnet50_8xb64-steplr-440e_in1k is a config of MMSelfSup, and its algorithm is not in MMPretrain',
    "_base_ = 'mmcls::_base_/datasets/imagenet_bs64.py'":
        "write _base_ = 'mmpretrain::_base_/datasets/imagenet_bs64.py' in place of 'mmcls::_base_/datasets/",
}


@pytest.mark.parametrize('change', LINES)
def test_what_has_no_successor_is_one_line(change, folder, monkeypatch):
    text = change if change.startswith('_base_') else f'{SIMSIAM}\n{change}\n'
    config = write_config(folder, text)
    with pytest.raises(InputError, match=LINES[change]) as error:
        run(monkeypatch, config, '--work-dir', folder / 'run')
    assert '\n' not in str(error.value) and len(str(error.value)) < 500 and not list(folder.rglob('*.pth'))


def test_a_registry_says_it_too():
    with pytest.raises(InputError, match='mmselfsup.DeepCluster has no successor'):
        MODELS.build(dict(type='mmselfsup.DeepCluster'))
    assert 'mmselfsup.SimSiamese' not in MODELS.parent
    assert 'mmcls.ClsHead' in MODELS.parent


# Of MMSelfSup 0.x and 1.x, and of MMPretrain.
CONFIGS = {
    'simsiam_resnet50_8xb32-coslr-200e_in1k': 'simsiam_resnet50_8xb32-coslr-200e_in1k',
    'configs/selfsup/byol/byol_resnet50_16xb256-coslr-200e_in1k.py': 'byol_resnet50_16xb256-coslr-200e_in1k',
    'byol_resnet50_8xb32-accum16-coslr-200e_in1k': 'byol_resnet50_16xb256-coslr-200e_in1k',
    'byol_resnet50_8xb256-fp16-accum2-coslr-200e_in1k': 'byol_resnet50_16xb256-coslr-200e_in1k',
    'swav_resnet50_8xb32-mcrop-2-6-coslr-200e_in1k-224-96': 'swav_resnet50_8xb32-mcrop-coslr-200e_in1k-224px-96px',
    'mocov3_vit-small-p16_32xb128-fp16-coslr-300e_in1k-224': 'mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k',
    'simmim_swin-base_8xb256-coslr-100e_in1k-192': 'simmim_swin-base-w6_8xb256-amp-coslr-100e_in1k-192px',
    'simmim_swin-large_16xb128-amp-coslr-800e_in1k-192': 'simmim_swin-large-w12_16xb128-amp-coslr-800e_in1k-192px',
    'mae_vit-base-p16_8xb512-coslr-400e-fp16_in1k': 'mae_vit-base-p16_8xb512-amp-coslr-400e_in1k',
    'mae_vit-large-p16_8xb512-amp-coslr-1600e_in1k': 'mae_vit-large-p16_8xb512-amp-coslr-1600e_in1k',
    'beitv2_vit-base-p16_8xb256-amp-coslr-300e_in1k': 'beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k',
    'cae_vit-base-p16_16xb128-fp16-coslr-300e_in1k': 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k',
    'mixmim-base-p16_16xb128-coslr-300e_in1k': 'mixmim_mixmim-base_16xb128-coslr-300e_in1k',
    'maskfeat_vit-base-p16_8xb256-coslr-300e_in1k': 'maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k',
}


@pytest.mark.parametrize('old', CONFIGS)
def test_the_name_of_a_config_stands_for_mmpretrains_of_that_recipe(old):
    file = mmselfsup.find_config(old)
    assert re.fullmatch(rf'.*/mmpretrain/\.mim/configs/\w+/{CONFIGS[old]}\.py', file)
    cfg = load_config(old)
    assert cfg.default_scope == 'sdr_mm' and cfg.model.type.lower() in CONFIGS[old].replace('v2', '')


@pytest.mark.parametrize('old, message', [
    ('mocov1_resnet50_8xb32-steplr-200e_in1k', 'MMPretrain does not have: take mocov2_resnet50_8xb32-coslr-200e_in1k'),
    ('configs/selfsup/npid/npid_resnet50_8xb32-steplr-200e_in1k.py', 'its algorithm is not in MMPretrain'),
    ('byol_resnet50_8xb32-accum16-coslr-300e_in1k', 'has no byol_resnet50_16xb256-coslr-300e_in1k: did you mean byol'),
    ('configs/nothing.py', 'there is no config configs/nothing.py: give one of configs/'),
])
def test_a_name_without_a_successor_is_one_line(old, message):
    with pytest.raises(InputError, match=message) as error:
        load_config(old)
    assert '\n' not in str(error.value)


def test_a_config_of_the_time_before_mmengine_is_one_line(tmp_path):
    (tmp_path / 'old.py').write_text("model = dict(type='SimSiam')\ndata = dict(train=dict(type='MultiViewDataset'))\n")
    with pytest.raises(InputError, match='old.py is a config of the time before MMEngine, as of MMSelfSup 0.x: take'):
        load_config(str(tmp_path / 'old.py'))


@pytest.mark.parametrize('spec', ['mmselfsup:byol_resnet50_8xb32-accum16-coslr-200e_in1k',
                                  'mmpretrain:byol_resnet50_8xb32-accum16-coslr-200e_in1k'])
def test_the_name_names_a_network_of_the_zoo(spec, tmp_path):
    weights = {f'backbone.{key}': value for key, value in ResNet(50).state_dict().items()}
    torch.save(dict(state_dict={**weights, 'neck.bn0.weight': torch.ones(1)}), tmp_path / 'x.pth')
    network = load_network(f'{spec}@{tmp_path / "x.pth"}', '--candidates')
    assert network.name == f'{spec}@x.pth' and network.num_parameters == 23_508_032
    with pytest.raises(InputError, match=r'--candidates mmselfsup:odc_.*: odc_r50 is a config of MMSelfSup, and its'):
        load_network('mmselfsup:odc_r50@x.pth', '--candidates')
    with pytest.raises(InputError, match="MMPretrain has no network 'byol_resnet50_16xb256-coslr-300e_in1k': did"):
        load_network('mmselfsup:byol_resnet50_8xb32-accum16-coslr-300e_in1k@x.pth', '--candidates')


META_1 = """default_scope = 'mmselfsup'
model = dict(
    type='SimSiam',
    data_preprocessor=dict(mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 40.0), bgr_to_rgb=True),
    backbone=dict(type='ResNet', depth=18, out_indices=[4]))
train_pipeline = [dict(type='mmselfsup.RandomResizedCrop', size=(64, 96), scale=(0.2, 1.0), backend='pillow')]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(type='mmcls.ImageNet', data_root='data/imagenet/', pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=2, transforms=[
            [dict(type='RandomResizedCrop', size=(64, 96), scale=(0.2, 1.0), backend='pillow')]]),
        dict(type='PackSelfSupInputs', meta_keys=['img_path'])]))
"""
META_0 = """model = dict(type='MoCo', queue_len=65536, backbone=dict(type='ResNet', depth=18, out_indices=[4]))
img_norm_cfg = dict(mean=[0.4, 0.2, 0.6], std=[0.2, 0.4, 0.1])
data = dict(
    samples_per_gpu=32,
    train=dict(type='MultiViewDataset', num_views=[2], pipelines=[
        [dict(type='RandomResizedCrop', size=64, scale=(0.2, 1.0)), dict(type='ToTensor'),
         dict(type='Normalize', mean=[0.4, 0.2, 0.6], std=[0.2, 0.4, 0.1])]]),
    val=dict(pipeline=[dict(type='RandomResizedCrop', size=32)]))
"""


@pytest.mark.parametrize('version', [0, 1])
def test_a_checkpoint_of_mmselfsup_knows_its_size_and_normalization(version, tmp_path):
    network = torchvision.models.resnet18()
    state = {key: value for key, value in network.state_dict().items() if not key.startswith('fc.')}
    weights = {f'backbone.{key}': value for key, value in state.items()}
    if version:
        weights.update({name: torch.ones(3) for name in (
            'data_preprocessor.mean', 'data_preprocessor.std', 'neck.fc0.weight', 'head.predictor.fc0.weight')})
        meta = dict(cfg=META_1, hook_msgs=dict(last_ckpt='work_dirs/epoch_199.pth'), mmengine_version='0.7.3',
                    epoch=200, seed=1, experiment_name='simsiam', time='20230101_000000')
    else:
        weights.update({f'encoder_q.0.{key}': value for key, value in state.items()})
        weights.update({f'encoder_k.0.{key}': value for key, value in state.items()})
        weights.update(queue=torch.ones(4, 8), queue_ptr=torch.zeros(1, dtype=torch.long))
        meta = dict(config=META_0, mmselfsup_version='0.7.0', epoch=200, iter=9, env_info='Linux', exp_name='moco.py')
    torch.save(dict(meta=meta, state_dict=weights), tmp_path / 'epoch_200.pth')
    loaded, info = load_resnet(tmp_path / 'epoch_200.pth')
    assert info['layout'] == 'OpenMMLab'
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    mean, std = info['settings'].normalization
    expected = ([120, 110, 100], [60, 50, 40]) if version else ([102, 51, 153], [51, 102, 25.5])
    assert mean == pytest.approx(expected[0]) and std == pytest.approx(expected[1])
    assert (info['settings'].size, info['settings'].resize) == (64, 73)
