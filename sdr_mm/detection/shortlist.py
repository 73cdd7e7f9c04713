"""Which sub-nets are worth fine-tuning: routing for a detection set without training a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError
from ..evaluation.task import Task
from ..models.sdr_resnet import SDRResNet
from ..routing.evaluator import RoutingEvaluator
from ..routing.load_sdr import Pool
from ..routing.result import RoutingResult
from .crops import crops_task, images_task

SHORTLISTS = ('label_free', 'knn_crops', 'all')


@dataclass(frozen=True)
class Shortlist:
    """How sub-nets are ordered before the race.

    - ``'label_free'``: by the share of the training images that resembles their cluster; one pass of the
      super-net.
    - ``'knn_crops'``: by kNN on the boxes of the training annotations, cropped from the images
      (:func:`crops_task`), all sub-nets with BN statistics of the crops, so that they run as a tree.
    - ``'all'``: not at all.

    Args:
        mode (str): See above. Defaults to 'label_free'.
        candidates (int): How many stay. Defaults to 8.
        k (int): Neighbors of kNN, clamped to the training crops. Defaults to 20, because crops are few.
        temperature (float): ``T`` of kNN. Defaults to 0.07.
        per_cluster (int): Images of each cluster. Defaults to 32.
        most_crops (int): Most crops of a class. Defaults to 100.

    Raises:
        InputError: If an argument is out of range.
    """

    mode: str = 'label_free'
    candidates: int = 8
    k: int = 20
    temperature: float = 0.07
    per_cluster: int = 32
    most_crops: int = 100

    def __post_init__(self) -> None:
        if self.mode not in SHORTLISTS:
            raise InputError(f'a shortlist is one of {", ".join(SHORTLISTS)}, got {self.mode!r}')
        if self.candidates < 1 or self.most_crops < 2:
            raise InputError(f'need --candidates >= 1 and --most-crops >= 2, got {self.candidates} and '
                             f'{self.most_crops}')

    @property
    def settings(self) -> dict[str, Any]:
        """What the order of sub-nets depends on, beside the mode."""
        return {name: value for name, value in asdict(self).items() if name not in ('mode', 'candidates')}

    def shortens(self, subnets: int) -> bool:
        """Whether there is anything to leave out."""
        return self.mode != 'all' and self.candidates < subnets

    def rank(self,
             backbone: SDRResNet,
             dataset: Any,
             name: str,
             *,
             images: dict[str, Any],
             bn: dict[str, Any],
             pool: Pool | None,
             mean: Sequence[float],
             std: Sequence[float],
             say: Callable[[str], None]) -> RoutingResult:
        """Ranks all sub-nets.

        Args:
            backbone (SDRResNet): On the device where it shall run.
            dataset (BaseDataset): Training images of the detector.
            name (str): Of the data, for tables.
            images (dict): ``resize``, ``size``, ``on_error``, ``workers`` and ``seed`` of
                :class:`RoutingEvaluator`.
            bn (dict): ``bn_images`` and ``batch_size`` of the same.
            pool (Pool, optional): Images of pre-training, for ``'label_free'``.
            mean (Sequence[float]): Normalization of the SDRNet.
            std (Sequence[float]): The same.
            say (Callable): Is told the expected time.
        """
        if self.mode == 'label_free':
            evaluator = RoutingEvaluator(images_task(dataset, name), search='label_free', per_cluster=self.per_cluster,
                                         **images, **bn)
        else:
            evaluator = RoutingEvaluator(self.crops(dataset, name, images), search='exact', bn_reset='task', k=self.k,
                                         temperature=self.temperature, **images, **bn)
        return evaluator.evaluate(backbone, pool=pool, mean=mean, std=std, say=say)

    def crops(self, dataset: Any, name: str, images: dict[str, Any]) -> Task:
        """The task of ``'knn_crops'``."""
        return crops_task(dataset, name, most=self.most_crops,
                          **{key: images[key] for key in ('resize', 'size', 'seed')})

    def sentence(self, subnets: int) -> str:
        """What was not done in full."""
        if self.mode == 'label_free':
            how = (f'the share of the training images that resembles their cluster ({self.per_cluster} images of each, '
                   f'one pass of the super-net, no labels)')
        else:
            how = f'kNN on crops of the training boxes (at most {self.most_crops} a class, BN statistics of the crops)'
        return f'{subnets} sub-nets were ordered by {how}; the first {self.candidates} were fine-tuned'
