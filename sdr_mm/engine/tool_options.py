"""What the options of MMPretrain's tools change in a config, where it is not a matter of one line."""

from __future__ import annotations

from mmengine.config import Config

from ..errors import InputError

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def leave_out_validation(cfg: Config) -> None:
    """Trains without evaluating what was trained: ``--no-validate``."""
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None


def set_loaders(cfg: Config, entry: str, value: bool) -> None:
    """Sets ``pin_memory`` or ``persistent_workers`` of all loaders that the config has."""
    for loader in LOADERS:
        if cfg.get(loader):
            cfg[loader][entry] = value


def draw_predictions(cfg: Config, folder: str | None, show: bool, wait_time: float, interval: int | None) -> None:
    """Draws what is predicted in a test: into pictures in a folder, or ``show`` in a window.

    Args:
        folder (str, optional): Where the pictures go; MMDetection puts them into the run's folder of that name, below
            the work directory.
        show (bool): Whether to open a window, for ``wait_time`` seconds per picture.
        wait_time (float): See ``show``.
        interval (int, optional): Draws each so-many-th image. None leaves it to the config.

    Raises:
        InputError: If the config has no hook that draws.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not hook:
        raise InputError(f'{cfg.filename} draws nothing: it needs a default_hooks.visualization, such as '
                         "dict(type='DetVisualizationHook'), for --show or --show-dir")
    detector = str(hook.get('type')).endswith('DetVisualizationHook')
    hook.update({'draw' if detector else 'enable': True, 'test_out_dir' if detector else 'out_dir': folder,
                 'show': show, 'wait_time': wait_time})
    if interval is not None:
        hook['interval'] = interval
