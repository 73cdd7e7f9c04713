"""Linear accuracy of a frozen network on a task, by the many-shot protocol of ssl-transfer.

    python tools/linear_eval.py resnet50.pth --task my_images
    python tools/linear_eval.py timm:resnet50 --task configs/tasks/dtd.py --out linear.json
    torchrun --nproc-per-node 8 tools/linear_eval.py …

Images are resized to the crop's size, as there: that which is stored in the checkpoint, or 224. --resize 256 is
what the paper's appendix says.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdr_mm.arguments import (
    Parser,
    given,
    image_arguments,
    network_arguments,
    output_arguments,
    positive,
    task_arguments,
)
from sdr_mm.cli import run


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        __doc__,
        parents=[network_arguments(), task_arguments(), image_arguments(), output_arguments(required=False)])
    parser.add_argument('--solver', choices=('torch', 'sklearn'), default='torch',
                        help='torch: to the optimum, quickly; sklearn: the reference (default: torch)')
    parser.add_argument('--l2', type=positive, nargs='+', metavar='WEIGHT',
                        help='weights of the penalty, 1 / C, in the order in which they are tried '
                             '(default: 45 from 1e-6 to 1e5)')
    parser.add_argument('--tol', type=positive, help='tolerance of the gradient (default: 1e-4)')
    parser.add_argument('--val-scores', action='store_true',
                        help='print the score on the validation images for each l2')
    args = parser.parse_args(argv)

    from sdr_mm.evaluation.evaluate import Protocol, evaluate_given
    evaluation = evaluate_given(args, Protocol('linear', args.resize, args.size, **given(args, 'solver', 'l2', 'tol')))
    if evaluation is not None:
        print(evaluation.report(args.val_scores))


if __name__ == '__main__':
    run(main)
