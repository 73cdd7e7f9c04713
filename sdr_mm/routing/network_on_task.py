"""Features of one network on one task, as the command line of the evaluation tools asks for them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from torch import Tensor

from ..evaluation.features import task_features
from ..evaluation.task import Task
from ..evaluation.task_config import load_task
from ..models.zoo import load_network
from .arguments import check_output, given, start


@dataclass(frozen=True)
class NetworkOnTask:
    """What is evaluated.

    Args:
        network (str): Its name.
        task (Task): Without the images that could not be decoded.
        features (Tensor): (n, d) of its images.
        sizes (dict): ``resize`` and ``size`` of the images in pixels.
        skipped (int): Images that could not be decoded.
    """

    network: str
    task: Task
    features: Tensor
    sizes: dict[str, int]
    skipped: int

    @property
    def counts(self) -> tuple[int, int]:
        """Training and test images of the first split."""
        train, test = self.task.splits[0].scoring()
        return len(train), len(test)

    def headline(self, method: str, *settings: str) -> str:
        """The first line of what a tool prints."""
        train, test = self.counts
        left_out = f', {self.skipped} images could not be decoded' if self.skipped else ''
        how = ', '.join([f'{self.task.metric} in %', *settings, f'{self.sizes["size"]} of {self.sizes["resize"]} px'])
        return (f'{self.task.name}: {len(self.task.classes)} classes, {train} training and {test} test images'
                f'{left_out}; {method} of {self.network}, {how}')


def network_arguments() -> argparse.ArgumentParser:
    """The network, and how its features are computed."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('network', help='a checkpoint of a ResNet, timm:NAME, torchvision:NAME or mmpretrain:NAME, '
                                        'with @FILE for weights of your own')
    parser.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    parser.add_argument('--batch-size', type=int, default=200, help='images in a batch (default: 200)')
    return parser


def network_on_task(args: argparse.Namespace, resize: int) -> NetworkOnTask:
    """Features of the images of the task, computed by all ranks together; all of them must call.

    Args:
        args (argparse.Namespace): Of :func:`network_arguments`, and of the parsers for the task, images and
            output.
        resize (int): Short side of the images in pixels, if it is not given.

    Raises:
        InputError: If the output could not be written, or task, network or images cannot be used.
    """
    check_output(args.out, args.overwrite)
    task = load_task(args.task, splits=args.splits, **given(args, 'seed', 'metric', 'data_root'))
    device = start(args.device)
    network = load_network(args.network)
    sizes = dict(resize=resize, size=224) | given(args, 'resize', 'size')
    features, readable = task_features(network.module, task, mean=network.mean, std=network.std,
                                       batch_size=args.batch_size, workers=args.workers, device=device, **sizes,
                                       **given(args, 'on_error'))
    return NetworkOnTask(network.name, readable, features, sizes, len(task.paths) - len(readable.paths))
