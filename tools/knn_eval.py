"""kNN accuracy of a frozen network on a task.

    python tools/knn_eval.py resnet50.pth --task my_images --k 10 20 200
    python tools/knn_eval.py timm:resnet50 --task configs/tasks/dtd.py --out knn.json
    torchrun --nproc-per-node 8 tools/knn_eval.py …
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from mmengine.dist import is_main_process

import sdr_mm  # noqa: F401
from sdr_mm.cli import run
from sdr_mm.evaluation import METRICS, knn_predict
from sdr_mm.files import atomic_write
from sdr_mm.routing.arguments import image_arguments, knn_arguments, output_arguments
from sdr_mm.routing.network_on_task import network_arguments, network_on_task


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[network_arguments(), knn_arguments(), image_arguments(), output_arguments(required=False)])
    parser.add_argument('--k', type=int, nargs='+', default=[200], help='neighbors, one or several (default: 200)')
    args = parser.parse_args(argv)

    found = network_on_task(args, resize=256)
    task, features = found.task, found.features
    results: dict[int, list[float]] = {k: [] for k in args.k}
    for split in task.splits:
        train, test = split.scoring()
        votes = knn_predict(features[train], task.labels[train], features[test], k=args.k, temperature=args.temperature,
                            num_classes=len(task.classes), across_ranks=True)
        for k, scores in votes.items():
            results[k].append(METRICS[task.metric](scores, task.labels[test]))
    if not is_main_process():
        return

    trained, tested = found.counts
    print(found.headline('kNN', f'T = {args.temperature}'))
    for k, values in results.items():
        clamped = f' (clamped to {trained})' if k > trained else ''
        deviation = f' ± {np.std(values):.2f} over {len(values)} splits' if len(values) > 1 else ''
        print(f'k = {k}{clamped}: {np.mean(values):.2f}{deviation}')
    if args.out:
        settings = dict(network=args.network, metric=task.metric, temperature=args.temperature, **found.sizes,
                        train=trained, test=tested, skipped=found.skipped)
        with atomic_write(args.out, overwrite=args.overwrite) as temporary:
            temporary.write_text(json.dumps(dict(task=task.name, settings=settings, scores=results), indent=1) + '\n',
                                 encoding='utf-8')


if __name__ == '__main__':
    run(main)
