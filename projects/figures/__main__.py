"""The paper's figures with networks, rankings and clusters of your own, one command each and one for all.

    python -m projects.figures bars work_dirs/table1/table.json --out bars.png                           Fig. 1(b)
    python -m projects.figures gains routing/*.json --out gains.png                                      Fig. 4(a)
    python -m projects.figures tasks routing/*.json --checkpoint sdr.pth --labels folders --out t.png    Fig. 4(b), 6
    python -m projects.figures clusters routing/*.json --checkpoint sdr.pth --out clusters.png           Fig. 5
    python -m projects.figures all routing/*.json --checkpoint sdr.pth --table table.json --out figures  all of them

Rankings are what tools/route.py --out wrote, with a --baseline.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdr_mm.arguments import COUNT, SEED, Parser
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import check_output

if TYPE_CHECKING:  # They import torch, which --help need not wait for.
    from sdr_mm.datasets.pool import Pool
    from sdr_mm.routing import Ranking


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    output = Parser(add_help=False)
    output.add_argument('--out', required=True, metavar='OUT', help='the picture to write (PNG); of all: the folder')
    output.add_argument('--overwrite', action='store_true', help='replace what is there')
    rankings = Parser(add_help=False)
    rankings.add_argument('rankings', nargs='+', metavar='RANKING', help='JSON that tools/route.py --out wrote')
    rankings.add_argument('--over', default='baseline', metavar='NETWORK',
                          help='what gains are over: baseline, super-net or another network of the rankings (default: '
                               '%(default)s)')
    images = Parser(add_help=False)
    images.add_argument('--checkpoint', metavar='FILE', help='that was routed in, which knows images and clusters')
    images.add_argument('--data', metavar='FOLDER', help='images of pre-training (default: as in the checkpoint)')
    images.add_argument('--clusters', metavar='FILE', help='clusters.npz (default: as in the checkpoint)')
    images.add_argument('--seed', type=SEED, default=0, help='chooses the images (default: %(default)s)')
    labels = Parser(add_help=False)
    labels.add_argument('--labels', metavar='LABELS',
                        help="classes of the images of pre-training: 'folders', or a CSV file with lines image,class "
                             '(default: unknown, no class mix)')

    parser = Parser(__doc__)
    commands = parser.add_subparsers(dest='figure', required=True, metavar='FIGURE', parser_class=Parser)
    bars = commands.add_parser('bars', parents=[output], help='scores of networks on tasks')
    bars.add_argument('scores', nargs='+', metavar='FILE',
                      help='table.json of projects.paper_tables, JSON files of tools/knn_eval.py or '
                           'tools/linear_eval.py, or the folder that projects.study keeps its numbers in')
    bars.add_argument('--networks', nargs='+', metavar='NAME', help='those to show, in this order (default: all)')
    gains = commands.add_parser('gains', parents=[rankings, output], help='gains of all sub-nets over tasks')
    gains.add_argument('--sort', dest='order', action='store_const', const='mean', default='given',
                       help='tasks by falling mean gain (default: as they are given)')
    tasks = commands.add_parser('tasks', parents=[rankings, images, labels, output],
                                help='for each task the histogram of gains, and of the best cluster classes and images')
    tasks.add_argument('--count', type=COUNT, default=12, help='images of a cluster (default: %(default)s)')
    clusters = commands.add_parser('clusters', parents=[rankings, images, output],
                                   help='for each task images of the best cluster, a row each')
    clusters.add_argument('--count', type=COUNT, default=4, help='images of a cluster (default: %(default)s)')
    everything = commands.add_parser('all', parents=[rankings, images, labels, output],
                                     help='all of them, in a folder with a page that shows them')
    everything.add_argument('--table', nargs='+', default=(), metavar='FILE', help='adds the bars of these files')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    everything = args.figure == 'all'
    from projects.figures.page import PAGE, write_page
    check_output(args.out, args.overwrite, holds=PAGE if everything else None)
    from projects.figures.scores import read_scores
    from sdr_mm.routing import Ranking
    from sdr_mm.visualization import cluster_gallery, read_classes, routed_rows, routing_report, score_bars, task_gains
    if args.figure == 'bars':
        scores = read_scores(args.scores)
        score_bars(scores.of(args.networks) if args.networks else scores, args.out, overwrite=args.overwrite)
        print(f'wrote {args.out}')
        return
    rankings = [Ranking.load(file) for file in args.rankings]
    if args.figure == 'gains':
        task_gains(rankings, args.out, over=args.over, order=args.order, overwrite=args.overwrite)
        print(f'wrote {args.out}')
        return
    pool = read_pool(rankings, args.checkpoint, args.data, args.clusters)
    if args.figure == 'clusters':
        if pool is None:
            raise InputError('the images of clusters need --checkpoint FILE, or --data FOLDER and --clusters FILE')
        assert pool.clusters is not None
        cluster_gallery(pool, args.out, rows=routed_rows(rankings, pool.clusters, args.over), count=args.count,
                        seed=args.seed, overwrite=args.overwrite)
        print(f'wrote {args.out}')
        return
    if args.labels and pool is None:
        raise InputError('the class mix of a cluster needs --checkpoint FILE, or --data FOLDER and --clusters FILE')
    classes = read_classes(args.labels, pool.paths) if args.labels and pool is not None else None
    if everything:
        names = write_page(rankings, Path(args.out), pool=pool, classes=classes, over=args.over, seed=args.seed,
                           scores=read_scores(args.table) if args.table else None, overwrite=args.overwrite)
        print(f'wrote {", ".join(names)} to {args.out}; open {Path(args.out) / PAGE}')
        return
    routing_report(rankings, pool, args.out, classes=classes, over=args.over, count=args.count, seed=args.seed,
                   overwrite=args.overwrite)
    print(f'wrote {args.out}')


def read_pool(rankings: Sequence[Ranking], checkpoint: str | None, data: str | None,
              clusters: str | None) -> Pool | None:
    """The images of pre-training and their clusters; None if nothing is given.

    Raises:
        InputError: If they are not there, do not fit each other, or the rankings are of another checkpoint.
    """
    from sdr_mm.clusters import Clusters
    from sdr_mm.datasets.pool import load_pool
    from sdr_mm.models.checkpoints import weights_fingerprint
    from sdr_mm.models.load_sdr import load_sdr
    if checkpoint is not None:
        backbone, config = load_sdr(checkpoint)
        fingerprint = weights_fingerprint(backbone)
        for ranking in rankings:
            if ranking.settings.get('checkpoint', fingerprint) != fingerprint:
                raise InputError(f'the ranking on {ranking.task} is of another checkpoint than {checkpoint}: give that '
                                 'one')
        return load_pool(config, backbone.space, data=data, clusters=clusters, where=checkpoint, purpose='a picture')
    if (data is None) != (clusters is None):
        raise InputError('without a --checkpoint the images of clusters need both --data FOLDER and --clusters FILE')
    if data is None or clusters is None:
        return None
    return load_pool({}, Clusters.load(clusters).space, data=data, clusters=clusters, purpose='a picture')


if __name__ == '__main__':
    run(main)
