"""Detection configs and the backbone inside the detector."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from repository import ROOT
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.models import SDRResNet
from sdr_mm.models.checkpoints import read_state_dict
from sdr_mm.routing import export_subnet, extract_subnet

pytestmark = pytest.mark.ops

CONFIGS = ROOT / 'configs' / 'detection'
FPN, SDR_PATH, C4, COCO = (
    CONFIGS / f'{name}.py' for name in ('faster-rcnn_sdr_fpn_24k_voc0712', 'faster-rcnn_sdr-path_fpn_24k_voc0712',
                                        'faster-rcnn_sdr_c4_24k_voc0712', 'mask-rcnn_sdr_fpn_1x_coco'))
AERIAL = CONFIGS / 'faster-rcnn_resnet18_fpn_aerial_400px.py'
PATH = (3, 1)
# Of configs/small: what a sub-net of the small config's size is cut from.
SDR = dict(depth=18, stem_channels=16, base_channels=(12, 4), num_groups=4, routed_blocks=(2, 3))


def config(file, **options):
    from mmengine.config import Config
    cfg = Config.fromfile(str(file))
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
    return cfg


def build(model):
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    detector = MODELS.build(model)
    detector.init_weights()
    return detector


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A checkpoint of pre-training with random weights, and the export of a sub-net of it."""
    folder = tmp_path_factory.mktemp('checkpoints')
    torch.manual_seed(1)
    backbone = SDRResNet(**SDR)
    backbone.init_weights()
    for module in backbone.modules():
        if hasattr(module, 'running_var'):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in backbone.state_dict().items()}), folder / 'sdr.pth')
    export_subnet(extract_subnet(backbone, PATH), folder / 'export.pth', config=backbone.subnet_config())
    return folder


def exported(files):
    return build(config(AERIAL, model__backbone__init_cfg__checkpoint=str(files / 'export.pth')).model)


def routed(files):
    """The same detector, its backbone an SDRResNet that is fixed to the path."""
    cfg = config(AERIAL)
    init_cfg = dict(type='Pretrained', _scope_='sdr_mm', checkpoint=str(files / 'sdr.pth'))
    cfg.model.backbone = dict(SDR, type='sdr_mm.SDRResNet', path=PATH, out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    return build(cfg.model)


def batch(objects=4, size=96):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        sample = DetDataSample(metainfo=dict(
            img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0)))
        corner = torch.rand(objects, 2, generator=generator) * size / 2
        sample.gt_instances = InstanceData(bboxes=torch.cat([corner, corner + size / 3], 1),
                                           labels=torch.zeros(objects, dtype=torch.long))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def step(detector):
    """One training step with the optimizer of the config; the losses."""
    from mmengine.optim import build_optim_wrapper
    torch.manual_seed(0)  # The heads draw the boxes they train on.
    return detector.train().train_step(batch(), build_optim_wrapper(detector, config(AERIAL).optim_wrapper))


def test_backbone_has_the_exported_weights_key_for_key(files):
    backbone = exported(files).backbone.state_dict()
    state = read_state_dict(files / 'export.pth')
    assert set(backbone) == set(state)
    for name, tensor in state.items():
        assert torch.equal(backbone[name], tensor), name


def test_one_optimizer_step_changes_every_weight_of_the_detector(files):
    detector = exported(files)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    step(detector)
    for name, tensor in detector.state_dict().items():
        assert not torch.equal(before[name], tensor), name


def test_routed_backbone_trains_as_the_exported_one_does(files):
    stock, sdr = exported(files), routed(files)
    heads = {name: tensor for name, tensor in stock.state_dict().items() if not name.startswith('backbone.')}
    sdr.load_state_dict(heads, strict=False)
    losses = step(stock), step(sdr)
    assert set(losses[0]) == set(losses[1])
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=1e-4, atol=1e-5, msg=name)
    ours, theirs = sdr.state_dict(), stock.state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def test_export_of_another_layout_stops_the_run(files):
    cfg = config(AERIAL, model__backbone__init_cfg__checkpoint=str(files / 'export.pth'),
                 model__backbone__base_channels=20, model__neck__in_channels=[20, 40, 80, 160])
    with pytest.raises(InputError, match='export.pth lacks .* weights of this ResNet: layer1.0.downsample'):
        build(cfg.model)


