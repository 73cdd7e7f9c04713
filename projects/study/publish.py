"""Trains the two checkpoints that ship, unless they are there, and writes and scores them: backbones in half precision.

    python -m projects.study.publish --work-dir work_dirs/publish --overwrite     into sdr_mm/pretrained

Two runs of the study, on its pool without the solar cells, whose license would be that of the weights: a quarter of an
hour on one core. Optimizer, heads, paths and the images stay behind.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdr_mm.arguments import Parser
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_output

if TYPE_CHECKING:  # It imports torch, which --help need not wait for.
    from sdr_mm.evaluation import Task

FOLDER = Path(__file__).parents[2] / 'sdr_mm' / 'pretrained'
SDR, BASELINE = 'pool-r18.pth', 'pool-r18-baseline.pth'
PLAN = Path(__file__).parents[2] / 'configs' / 'studies' / 'routing.py'
RUNS = {SDR: 'sdr16', BASELINE: 'longer'}
NOT_SHIPPED = 'solar_cells'
LIMIT = 8_000_000
"""Bytes of a file that ships, so that the package stays small."""

LICENSE = (
    'Apache-2.0, as the code of sdr_mm. No image is part of this file. Some of the images that it was trained on are '
    'under terms of share-alike (CC-BY-SA-4.0, GPL-2.0-or-later); who holds that weights are derived from the images '
    'of their training has to keep to those too.')


def publish(checkpoint: Path, file: Path, load: Callable[[Path], tuple[Any, Any]], overwrite: bool = False) -> None:
    """Writes the backbone of a training as a file that ships.

    Args:
        checkpoint (Path): What training wrote.
        file (Path): The file to write: ``{'state_dict': …, 'meta': …}`` of plain types. The weights are float16, named
            ``backbone.…``; ``meta`` has the little of the config that reading takes, as MMEngine stores it (``cfg``),
            ``training``, ``license`` and ``attribution``.
        load (Callable): Reads either file; the first thing that it returns is the network.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If the checkpoint cannot be used, a weight is too large for half precision, or the file would be
            too large.
        RuntimeError: If what was written does not come back; nothing is left behind then.
    """
    import torch

    from projects.real_data.mixed import IN_POOL
    from projects.real_data.preparation import attribution
    from sdr_mm.files import atomic_write
    from sdr_mm.models.checkpoints import read_checkpoint, stored_config
    from sdr_mm.models.load_sdr import PREFIX
    from sdr_mm.version import __version__
    network, _ = load(checkpoint)
    source = read_checkpoint(checkpoint)
    config = stored_config(source)
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    for key, value in state.items():
        if not value.isfinite().all():
            raise InputError(f'{checkpoint}: {key} is beyond 65504, the largest number of half precision: give another '
                             f'checkpoint')
    meta = dict(cfg=config_text(config, checkpoint), training=training_of(config, source['meta']),
                license=LICENSE, sdr_mm_version=__version__,
                attribution=attribution(['pool', *(name for name in IN_POOL if name != NOT_SHIPPED)]))
    with atomic_write(file, overwrite=overwrite) as temporary:
        with open(temporary, 'wb') as stream:  # With a name in place of a stream, the archive would hold the name.
            torch.save(dict(state_dict={f'{PREFIX}{key}': value for key, value in state.items()}, meta=meta), stream)
        if (size := temporary.stat().st_size) > LIMIT:
            raise InputError(f'{file} would have {size / 1e6:.1f} MB, and what ships has at most {LIMIT / 1e6:.0f}: '
                             f'give the checkpoint of a smaller network')
        written, _ = load(temporary)
        if any(not torch.equal(value, state[key].to(value.dtype)) for key, value in written.state_dict().items()):
            raise RuntimeError(f'{file} did not come back as it was written')


def config_text(config: dict[str, Any], where: Path) -> str:
    """What reading takes of the config of a training, as Python that :func:`stored_config` parses.

    Raises:
        InputError: If there is no backbone in it, or a text in it may be a path.
    """
    from sdr_mm.models.eval_settings import EvalSettings
    from sdr_mm.models.load_sdr import OF_TRAINING
    backbone = (config.get('model') or {}).get('backbone')
    if not backbone:
        raise InputError(f'{where} stores no config with a backbone: give what tools/train.py wrote')
    kept = {key: value for key, value in backbone.items() if key == 'type' or key not in OF_TRAINING}
    for text in texts(kept):
        # No list of what must not be in there would be complete.
        if not text.replace('.', '_').isidentifier():
            raise InputError(f'{where}: its backbone has {text!r}, which may be a path of this machine: what ships has '
                             f'names only')
    parts = dict(model=dict(backbone=kept), **EvalSettings.of(config).record())
    return ''.join(f'{name} = {value!r}\n' for name, value in parts.items())


def training_of(config: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """How a network was trained, in plain types without names of files."""
    start = 'a trained network of the size of a sub-net' if config['model'].get('init_cfg') else 'random weights'
    return dict(algorithm=str(config['model'].get('type')), start=start, epochs=meta.get('epoch'),
                iterations=meta.get('iter'), batch_size=config.get('batch_size'), seed=meta.get('seed'))


def texts(value: Any) -> Iterator[str]:
    """Each text in nested dictionaries and lists, keys included."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def publish_both(sdr: Path, baseline: Path, out: Path, overwrite: bool = False) -> None:
    """:func:`publish` for the checkpoints of an SDRNet and of the network to compare it with."""
    from sdr_mm.models.checkpoints import load_resnet
    from sdr_mm.models.load_sdr import load_sdr
    for checkpoint, name, load in ((sdr, SDR, load_sdr), (baseline, BASELINE, load_resnet)):
        publish(checkpoint, out / name, load, overwrite)
        print(f'{out / name}: {(out / name).stat().st_size / 1e6:.2f} MB')


