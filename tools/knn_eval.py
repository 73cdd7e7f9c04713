"""kNN of a ResNet checkpoint on a folder of labelled images.

    python tools/knn_eval.py resnet50.pth --task my_images --k 10 20 200
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Optional

import numpy as np

import sdr_mm  # noqa: F401
from sdr_mm.cli import progress, run
from sdr_mm.evaluation import ImageStore, Task, accuracy, knn_predict, mean_per_class, pooled_features
from sdr_mm.files import atomic_write
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.routing.arguments import check_output, given, image_arguments, knn_arguments, output_arguments, start


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[knn_arguments(), image_arguments(), output_arguments(required=False)])
    parser.add_argument('checkpoint', help='a ResNet checkpoint of MMPretrain, MMSelfSup, torchvision or an export')
    parser.add_argument('--k', type=int, nargs='+', default=[200], help='neighbours, one or several (default: 200)')
    parser.add_argument('--batch-size', type=int, default=200, help='images in a batch (default: 200)')
    args = parser.parse_args(argv)

    check_output(args.out, args.overwrite)
    # A task that holds both is scored on its test images; val is what routing chose by.
    task = Task.from_folder(args.task, splits=args.splits, held_out=('test', 'val'), **given(args, 'seed'))
    device = start(args.device)
    network, info = load_resnet(args.checkpoint)
    store = ImageStore(task.paths, workers=args.workers, **given(args, 'resize', 'size', 'on_error'))
    readable = store.read_all(f'reading {task.name}')
    task = task.without(sorted(store.failed))
    batches = store.batches(readable, args.batch_size, mean=info['mean'], std=info['std'], device=device)
    features = pooled_features(network.to(device), progress(batches, -(-len(readable) // args.batch_size), 'features'))

    metric = dict(accuracy=accuracy, mean_per_class=mean_per_class)[args.metric]
    results: dict[int, list[float]] = {k: [] for k in args.k}
    for split in task.splits:
        votes = knn_predict(features[split.train], task.labels[split.train], features[split.test], k=args.k,
                            temperature=args.temperature, num_classes=len(task.classes))
        for k, scores in votes.items():
            results[k].append(metric(scores, task.labels[split.test]))

    train, test = len(task.splits[0].train), len(task.splits[0].test)
    skipped = f', {len(store.failed)} images could not be decoded' if store.failed else ''
    print(f'{task.name}: {len(task.classes)} classes, {train} training and {test} test images{skipped}; kNN '
          f'{args.metric} in %, T = {args.temperature}, {store.size} of {store.resize} px')
    for k, values in results.items():
        clamped = f' (clamped to {train})' if k > train else ''
        deviation = f' ± {np.std(values):.2f} over {len(values)} splits' if len(values) > 1 else ''
        print(f'k = {k}{clamped}: {np.mean(values):.2f}{deviation}')
    if args.out:
        settings = dict(checkpoint=args.checkpoint, metric=args.metric, temperature=args.temperature, size=store.size,
                        resize=store.resize, train=train, test=test, skipped=len(store.failed))
        with atomic_write(args.out, overwrite=args.overwrite) as temporary:
            temporary.write_text(json.dumps(dict(task=task.name, settings=settings, scores=results), indent=1) + '\n',
                                 encoding='utf-8')


if __name__ == '__main__':
    run(main)
