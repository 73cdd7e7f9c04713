"""How the demo trains and scores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Sizes of the demo; the defaults are what ``make demo`` runs.

    Both trainings see ``epochs`` times the number of images of the pool.

    Args:
        epochs (int): Passes over the pool, of the baseline and of SDR each.
        batch_size (int): Images of a batch.
        size (int): Side of the images for the networks, in pixels.
        repeats (int): How often the images of a task are divided anew.
        k (int): Neighbors of kNN.
        cluster_epochs (int): Epochs of SGD on the centroids.
        workers (int): Processes that load images.
    """

    epochs: int = 7
    batch_size: int = 64
    size: int = 32
    repeats: int = 5
    k: int = 10
    cluster_epochs: int = 10
    workers: int = 1
