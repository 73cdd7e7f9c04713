"""Where the numbers of a training go: the files of MMEngine, TensorBoard, W&B and others."""

from __future__ import annotations

from importlib.util import find_spec

from mmengine.config import Config

from ..errors import InputError

PACKAGES = {
    'TensorboardVisBackend': 'tensorboard', 'WandbVisBackend': 'wandb', 'MLflowVisBackend': 'mlflow',
    'ClearMLVisBackend': 'clearml', 'NeptuneVisBackend': 'neptune', 'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim'}
"""The package behind each backend of MMEngine that needs one."""


def check_backends(cfg: Config) -> None:
    """Raises an InputError if a backend of the visualizer needs a package that is not there.

    MMEngine imports it at the first number, when the training has begun.
    """
    for backend in (cfg.get('visualizer') or {}).get('vis_backends') or []:
        package = PACKAGES.get(str(backend.get('type')).split('.')[-1])
        if package and find_spec(package) is None:
            raise InputError(f'{backend.type} needs the package {package}, which is not installed: '
                             f"'pip install {package}', or take it out of visualizer.vis_backends")
