"""Writes a sub-net as a plain ResNet checkpoint for MMPretrain, MMDetection, torchvision and timm.

    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --path 0,3,1,2 --out resnet50.pth
    python tools/export_subnet.py work_dirs/sdr/epoch_200.pth --routing routing.json --out resnet50.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sdr_mm  # noqa: F401
from sdr_mm.cli import progress, run
from sdr_mm.errors import InputError
from sdr_mm.evaluation import ImageStore
from sdr_mm.evaluation.task_config import load_task
from sdr_mm.routing import BNReset, RoutingResult, export_subnet, extract_subnet, load_pool, load_sdr, reset_bn
from sdr_mm.routing.arguments import bn_arguments, check_output, given, image_arguments, output_arguments, start
from sdr_mm.routing.evaluator import without_test

FROM_ROUTING = ('bn_reset', 'bn_images', 'batch_size', 'resize', 'size', 'seed', 'on_error')


def parse_path(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(group) for group in text.split(','))
    except ValueError:
        raise InputError(f'a path is written as its groups, for example 0,3,1,2, got {text!r}') from None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[bn_arguments(), image_arguments(), output_arguments(required=True)])
    parser.add_argument('checkpoint', help='what tools/train.py wrote')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--path', help='groups of the sub-net, block by block, for example 0,3,1,2')
    which.add_argument('--subnet', type=int, help='index of the sub-net')
    which.add_argument('--routing', metavar='FILE',
                       help='what tools/route.py --out wrote: the best sub-net, BN statistics as it was ranked with')
    parser.add_argument('--task', metavar='TASK', help='for --bn-reset task: folder or config of the task')
    args = parser.parse_args(argv)

    check_output(args.out, args.overwrite)
    # The defaults of tools/route.py, then the settings of the ranking, then what is given here.
    options: dict[str, Any] = dict(
        bn_reset='cluster', bn_images=2000, batch_size=200, seed=0, resize=256, size=224, on_error='stop', splits=1,
        folder=None, data_root=None)
    meta: dict[str, Any] = {}
    best = None
    if args.routing:
        routing = RoutingResult.load(args.routing)
        options.update(routing.settings)
        best = routing.best
        meta['routing'] = dict(task=routing.task, score=best.score if best.scores else None, settings=routing.settings)
    options.update(given(args, *FROM_ROUTING))
    folder = args.task or options['folder']
    bn = BNReset(options['bn_reset'], options['bn_images'], options['batch_size'], options['seed'])

    device = start(args.device)
    backbone, info = load_sdr(args.checkpoint)
    space = backbone.space
    if args.path is not None:
        path = space.check(parse_path(args.path))
    elif best is not None:
        assert best.path is not None
        path = space.check(best.path)
    else:
        path = space.path(args.subnet)
    index = space.index(path)
    network = extract_subnet(backbone.to(device), path)

    statistics = 'own'
    if bn.mode != 'none':
        pool, task_images = None, None
        images = {name: options[name] for name in ('resize', 'size', 'on_error')}
        images['workers'] = args.workers
        if bn.mode == 'task':
            if folder is None:
                raise InputError('--bn-reset task needs the images of the task: pass --task TASK')
            task = without_test(load_task(folder, splits=options['splits'], seed=bn.seed,
                                          data_root=options['data_root']))
            store = ImageStore(task.paths, **images)
            readable = store.read_all(f'reading {task.name}')
            task_images = readable[task.without(sorted(store.failed)).train_images]
        else:
            pool = load_pool(info, backbone, data=args.data, clusters=args.clusters, need_clusters=bn.mode == 'cluster')
            store = ImageStore(pool.paths, **images)
        statistics, chosen = bn.images(index, pool, task_images)
        batches = store.batches(chosen, bn.batch_size, mean=info.mean, std=info.std, device=device)
        count = reset_bn(network, progress(batches, -(-len(chosen) // bn.batch_size), 'BN reset'))
        meta['bn_reset'] = dict(asdict(bn), statistics=statistics, images=count)
    meta.update(
        sdr_checkpoint=Path(args.checkpoint).name,
        subnet=index,
        path=list(path),
        mean=list(info.mean),
        std=list(info.std))
    config = backbone.subnet_config()
    export_subnet(network, args.out, config=config, meta=meta, overwrite=args.overwrite)

    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    groups = ','.join(map(str, path))
    print(f'sub-net {index}, path {groups}: ResNet-{config["depth"]} with {millions:.3f}M parameters, '
          f'BN statistics: {statistics}\nwritten to {args.out}; every key loads in\n'
          f'  backbone=dict(type=\'ResNet\', depth={config["depth"]}, base_channels={config["base_channels"]}, '
          f'stem_channels={config["stem_channels"]},\n'
          f'                init_cfg=dict(type=\'Pretrained\', checkpoint={args.out!r}))')


if __name__ == '__main__':
    run(main)
