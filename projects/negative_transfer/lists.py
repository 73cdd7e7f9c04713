"""Lists the images of A and of B in a folder of ImageNet, for the configs in configs/negative_transfer.

    python -m projects.negative_transfer.lists data/imagenet
    python -m projects.negative_transfer.lists data/imagenet --split depth5_520_480

The folder holds train/n01440764/…; the lists go to its meta/, one image a line, as MMPretrain's ImageNet reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdr_mm.arguments import Parser
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_output, write_lines
from sdr_mm.images import find_images

from .splits import SPLITS, Split, read_split

EPOCHS = 200
"""Of ``configs/simsiam.py``."""


def list_parts(root: Path, split: Split) -> dict[str, list[str]]:
    """The images below ``root/train`` by their part.

    Returns:
        dict[str, list[str]]: Paths relative to ``root/train``, sorted, by ``'A'`` and ``'B'``.

    Raises:
        InputError: If there are none, or images lie outside of the folders of the classes, or a part has none.
    """
    train = root / 'train'
    names = find_images(str(train))
    if not names:
        raise InputError(f'there are no images in {train}: give the folder of ImageNet, with train/n01440764/…')
    parts: dict[str, list[str]] = {'A': [], 'B': []}
    for name in names:
        part = split.get(name.split('/')[0])
        if part is None:
            raise InputError(f'{name!r} in {train} lies in no class of ImageNet: all images lie in folders called '
                             'n01440764, …')
        parts[part].append(name)
    for part, own in parts.items():
        if not own:
            raise InputError(f'{train} has no class of part {part}: give the whole of ImageNet')
    return parts


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('imagenet', metavar='IMAGENET', help='the folder that holds train/')
    parser.add_argument('--split', choices=SPLITS, default=SPLITS[0], help='default: %(default)s')
    parser.add_argument('--out', metavar='FOLDER', help='where to write the two lists (default: meta/ in IMAGENET)')
    parser.add_argument('--overwrite', action='store_true', help='replace lists that are there')
    args = parser.parse_args(argv)
    root = Path(args.imagenet).expanduser()
    out = root / 'meta' if args.out is None else Path(args.out)
    files = {part: out / f'{args.split}_{part.lower()}.txt' for part in 'AB'}
    for file in files.values():
        check_output(file, args.overwrite)
    split = read_split(args.split)
    parts = list_parts(root, split)
    total = sum(map(len, parts.values()))
    for part, names in parts.items():
        write_lines(files[part], names, args.overwrite)
        found = len({name.split('/')[0] for name in names})
        print(f'{files[part]}: {len(names):,} images of {found} of the {list(split.values()).count(part)} classes of '
              f'{part}; --epochs {round(EPOCHS * total / len(names))} are as many images as {EPOCHS} epochs of all')


if __name__ == '__main__':
    run(main)