def test_c4_head_and_backbone_take_their_stages_of_one_file(tmp_path):
    from mmpretrain.models import ResNet
    network = ResNet(18)
    for tensor in network.parameters():
        nn.init.uniform_(tensor, -0.1, 0.1)
    torch.save(network.state_dict(), tmp_path / 'x.pth')
    init_cfg = dict(checkpoint=str(tmp_path / 'x.pth'))
    cfg = config(C4)
    cfg.merge_from_dict(dict(model=dict(
        backbone=dict(depth=18, init_cfg=init_cfg), rpn_head=dict(in_channels=256),
        roi_head=dict(shared_head=dict(depth=18, init_cfg=init_cfg), bbox_head=dict(in_channels=512)))))
    detector = build(cfg.model)
    own = {name.removeprefix('backbone.').removeprefix('roi_head.shared_head.res.'): tensor
           for name, tensor in detector.state_dict().items() if 'backbone' in name or 'shared_head.res' in name}
    state = network.state_dict()
    assert set(own) == set(state)
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())
    head = detector.roi_head.shared_head.eval()
    x = torch.randn(2, 256, 14, 14)
    # SyncBN of one process is revertible, and its evaluation runs anywhere.
    torch.testing.assert_close(head(x), head.bn(head.res(x)))
    assert head(x).shape == (2, 512, 7, 7)


def norms(file):
    """Types of the norm layers of each part of the detector, and how many weights are not trained."""
    cfg = config(file, model__backbone__init_cfg=None)
    if 'shared_head' in cfg.model.roi_head:
        cfg.model.roi_head.shared_head.init_cfg = None
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    detector = MODELS.build(cfg.model).train()
    count = {}
    for name, part in detector.named_children():
        layers = [module for module in part.modules() if hasattr(module, 'running_var')]
        assert all(layer.training for layer in layers)
        count[name] = dict(Counter(f'{type(layer).__name__}{" sync" * getattr(layer, "sync", False)}'
                                   for layer in layers))
    assert all(parameter.requires_grad for parameter in detector.parameters())
    return {name: types for name, types in count.items() if types}


@pytest.mark.parametrize('file, backbone, heads', [
    (FPN, {'SyncBatchNorm': 53}, dict(neck={'SyncBatchNorm': 8}, roi_head={'SyncBatchNorm': 4})),
    (SDR_PATH, {'SlicedBatchNorm sync': 53}, dict(neck={'SyncBatchNorm': 8}, roi_head={'SyncBatchNorm': 4})),
    # Ten norms of the last stage and the extra one.
    (C4, {'SyncBatchNorm': 43}, dict(roi_head={'SyncBatchNorm': 11})),
    (COCO, {'SyncBatchNorm': 53}, dict(neck={'SyncBatchNorm': 8}, roi_head={'SyncBatchNorm': 8})),
], ids=lambda value: value.stem if isinstance(value, Path) else '')
def test_all_norms_are_synchronized_and_all_layers_trained(file, backbone, heads):
    assert norms(file) == dict(heads, backbone=backbone)


@pytest.mark.parametrize('file', [FPN, SDR_PATH, C4], ids=lambda file: file.stem)
def test_voc_configs_follow_the_protocol(file):
    cfg = config(file)
    assert cfg.train_dataloader.batch_size == 2 and cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
    assert cfg.train_cfg.type == 'IterBasedTrainLoop' and cfg.train_cfg.max_iters == 24000
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.type, warm_up.begin, warm_up.end, warm_up.by_epoch) == ('LinearLR', 0, 100, False)
    assert (steps.type, steps.milestones, steps.gamma, steps.by_epoch) == ('MultiStepLR', [18000, 22000], 0.1, False)
    data = cfg.train_dataloader.dataset.datasets
    assert [part.ann_file for part in data] == [f'VOC{year}/ImageSets/Main/trainval.txt' for year in (2007, 2012)]
    for part in data:
        resize, = (transform for transform in part.pipeline if transform.type == 'RandomChoiceResize')
        assert [short for _, short in resize.scales] == [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]
        assert {long for long, _ in resize.scales} == {1333}
    test = cfg.test_dataloader.dataset
    assert test.ann_file == 'VOC2007/ImageSets/Main/test.txt' and test.test_mode
    assert [transform.scale for transform in test.pipeline if transform.type == 'Resize'] == [(1333, 800)]
    assert {part.type for part in (*data, test)} == {'sdr_mm.VOCFolder'}
    assert cfg.test_evaluator.type == 'sdr_mm.VOCDetectionMetric'
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.bgr_to_rgb and preprocessor.mean == [123.675, 116.28, 103.53]
    assert cfg.model.backbone.get('style', 'pytorch') == 'pytorch'
    assert cfg.model.backbone.get('frozen_stages', -1) == -1
