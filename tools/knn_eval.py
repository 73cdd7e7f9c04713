"""kNN accuracy of a frozen network on a task.

    python tools/knn_eval.py resnet50.pth --task my_images --k 10 20 200
    python tools/knn_eval.py timm:resnet50 --task configs/tasks/dtd.py --out knn.json
    torchrun --nproc-per-node 8 tools/knn_eval.py …

Image sizes and k that fit the network are stored in its checkpoint and are the defaults; else 224 of 256 and 200.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdr_mm.arguments import COUNT, Parser, image_arguments, knn_arguments, network_arguments, output_arguments
from sdr_mm.cli import run


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        __doc__,
        parents=[network_arguments(), knn_arguments(), image_arguments(), output_arguments(required=False)])
    parser.add_argument('--k', type=COUNT, nargs='+', default=(), help='neighbors, one or several (default: see above)')
    args = parser.parse_args(argv)

    from sdr_mm.evaluation.evaluate import Protocol, evaluate_given
    evaluation = evaluate_given(args, Protocol('knn', args.resize, args.size, args.k, args.temperature))
    if evaluation is not None:
        print(evaluation.report())


if __name__ == '__main__':
    run(main)
