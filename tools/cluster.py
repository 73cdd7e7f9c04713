"""Divides images into one cluster per sub-net, from the features that tools/extract_features.py wrote.

    python tools/cluster.py features --out clusters.npz --num-groups 4 --num-blocks 4
    torchrun --nproc_per_node 8 tools/cluster.py features --out clusters.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sdr_mm import cli
from sdr_mm.arguments import COUNT, SEED, Parser, positive, whole
from sdr_mm.files import check_output
from sdr_mm.space import SubnetSpace


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('features', metavar='FEATURES', help='folder that tools/extract_features.py wrote')
    parser.add_argument('--out', required=True, metavar='FILE', help='clusters.npz to write')
    parser.add_argument('--num-groups', type=COUNT, default=4,
                        help='individual groups per block (default: %(default)s)')
    parser.add_argument('--num-blocks', type=whole(0), default=4,
                        help='routed blocks; there are num_groups ** num_blocks clusters (default: %(default)s)')
    parser.add_argument('--method', choices=('sinkhorn', 'kmeans', 'random'), default='sinkhorn',
                        help='(default: %(default)s)')
    parser.add_argument('--paths', choices=('index', 'hierarchical'), default='index',
                        help='hierarchical: similar clusters share a prefix (default: %(default)s)')
    parser.add_argument('--min-size', type=whole(0), default=0,
                        help='fill clusters up to this size, such as the batch size (default: %(default)s)')
    parser.add_argument('--no-center', dest='center', action='store_false',
                        help='do not take the mean direction of the features away')
    parser.add_argument('--seed', type=SEED, default=0, help='(default: %(default)s)')
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--overwrite', action='store_true', help='replace a file that is there')
    sinkhorn = parser.add_argument_group('sinkhorn')
    sinkhorn.add_argument('--epsilon', type=positive, default=0.05, help='weight of the entropy (default: %(default)s)')
    sinkhorn.add_argument('--epochs', type=whole(0), default=10, help='epochs of SGD (default: %(default)s)')
    sinkhorn.add_argument('--lr', type=positive, default=0.5, help='learning rate of SGD (default: %(default)s)')
    sinkhorn.add_argument('--assign', choices=('scores', 'posterior'), default='scores',
                          help='posterior: nearly equal sizes, for small data sets (default: %(default)s)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    check_output(args.out, args.overwrite)
    space = SubnetSpace(args.num_groups, args.num_blocks)
    from sdr_mm.clustering import Features, build_clusters, evaluate_clusters
    from sdr_mm.distributed import on_all_ranks, process_group

    features = Features.load(args.features)
    options = {'seed': args.seed}
    if args.method == 'sinkhorn':
        options.update(epsilon=args.epsilon, epochs=args.epochs, lr=args.lr, assign=args.assign)
    with process_group(args.device) as device:
        if args.method != 'random' and cli.is_main_process():
            options['report'] = lambda iteration: print(iteration, flush=True)
        clusters = build_clusters(
            features, space, method=args.method, paths=args.paths, min_size=args.min_size, center=args.center,
            device=device, **options)
        on_all_ranks(lambda: clusters.save(args.out, args.overwrite) if cli.is_main_process() else None)
    if cli.is_main_process():
        print(evaluate_clusters(clusters, features.labels).table())
        print(f'wrote {args.out}')


if __name__ == '__main__':
    cli.run(main)
