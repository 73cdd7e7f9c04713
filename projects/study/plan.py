"""The runs of the study: what is trained, from what, and on which images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[2] / 'configs' / 'small'
SIMCLR, CLUSTER_BATCHES, SDR, BYOL = (CONFIGS / f'{name}_resnet18_b128-10e_32px.py'
                                      for name in ('simclr', 'simclr_cluster-batches', 'sdr_simclr', 'byol'))
FIRST, MORE = 10, 8
"""Passes over the pool of the first training, and of those that go on from it."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config (Path): What is trained.
        epochs (int): Passes over the pool.
        about (str): What it is, for the table.
        start (str): The run whose network it begins with; '' for none.
        clusters (str): How its images are divided: ``'semantic'`` by the features of ``start`` (of the baseline, if it
            has none), ``'random'``, or '' for not at all.
        blocks (int): There are ``4 ** blocks`` clusters; SDR routes the last stages.
        shared (bool): Whether every sub-net trains on the images of all clusters.
        separate (bool): Whether a plain network of its own is trained on each cluster, which share nothing.
        options (dict): What else is set in the config.
    """

    config: Path
    epochs: int
    about: str
    start: str = ''
    clusters: str = ''
    blocks: int = 2
    shared: bool = False
    separate: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def _sdr(about: str, epochs: int = MORE, start: str = 'baseline', clusters: str = 'semantic', blocks: int = 2,
         groups: tuple[int, int] = (12, 4), distillation: dict | None = None, supernet_prob: float | None = 0.0,
         phases: bool = False, shared: bool = False) -> Run:
    """A training of sub-nets; unless told otherwise from the baseline, of all sub-nets from the first iteration on."""
    hook: dict[str, Any] = {'custom_hooks.0.supernet_prob': supernet_prob}
    if not phases:
        hook['custom_hooks.0.phase_iters'] = (0, ) * (blocks + 1)
    return Run(SDR, epochs, about, start, clusters, blocks, shared, options={
        **hook, 'model.backbone.base_channels': groups, 'model.backbone.routed_blocks': tuple(range(4 - blocks, 4)),
        'model.distillation': distillation})


def _cluster_batches(epochs: int, blocks: int = 2) -> Run:
    about = f'one network, batches of one of {4 ** blocks} clusters'
    return Run(CLUSTER_BATCHES, epochs, about, 'baseline', 'semantic', blocks)


def _separate(blocks: int, epochs: int = MORE) -> Run:
    return Run(SIMCLR, epochs, f'{4 ** blocks} separate networks, one a cluster', 'baseline', 'semantic', blocks,
               separate=True)


# Nearly nothing of the last stage is shared.
_OWN = (1, 15)
_W0 = 0.2
# Batch, optimizer and projector of SimCLR.
_SIMSIAM = {
    'model.type': 'SimSiam', 'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(predictor=dict(fix_lr=True))),
    'model.head': dict(_delete_=True, type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=dict(
        type='NonLinearNeck', in_channels=512, hid_channels=128, out_channels=512, with_avg_pool=False,
        norm_cfg=dict(type='BN1d'), with_last_bn=False, with_last_bias=True))}

RUNS = {
    'baseline': Run(SIMCLR, FIRST, 'SimCLR'),
    'simsiam': Run(SIMCLR, FIRST, 'SimSiam', options=_SIMSIAM),
    'byol': Run(BYOL, FIRST, 'BYOL'),
    'longer': Run(SIMCLR, MORE, 'SimCLR, trained on', 'baseline'),
    'cluster_batches': _cluster_batches(MORE),
    'separate4': _separate(1),
    'separate16': _separate(2),
    'sdr4': _sdr('SDR, 4 sub-nets', blocks=1),
    'sdr4_own': _sdr('SDR, 4 sub-nets with a last stage each', blocks=1, groups=_OWN),
    'sdr16': _sdr('SDR, 16 sub-nets'),
    'sdr64': _sdr('SDR, 64 sub-nets', blocks=3),
    'sdr16_random': _sdr('SDR, 16 sub-nets, random clusters', clusters='random'),
    'sdr16_all': _sdr('SDR, 16 sub-nets, each on all images', shared=True),
    'sdr16_w0': _sdr('SDR, 16 sub-nets, super-net in a fifth of the iterations', supernet_prob=_W0),
    'sdr16_siamkd': _sdr('the same with SiamKD', supernet_prob=_W0, distillation=dict(type='SiamKDLoss')),
    'sdr16_l2': _sdr('the same with the L2 distillation', supernet_prob=_W0, distillation=dict(type='L2KDLoss')),
    'sdr16_phases': _sdr('SDR, 16 sub-nets, by the phases and shares of Algorithm 1', supernet_prob=None, phases=True),
    'sdr16_cold': _sdr('SDR, 16 sub-nets, from scratch by Algorithm 1', FIRST + MORE, start='', supernet_prob=None,
                       phases=True),
    'longer_16': Run(SIMCLR, 2 * MORE, 'SimCLR, trained on', 'baseline'),
    'cluster_batches_16': _cluster_batches(2 * MORE),
    'cluster_batches4_16': _cluster_batches(2 * MORE, blocks=1),
    'separate4_16': _separate(1, 2 * MORE),
    'sdr4_own_16': _sdr('SDR, 4 sub-nets with a last stage each', 2 * MORE, blocks=1, groups=_OWN),
    'sdr16_16': _sdr('SDR, 16 sub-nets', 2 * MORE),
    'sdr64_16': _sdr('SDR, 64 sub-nets', 2 * MORE, blocks=3),
}
"""By name; a run comes after those that it begins with. There is none of 256 sub-nets, whose clusters fill no batch."""
