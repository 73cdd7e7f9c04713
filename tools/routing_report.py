"""Writes a saved ranking as a page: one HTML file with ranks, gains, images and the command to export.

    python tools/routing_report.py work_dirs/sdr/epoch_200.pth --routing routing.json --out routing.html

tools/route.py --report writes the same page at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdr_mm.arguments import WORKERS, Parser, given, output_arguments
from sdr_mm.cli import run
from sdr_mm.files import check_output


def parser() -> Parser:
    parser = Parser(__doc__, parents=[output_arguments(required=True)])
    parser.add_argument('checkpoint', help='that was routed in, or pool-r18, which ships')
    parser.add_argument('--routing', required=True, metavar='FILE', help='what tools/route.py --out wrote')
    parser.add_argument('--task', metavar='TASK', help='folder or config of the task (default: as in the ranking)')
    parser.add_argument('--data', metavar='FOLDER', help='images of pre-training (default: as in the checkpoint)')
    parser.add_argument('--clusters', metavar='FILE', help='clusters.npz (default: as in the checkpoint)')
    parser.add_argument('--workers', type=WORKERS, default=2, help='threads that decode images (default: 2)')
    parser.add_argument('--device', help="for example 'cpu' or 'cuda:0' (default: a GPU if there is one)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    check_output(args.out, args.overwrite)
    import sdr_mm
    from sdr_mm.routing import Ranking
    ranking = Ranking.load(args.routing)
    sdr_mm.load(args.checkpoint, args.device).report(
        ranking, args.out, routing=args.routing, workers=args.workers, overwrite=args.overwrite,
        **given(args, 'task', 'data', 'clusters'))
    print(f'written to {args.out}: open it in a browser')


if __name__ == '__main__':
    run(main)