def score_table(networks: dict[str, str | Path], sdr: str | Path, tasks: Sequence[Task]) -> str:
    """kNN accuracy on the tasks of the study as Markdown: plain networks by name, and the sub-nets of an SDRNet.

    BN statistics of all of them are the task's.
    """
    import numpy as np

    from sdr_mm.text_table import markdown_table

    from .scores import SCORE, score_network, score_references, score_subnets
    rows = {'raw pixels': score_references(tasks)['raw pixels'],
            **{name: score_network(file, tasks, 'task') for name, file in networks.items()}}
    values = {name: [scores[task.name]['knn'] for task in tasks] for name, scores in rows.items()}
    routed, details = score_subnets(sdr, tasks, 'task')
    every = np.array([np.array(details[task.name]['subnets'])[:, SCORE] for task in tasks])  # (task, sub-net)
    values |= {'routed sub-net': [routed[task.name]['knn'] for task in tasks], 'mean sub-net': every.mean(1).tolist(),
               'worst sub-net': every.min(1).tolist(), 'best sub-net': every.max(1).tolist()}
    return markdown_table(['accuracy in %', *(task.name for task in tasks), 'mean'],
                          [[name, *(f'{score:.1f}' for score in [*row, np.mean(row)])] for name, row in values.items()])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/publish'), metavar='FOLDER',
                        help='images, checkpoints and clusters (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=FOLDER, metavar='FOLDER',
                        help='where to write (default: sdr_mm/pretrained of the repository)')
    parser.add_argument('--overwrite', action='store_true', help='replace the files that are there')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    for name in RUNS:
        check_output(args.out / name, args.overwrite)
    # Threads that spin while they wait for each other make this five times slower where other programs run.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # is read when torch is imported
    from .images import study_images
    from .plan import read_plan
    from .training import Training
    plan = read_plan(PLAN)
    images = study_images(args.work_dir, [name for name in plan.tasks if name != NOT_SHIPPED])
    training = Training(plan, 0, images, args.work_dir)
    sdr, baseline = (training.checkpoint_of(run) for run in RUNS.values())
    publish_both(sdr, baseline, args.out, args.overwrite)
    first = training.checkpoint_of(plan.first)
    print(score_table({'the first network': first, BASELINE: args.out / BASELINE}, args.out / SDR, images.tasks))


if __name__ == '__main__':
    run(main)
