"""Command-line arguments that the tools for routing, export and kNN share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Optional

import torch
import torch.distributed as dist

from ..errors import InputError
from .evaluator import BN_RESETS


def image_arguments() -> argparse.ArgumentParser:
    """How images are prepared and where the network runs."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('images and device')
    group.add_argument('--resize', type=int, help='short side of the images in pixels (default: 256)')
    group.add_argument('--size', type=int, help='side of the centre crop in pixels (default: 224)')
    group.add_argument('--seed', type=int, help='seed of random splits and of the choice of images (default: 0)')
    group.add_argument('--on-error', choices=('stop', 'skip'),
                       help='at an image that cannot be decoded: stop, or skip and count it (default: stop)')
    group.add_argument('--workers', type=int, default=min(8, os.cpu_count() or 1), help='threads that decode images')
    group.add_argument('--device', help="for example 'cpu' or 'cuda:0' (default: a GPU if there is one)")
    return parser


def knn_arguments() -> argparse.ArgumentParser:
    """Task and kNN."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('task and kNN')
    group.add_argument('--task', required=True, metavar='FOLDER',
                       help='CLASS/… (split at random), or train/CLASS/… with val/CLASS/… or test/CLASS/…')
    group.add_argument('--temperature', type=float, default=0.07, help='T of the weights exp(cos / T) (default: 0.07)')
    group.add_argument('--metric', choices=('accuracy', 'mean_per_class'), default='accuracy', help='default: accuracy')
    group.add_argument('--splits', type=int, default=1, help='random splits of CLASS/… folders (default: 1)')
    return parser


def bn_arguments() -> argparse.ArgumentParser:
    """BN reset and the images of pre-training."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group('BN reset')
    group.add_argument('--bn-reset', choices=BN_RESETS,
                       help="measure BN statistics on the sub-net's cluster, the task's training images or all "
                            'images of pre-training (default: cluster)')
    group.add_argument('--bn-images', type=int, help='most images to measure on (default: 2000)')
    group.add_argument('--batch-size', type=int, help='images in a batch (default: 200)')
    group.add_argument('--data', metavar='FOLDER', help='images of pre-training (default: as in the checkpoint)')
    group.add_argument('--clusters', metavar='FILE', help='clusters.npz (default: as in the checkpoint)')
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


def check_output(out: Optional[str], overwrite: bool) -> None:
    """Refuses before the work what could not be written after it.

    Raises:
        InputError: If the file exists and may not be replaced, or is a folder.
    """
    if out is not None and (Path(out).is_dir() or (Path(out).exists() and not overwrite)):
        raise InputError(f'{out} exists already: give another name' +
                         ('' if Path(out).is_dir() else ', or pass --overwrite to replace it'))


def start(device: Optional[str]) -> torch.device:
    """Joins the other processes that ``torchrun`` has started, if any, and chooses this one's device.

    Raises:
        InputError: If there is no such device.
    """
    try:
        chosen = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        if chosen.type == 'cuda' and chosen.index is None:
            chosen = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"there is no device {device!r} here: give 'cpu', or 'cuda' where there is a GPU") from error
    if chosen.type == 'cuda':
        torch.cuda.set_device(chosen)
    if int(os.environ.get('WORLD_SIZE', '1')) > 1 and not dist.is_initialized():
        dist.init_process_group('nccl' if chosen.type == 'cuda' else 'gloo')
    return chosen
