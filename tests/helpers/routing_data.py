"""A tiny SDR run on real files: pool, clusters, checkpoint and tasks, as training leaves them behind."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from PIL import Image

from sdr_mm.clusters import Clusters
from sdr_mm.datasets import ImageFolder
from sdr_mm.images import Normalization, fingerprint, image_names
from sdr_mm.models import SDRResNet
from sdr_mm.routing import BNReset, RoutingEvaluator, Scorer
from sdr_mm.routing.evaluator import build_search

BACKBONE = dict(
    type='SDRResNet', depth=18, base_channels=(6, 2), num_groups=2, routed_blocks=(2, 3), stem_channels=8)
MEAN, STD = (120., 115., 100.), (60., 55., 50.)
NORMALIZATION = Normalization(MEAN, STD)
CLASSES = ('rings', 'stripes')


def picture(kind, random):
    """A noisy 40×32 picture of rings or stripes."""
    y, x = np.mgrid[:32, :40]
    phase, pitch = random.uniform(0, 6), random.uniform(2, 4)
    wave = np.hypot(x - 20, y - 16) if kind == 'rings' else x + 0.3 * y
    value = 127 + 90 * np.sin(wave / pitch + phase)
    color = random.uniform(0.4, 1, 3)
    return np.clip(value[..., None] * color + random.normal(0, 12, (32, 40, 3)), 0, 255).astype(np.uint8)


def write(folder, kinds, count, seed, classes=True):
    """Writes ``count`` PNGs of each kind, in a subfolder each or all in one folder."""
    random = np.random.default_rng(seed)
    for kind in kinds:
        place = Path(folder) / kind if classes else Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.fromarray(picture(kind, random)).save(place / f'{kind}{i:03d}.png')
    return Path(folder)


def network(seed=0):
    """An SDRResNet with weights and statistics that tell its sub-nets apart."""
    generator = torch.Generator().manual_seed(seed)
    backbone = SDRResNet(**{key: value for key, value in BACKBONE.items() if key != 'type'})
    for name, value in backbone.state_dict().items():
        if 'running_var' in name or ('bn' in name or 'downsample.1' in name) and name.endswith('weight'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(0, 0.2, generator=generator)
    return backbone


def make_run(root):
    """Folder with ``pool/``, ``clusters.npz``, ``sdr.pth`` and the tasks ``task/`` and ``official/``."""
    root = Path(root)
    write(root / 'pool', CLASSES, 12, 1, classes=False)
    write(root / 'task', CLASSES, 10, 2)
    for part, seed in (('train', 3), ('val', 4), ('test', 5)):
        write(root / 'official' / part, CLASSES, 6, seed)
    data = ImageFolder(str(root / 'pool'))
    backbone = network()
    # Cluster c has path 3 - c, to tell the number of a cluster from that of its sub-net.
    Clusters(
        assignment=np.arange(len(data)) % 4,
        centroids=np.eye(4, dtype=np.float32),
        paths=np.array(backbone.space.paths[::-1]),
        num_groups=2,
        fingerprint=fingerprint(image_names(data)),
        method='random').save(root / 'clusters.npz')
    config = Config(
        dict(
            default_scope='sdr_mm',
            model=dict(
                type='SimSiamSDR',
                backbone=BACKBONE,
                data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True)),
            train_dataloader=dict(
                dataset=dict(
                    type='ClusterDataset',
                    clusters=str(root / 'clusters.npz'),
                    dataset=dict(
                        type='ImageFolder', data_root=str(root / 'pool'), pipeline=[dict(type='LoadImage')])))))
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    state['neck.fc0.weight'] = torch.zeros(4, 4)
    buffer = HistoryBuffer()
    buffer.update(1.0)
    meta, hub = dict(cfg=config.pretty_text, epoch=1), dict(log_scalars=dict(loss=buffer))
    torch.save(dict(meta=meta, state_dict=state, message_hub=hub), root / 'sdr.pth')
    return root


def evaluator(task, **options):
    """A RoutingEvaluator whose options stand side by side, as those of the command line do."""
    seed = options.pop('seed', 0)
    bn = BNReset(options.pop('bn_reset', 'cluster'), options.pop('bn_images', 2000), options.pop('batch_size', 200),
                 seed)
    scorer = Scorer(**{key: options.pop(old) for old, key in (
        ('scores', 'names'), ('k', 'k'), ('temperature', 'temperature'), ('metric', 'metric'), ('linear', 'linear'))
        if old in options})
    search = dict(type=options.pop('search', 'exact'))
    search.update({key: options.pop(old) for old, key in (
        ('finalists', 'finalists'), ('first_images', 'first_images'), ('per_cluster', 'per_cluster'),
        ('screen_bn', 'bn'), ('share_prefixes', 'share_prefixes')) if old in options})
    if isinstance(task, (str, Path)):
        task = dict(source=task, seed=seed, splits=options.pop('splits', 1))
    return RoutingEvaluator(task, search=build_search(search), bn=bn, scorer=scorer, **options)
