"""Watches every network for collapse."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..distributed import unwrap
from ..errors import InputError
from ..models.backbone import pool_features
from ..registry import HOOKS
from ..space import SUPERNET

MAX_IMAGES = 64
"""Images of a batch that the rank is measured on, which bounds the time that it takes."""


def network_name(network: int) -> str:
    """How logs call a network: ``supernet`` or ``subnet_007``."""
    return 'supernet' if network == SUPERNET else f'subnet_{network:03d}'


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    """Logs loss, rank and spread of each network, and warns or stops when one of them collapses.

    When a siamese network collapses its loss looks perfect, but its output no longer tells images apart. Behind
    SimSiam's projector, whose last norm has no affine parameters, the output cannot become constant, and its standard
    deviation says little: all projections come to lie on one line. Two numbers of each batch are logged:

    - ``effective_rank``, that of the l2-normalized projections, see :func:`effective_rank`: 1 if they lie on one line,
      at most the number of images. Of SimSiam on small images, with batches of 4 to 64, it exceeded 2.5 within any ten
      iterations; without its stop-gradient it falls to 1.0 to 1.5 within 100, and stays there.
    - ``feature_spread``, that of the pooled features of the backbone, see :func:`spread`: 0 if they are constant.

    A network counts as collapsed when one of them stays below its threshold for ``patience`` of its own iterations in a
    row. Scalars go to the visualizer as ``networks/<network>/<loss or number>`` whenever the network is drawn and
    ``interval`` iterations have passed since it was last logged.

    It needs nothing of the model but a ``neck`` that projects what the backbone returns, so it watches MMPretrain's
    algorithms too, as one network. It looks at the first view, and not at a teacher or target, which has no gradient.

    Args:
        min_rank (float): Effective rank under which the output has collapsed. A batch of fewer than 3 images has no
            rank to lose and is not judged. Defaults to 1.8.
        min_spread (float): Spread of the features under which they are constant. Defaults to 0.001.
        patience (int): Iterations of a network in a row under a threshold. Defaults to 10.
        action (str): ``warn`` once for each network, or ``stop`` the run. Defaults to 'warn'.
        interval (int): Iterations between two logs of one network. Defaults to 50.

    Raises:
        InputError: Before the training, if the model has no neck. In training, if ``action`` is ``stop`` and a network
            has collapsed. Checkpoints written so far stay.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, min_rank: float = 1.8, min_spread: float = 1e-3, patience: int = 10, action: str = 'warn',
                 interval: int = 50) -> None:
        if action not in ('warn', 'stop'):
            raise InputError(f"CollapseMonitorHook.action is 'warn' or 'stop', got '{action}'")
        self.min_rank, self.min_spread = min_rank, min_spread
        self.patience, self.action, self.interval = patience, action, interval
        self._seen: dict[bool, tuple[Tensor, Tensor]] = {}
        self._below: dict[str, int] = {}
        self._logged: dict[str, int] = {}
        self._warned: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        model = unwrap(runner.model)
        neck = getattr(model, 'neck', None)
        if not isinstance(neck, nn.Module):
            raise InputError(f'CollapseMonitorHook cannot watch {type(model).__name__}, which has no neck to look '
                             'at: take the hook out of custom_hooks')
        neck.register_forward_hook(self._look, with_kwargs=True)

    @torch.no_grad()
    def _look(self, neck: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Tensor, ...]) -> None:
        """Measures the first view; the numbers stay on the GPU until the iteration is over."""
        (projection, ) = output
        has_path = (args[1] if len(args) > 1 else kwargs.get('path')) is not None
        if projection.requires_grad and has_path not in self._seen:
            self._seen[has_path] = spread(pool_features(args[0])), gram(projection)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None,
                         outputs: dict[str, Any] | None = None) -> None:
        assert outputs is not None
        seen, self._seen = self._seen, {}
        losses = {name: value.item() for name, value in outputs.items() if 'loss' in name}
        for has_path, (features, projection) in seen.items():
            if 'network' not in outputs:
                name, own = type(unwrap(runner.model)).__name__, losses
            elif len(seen) > 1 and not has_path:  # The super-net of a joint iteration.
                name = network_name(SUPERNET)
                own = {key.removesuffix('_supernet'): loss for key, loss in losses.items() if key.endswith('_supernet')}
            else:
                name = network_name(int(outputs['network']))
                own = {key: losses[key] for key in ('loss_ssl', 'loss_kd') if key in losses}
            self._watch(runner, name, own, len(projection), effective_rank(projection), features.item())

    def _watch(self, runner: Runner, name: str, losses: dict[str, float], images: int, rank: float,
               feature_spread: float) -> None:
        if runner.iter - self._logged.get(name, -self.interval) >= self.interval and is_main_process():
            self._logged[name] = runner.iter
            values = {**losses, 'effective_rank': rank, 'feature_spread': feature_spread}
            runner.visualizer.add_scalars({f'networks/{name}/{key}': value for key, value in values.items()},
                                          step=runner.iter + 1)
        # A NaN is no healthy output either, hence the negations.
        low = not feature_spread >= self.min_spread or images > 2 and not rank >= self.min_rank
        self._below[name] = self._below.get(name, 0) + 1 if low else 0
        if self._below[name] < self.patience or name in self._warned:
            return
        message = (f'{name} has collapsed: in {self.patience} of its iterations in a row its output lay on one line or '
                   f'its features were constant, at iteration {runner.iter + 1} with an effective rank of {rank:.2f} '
                   f'and a spread of {feature_spread:.2g} over {images} images; lower the learning rate, enlarge the '
                   'clusters, or start the sub-nets later')
        if self.action == 'stop':
            raise InputError(message)
        self._warned.add(name)
        runner.logger.warning(message)


def gram(x: Tensor) -> Tensor:
    """Cosines between the first rows of ``x`` ``(N, C)``, at most ``MAX_IMAGES``: float32 ``(n, n)``."""
    with torch.autocast(x.device.type, enabled=False):
        unit = F.normalize(x[:MAX_IMAGES].float(), dim=1)
        return unit @ unit.T


def effective_rank(cosines: Tensor) -> float:
    """Effective rank (Roy and Vetterli 2007) of the second moments of directions with these ``cosines`` ``(n, n)``.

    It is the exponential of the entropy of the eigenvalues: k for k orthogonal directions of equal weight, and 1 for
    directions that are equal or opposite. NaN gives NaN.
    """
    if not cosines.isfinite().all():
        return float('nan')
    values = torch.linalg.eigvalsh(cosines.double().cpu()).clamp(min=1e-12)
    share = values / values.sum()
    return float((-share * share.log()).sum().exp())


def spread(x: Tensor) -> Tensor:
    """Root mean square distance of the l2-normalized rows ``(N, C)`` from their mean: 0 if equal, at most 1."""
    return F.normalize(x.float(), dim=1).var(dim=0, correction=0).sum().sqrt()
