"""Two views of an image: ours, decoded and cropped in the loader and colored in batches, against MMPretrain's pipeline.

    python benchmarks/loader.py --threads 1
    python benchmarks/loader.py --config byol --width 1000 --profile
    python benchmarks/loader.py --decoder dali --images 128

Both sides make normalized views of the same JPEGs on one core, files in the cache. Batches are the GPU's on a machine
that has one, with DALI their decoding too; what is left for the processes of the loader is compared by itself.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from PIL import Image
from rounds import Comparison, compare, parse, parser_of, report, timed
from sklearn.datasets import load_sample_images

import sdr_mm  # noqa: F401
from sdr_mm.arguments import COUNT, PIXELS, whole
from sdr_mm.cli import run
from sdr_mm.images import dali
from sdr_mm.permutation import hash64
from sdr_mm.registry import MODELS
from sdr_mm.text_table import text_table

CONFIGS = Path(__file__).parent.parent / 'configs' / '_base_' / 'datasets'
NAMES = dict(simsiam='imagenet_224px', byol='imagenet_224px_byol')
# Of the time of MMPretrain's pipeline.
TARGET = 0.5


def write_photos(folder: Path, count: int, width: int, quality: int) -> list[str]:
    """Parts of two real photos, one at a place of its own, as JPEGs of 4:3."""
    random = np.random.default_rng(0)
    photos = load_sample_images().images
    files = []
    for number in range(count):
        photo = Image.fromarray(photos[number % len(photos)])
        side = int(random.integers(300, photo.height + 1)) // 3 * 3
        left, top = int(random.integers(photo.width - side * 4 // 3 + 1)), int(random.integers(photo.height - side + 1))
        part = photo.crop((left, top, left + side * 4 // 3, top + side))
        files.append(str(folder / f'{number}.jpg'))
        part.resize((width, width * 3 // 4), Image.Resampling.LANCZOS).save(files[-1], quality=quality)
    return files


class Side:
    """A config's pipeline and preprocessor."""

    def __init__(self, name: str, files: Sequence[str], **options: Any) -> None:
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        cfg.train_pipeline[0].update(options)
        self.pipeline = Compose(cfg.train_pipeline)
        self.preprocessor = MODELS.build(cfg.data_preprocessor).to('cuda' if torch.cuda.is_available() else 'cpu')
        self.files = files

    def load(self) -> list[dict[str, Any]]:
        """What the processes of a loader do."""
        found = [self.pipeline(dict(img_path=file)) for file in self.files]
        for number, data in enumerate(found):
            data['data_samples'].set_metainfo(dict(seed=int(hash64(number)) >> 1))
        return found

    def finish(self, loaded: list[dict[str, Any]]) -> list[torch.Tensor]:
        """What the process of the model does."""
        return self.preprocessor(default_collate(loaded), True)['inputs']

    def whole(self) -> list[torch.Tensor]:
        return self.finish(self.load())


def profile(side: Side) -> None:
    """Prints what each transform of MMPretrain's pipeline takes."""
    rows = []

    def note(name: str, action: Callable[[], object]) -> None:
        rows.append([name, f'{1000 * min(timed(action) for _ in range(5)) / len(side.files):.2f} ms'])

    load, views, pack = side.pipeline.transforms
    results = [load(dict(img_path=file)) for file in side.files]
    note('LoadImage', lambda: [load(dict(img_path=file)) for file in side.files])
    for number, view in enumerate(views.transforms, 1):
        current = results
        for step in view.transforms:
            before = [dict(result) for result in current]
            current = [step(dict(result)) for result in before]
            note(f'{type(step).__name__} of view {number}', lambda: [step(dict(one)) for one in before])  # noqa: B023
    packed = [pack(views(dict(result))) for result in results]
    note('PackInputs', lambda: [pack(views(dict(result))) for result in results[:0]] or
         [pack(dict(result, img=[result['img'][:224, :224]] * 2)) for result in results])
    note('collated and normalized', lambda: side.finish(packed))
    print(text_table(['MMPretrain', 'per image'], rows))


def measure(args: argparse.Namespace, folder: Path) -> list[Comparison]:
    files = write_photos(folder, args.images, args.width, args.quality)
    name = NAMES[args.config]
    peer, ours = Side(name, files), Side(f'{name}_batched', files, decoder=args.decoder)
    np.random.seed(0)
    if args.profile:
        profile(peer)
    found = [compare('loader and batches', ours.whole, peer.whole, TARGET, args.rounds),
             compare('loader alone', ours.load, peer.load, TARGET, args.rounds)]
    # A batch is used up.
    batches = [timed(partial(ours.finish, ours.load())) for _ in range(args.rounds)]
    rows = [[title, f'{args.images / seconds:.1f}'] for title, seconds in (
        ('MMPretrain', found[0].peer), ('ours', found[0].ours), ('ours, loader alone', found[1].ours),
        ('ours, batches alone', float(np.median(batches))))]
    print(text_table(['', 'images/s'], rows))
    return found


def main() -> None:
    parser = parser_of(__doc__, rounds=15)
    parser.add_argument('--config', choices=NAMES, default='simsiam', help='whose views (default: %(default)s)')
    parser.add_argument('--images', type=COUNT, default=32, help='of a batch (default: %(default)s)')
    parser.add_argument('--width', type=PIXELS, default=500, help='of the JPEGs, 4:3, in pixels (default: %(default)s)')
    parser.add_argument('--quality', type=whole(1, 95), default=92, help='of the JPEGs (default: %(default)s)')
    parser.add_argument('--decoder', choices=('pillow', 'dali'), default='pillow', help='of ours (default: pillow)')
    parser.add_argument('--profile', action='store_true', help="print what MMPretrain's transforms take")
    args = parse(parser)
    if args.threads:
        cv2.setNumThreads(args.threads)
        dali.THREADS = args.threads
    init_default_scope('sdr_mm')
    with tempfile.TemporaryDirectory() as folder:
        comparisons = measure(args, Path(folder))
    report(comparisons, f'views of {args.config}, batches of {args.images} JPEGs of {args.width} x '
           f'{args.width * 3 // 4}, medians of {args.rounds} rounds', args.json)


if __name__ == '__main__':
    run(main)
