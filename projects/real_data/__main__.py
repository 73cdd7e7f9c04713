"""Fetches real images from package registries and prepares them: folders of PNG files, and VOC format for detection."""

from __future__ import annotations

from projects.real_data import DATA_SETS, KINDS, prepare
from sdr_mm.arguments import COUNT, PIXELS, Parser
from sdr_mm.cli import run


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help='data sets to prepare (default: all; see --list)')
    parser.add_argument('--list', action='store_true', help='list the data sets and stop')
    parser.add_argument('--out', metavar='FOLDER', help='where to make one folder a data set (default: in the cache)')
    parser.add_argument('--size', type=PIXELS, default=64, help='width and height in pixels (default: %(default)s)')
    parser.add_argument('--skin-tones', action='store_true', help='keep the skin-tone variants in the pool')
    parser.add_argument('--max-per-class', type=COUNT, metavar='N', help='at most N images a class (default: all)')
    args = parser.parse_args()
    if args.list:
        for name, data_set in DATA_SETS.items():
            packages = ', '.join(map(str, data_set.packages))
            print(f'{name:20} {data_set.kind:10} {data_set.about} (from {packages})')
        return
    prepared = prepare(args.out, names=args.names or None, size=args.size, skin_tones=args.skin_tones,
                       max_per_class=args.max_per_class)
    for name, folder in prepared.folders.items():
        counts = prepared.counts[name]
        groups = KINDS[DATA_SETS[name].kind]
        print(f'{name:20} {sum(counts.values()):6,} images, {len(counts):2} {groups:8}  {folder}')
    print(f'\n{prepared.sources}', end='')


if __name__ == '__main__':
    run(main)
