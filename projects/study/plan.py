"""The runs of the study: what is trained, from what, and on which images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[2] / 'configs' / 'small'
SIMCLR, CLUSTER_BATCHES, SDR = (CONFIGS / f'{name}_resnet18_b128-10e_32px.py'
                                for name in ('simclr', 'simclr_cluster-batches', 'sdr_simclr'))
FIRST, MORE = 10, 8
"""Passes over the pool of the first training, and of those that go on from it."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config (Path): What is trained.
        epochs (int): Passes over the pool.
        start (str): The run whose network it begins with; '' for none.
        clusters (str): How its images are divided: ``'semantic'`` by the features of ``start`` (of the baseline, if it
            has none), ``'random'``, or '' for not at all.
        blocks (int): Routed stages, the last ones, of 4 groups each.
        options (dict): What else is set in the config.
        about (str): What it is, for the table.
    """

    config: Path
    epochs: int
    about: str
    start: str = ''
    clusters: str = ''
    blocks: int = 2
    options: dict[str, Any] = field(default_factory=dict)


def _sdr(about: str, epochs: int = MORE, start: str = 'baseline', clusters: str = 'semantic', blocks: int = 2,
         groups: tuple[int, int] = (12, 4), distillation: dict | None = None, supernet_prob: float | None = 0.0,
         phases: bool = False, **options: Any) -> Run:
    """A training of sub-nets; unless told otherwise from the baseline, of all sub-nets from the first iteration on."""
    hook: dict[str, Any] = {'custom_hooks.0.supernet_prob': supernet_prob}
    if not phases:
        hook['custom_hooks.0.phase_iters'] = (0, ) * (blocks + 1)
    return Run(SDR, epochs, about, start, clusters, blocks, {
        **hook, 'model.backbone.base_channels': groups, 'model.backbone.routed_blocks': tuple(range(4 - blocks, 4)),
        'model.distillation': distillation, **options})


RUNS = {
    'baseline': Run(SIMCLR, FIRST, 'SimCLR'),
    'longer': Run(SIMCLR, MORE, 'SimCLR, trained on', start='baseline'),
    'cluster_batches': Run(CLUSTER_BATCHES, MORE, 'one network, cluster-pure batches', 'baseline', 'semantic'),
    'sdr16': _sdr('SDR, 16 sub-nets'),
    'sdr256': _sdr('SDR, 256 sub-nets', blocks=4),
}
"""By name; a run comes after those that it begins with."""
