"""Command-line arguments that several tools share. Imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from typing import Any, NoReturn

from .errors import InputError

METRICS = ('accuracy', 'mean_per_class', 'map_11')
SEARCHES = ('exact', 'screen', 'halving', 'label_free')
SCORES = ('knn', 'logme', 'h_score', 'transrate')
BN_RESETS = ('cluster', 'task', 'all', 'none')
FORMATS = ('mmpretrain', 'mmdet', 'torchvision', 'timm', 'safetensors', 'onnx', 'torch.export', 'huggingface')


LARGEST = 2**31 - 1


class Parser(argparse.ArgumentParser):
    """A parser of a tool: its help is the text at the top of the file, and its errors are one line, as all others."""

    def __init__(self, text: str | None = None, **kwargs: Any) -> None:
        super().__init__(description=text, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raises an InputError, in place of printing how the tool is used."""
        raise InputError(f'{" ".join(message.split())} (see {self.prog} --help)')


def whole(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """The type of an argument that is a whole number, from ``least`` to ``most``."""
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            limits = f'of at least {least}' if number < least or most == LARGEST else f'from {least} to {most}'
            raise argparse.ArgumentTypeError(f'it is a whole number {limits}, got {text[:40]!r}')
        return number
    return parse


def positive(text: str) -> float:
    """The type of an argument that is a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f'it is a finite number above 0, got {text[:40]!r}')
    return number


COUNT = whole(1)
"""The type of how many there are of something."""

PIXELS = whole(1, 1 << 14)
SEED = whole(0)
WORKERS = whole(0, 1 << 10)


def config_arguments() -> argparse.ArgumentParser:
    """Changes to a config of MMEngine."""
    from mmengine.config import DictAction

    class Options(DictAction):
        """MMEngine's action, which raises nearly anything at what is not written as it should be."""

        def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                     option_string: str | None = None) -> None:
            for text in values:
                key, equals, value = text.partition('=')
                if not equals or not all(part.strip() for part in key.split('.')):
                    raise argparse.ArgumentError(self, f'it takes KEY=VALUE, for example train_cfg.max_epochs=5, got '
                                                       f'{text!r}')
                try:
                    super().__call__(parser, namespace, [text], option_string)
                except Exception as error:
                    raise argparse.ArgumentError(self, f'{text!r} cannot be read ({error})') from error
                options = getattr(namespace, self.dest)
                if isinstance(options[key], str):
                    options[key] = value.strip('\'"')  # MMEngine takes the spaces out, which names of files may have.

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE',
                        help='replace entries of the config')
    return parser


def image_arguments() -> argparse.ArgumentParser:
    """How images are prepared and where the network runs."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('images and device')
    group.add_argument('--resize', type=PIXELS,
                       help='short side of the images in pixels (default: what fits the network)')
    group.add_argument('--size', type=PIXELS, help='side of the center crop in pixels (default: what fits the network)')
    group.add_argument('--seed', type=SEED, help='seed of random splits and of the choice of images (default: 0)')
    group.add_argument('--on-error', choices=('stop', 'skip'),
                       help='at an image that cannot be decoded: stop, or skip and count it (default: stop)')
    group.add_argument('--workers', type=WORKERS, default=min(8, os.cpu_count() or 1),
                       help='threads that decode images')
    group.add_argument('--device', help="for example 'cpu' or 'cuda:0' (default: a GPU if there is one)")
    return parser


def task_arguments() -> argparse.ArgumentParser:
    """The task and its metric."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('task')
    group.add_argument('--task', required=True, metavar='TASK',
                       help='a folder CLASS/… (split at random), a folder train/CLASS/… with val/CLASS/… or '
                            'test/CLASS/…, or a config such as configs/tasks/dtd.py')
    group.add_argument('--metric', choices=METRICS, help="default: the task's, accuracy for a folder")
    group.add_argument('--splits', type=COUNT, default=1, help='random splits of CLASS/… folders (default: 1)')
    return parser


def knn_arguments() -> argparse.ArgumentParser:
    """Task and kNN."""
    parser = argparse.ArgumentParser(add_help=False, parents=[task_arguments()])
    group = parser.add_argument_group('kNN')
    group.add_argument('--temperature', type=positive, default=0.07,
                       help='T of the weights exp(cos / T) (default: 0.07)')
    return parser


def network_arguments() -> argparse.ArgumentParser:
    """A frozen network to evaluate, and how its features are computed."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('network', help='a checkpoint of a ResNet, timm:NAME, torchvision:NAME or mmpretrain:NAME, '
                                        'with @FILE for weights of your own')
    parser.add_argument('--data-root', metavar='DIR', help='folder that holds the data sets of configs (default: data)')
    parser.add_argument('--batch-size', type=COUNT, default=200, help='images in a batch (default: 200)')
    return parser


def output_arguments(required: bool) -> argparse.ArgumentParser:
    """Where the result goes."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--out', metavar='FILE', required=required, help='file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace a file that is there')
    return parser


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given, so that the others keep the defaults of what they are for."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def search_arguments() -> argparse.ArgumentParser:
    """How sub-nets are searched and by which scores."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('search')
    group.add_argument('--search', choices=SEARCHES,
                       help='exact: every sub-net on all images; screen: all with shared BN statistics, then the '
                            'finalists exactly; halving: the same on growing parts of the images; label_free: by the '
                            'clusters that the images resemble, which needs no labels (default: exact)')
    group.add_argument('--scores', nargs='+', choices=SCORES, metavar='SCORE',
                       help=f'of {", ".join(SCORES)}; the first one ranks (default: knn)')
    group.add_argument('--finalists', type=COUNT, help='sub-nets scored exactly after a short list (default: 4)')
    group.add_argument('--screen-bn', choices=('task', 'all', 'none'),
                       help='images of the BN statistics that sub-nets share in a screening (default: those of '
                            '--bn-reset, or task)')
    group.add_argument('--first-images', type=COUNT, metavar='N',
                       help='images of the first step of halving (default: 1/12 of them, at least 768)')
    group.add_argument('--per-cluster', type=COUNT, metavar='N',
                       help='images of each cluster for label_free (default: 32)')
    group.add_argument('--one-by-one', dest='share_prefixes', action='store_false', default=None,
                       help='do not share what paths have in common, even where it changes nothing but the time')
    group.add_argument('--against-linear', dest='linear', action='store_true', default=None,
                       help='report how well each score predicts linear accuracy, by a linear probe for each sub-net')
    return parser


def bn_arguments() -> argparse.ArgumentParser:
    """BN reset and the images of pre-training."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('BN reset')
    group.add_argument('--bn-reset', choices=BN_RESETS,
                       help="measure BN statistics on the sub-net's cluster, the task's training images or all "
                            'images of pre-training (default: cluster)')
    group.add_argument('--bn-images', type=whole(2), help='most images to measure on (default: 2000)')
    group.add_argument('--batch-size', type=whole(2), help='images in a batch (default: 200)')
    group.add_argument('--data', metavar='FOLDER', help='images of pre-training (default: as in the checkpoint)')
    group.add_argument('--clusters', metavar='FILE', help='clusters.npz (default: as in the checkpoint)')
    return parser
