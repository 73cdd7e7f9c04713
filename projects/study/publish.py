"""Makes of trainings of the study the two checkpoints that ship: weights of the backbone in half precision.

    python -m projects.study.publish SDR.pth BASELINE.pth --overwrite     into sdr_mm/pretrained

Optimizer, heads, paths and the images stay behind.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sdr_mm.arguments import Parser
from sdr_mm.cli import run
from sdr_mm.errors import InputError

FOLDER = Path(__file__).parents[2] / 'sdr_mm' / 'pretrained'
SDR, BASELINE = 'pool-r18.pth', 'pool-r18-baseline.pth'
LIMIT = 8_000_000
"""Bytes of a file that ships, so that the package stays small."""

LICENSE = (
    'Apache-2.0, as the code of sdr_mm. No image is part of this file. Some of the images that it was trained on are '
    'under terms of share-alike (CC-BY-SA-4.0, GPL-2.0-or-later); who holds that weights are derived from the images '
    'of their training has to keep to those too.')
ATTRIBUTION = (
    'Noto Emoji: Google, Apache-2.0. '
    'Twemoji: Twitter, Inc. and other contributors, CC-BY-4.0. '
    'OpenMoji: all emojis designed by OpenMoji, the open-source emoji and icon project, CC-BY-SA-4.0. '
    'The emoji of Google and Twitter as packaged (with emoji.json, MIT) by Cal Henderson. '
    'Animal-MNIST: Sina Mohammadi, MIT. '
    'The Open Clip Art Library and its contributors: public domain. '
    'Furniture of Sweet Home 3D: Scopia, Andrew Kator & Jennifer Legaz, Reallusion, the contributors of Blend Swap, '
    'Emmanuel Puybaret / eTeks, CC-BY-3.0, in part CC0. '
    'The Battle for Wesnoth: David White and its many artists and contributors, GPL-2.0-or-later, newer art '
    'CC-BY-SA-4.0. All of them were scaled to 32 pixels.')


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
                license=LICENSE, attribution=ATTRIBUTION, sdr_mm_version=__version__)
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


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('sdr', metavar='SDR.pth', type=Path, help='checkpoint of an SDRNet')
    parser.add_argument('baseline', metavar='BASELINE.pth', type=Path, help='checkpoint of one network')
    parser.add_argument('--out', type=Path, default=FOLDER, metavar='FOLDER',
                        help='where to write (default: sdr_mm/pretrained of the repository)')
    parser.add_argument('--overwrite', action='store_true', help='replace the files that are there')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from sdr_mm.models.checkpoints import load_resnet
    from sdr_mm.models.load_sdr import load_sdr
    for checkpoint, name, load in ((args.sdr, SDR, load_sdr), (args.baseline, BASELINE, load_resnet)):
        publish(checkpoint, args.out / name, load, args.overwrite)
        print(f'{args.out / name}: {(args.out / name).stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    run(main)
