"""Images of clusters, a row each (Fig. 5 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from ..clusters import Clusters
from ..errors import InputError
from ..files import check_output
from ..images import read_rgb, resize_and_crop
from .style import INK, QUIET, ROUTED, save_figure, style

TILE, GAP, LINE = 96, 6, 22
"""Side of an image, space between images and height of a line of text, in pixels of the sheet."""

ROW = 0.62
"""Height of a row on paper, in inches."""

Files = Sequence[str | PathLike]


@dataclass(frozen=True)
class GalleryRow:
    """A cluster in a gallery, and lines below its number, such as ``'pets +3.1'``, which make the row stand out."""

    cluster: int
    notes: tuple[str, ...] = ()


def choose_images(clusters: Clusters, cluster: int, count: int, seed: int = 0) -> np.ndarray:
    """At most ``count`` images of a cluster, drawn at random without repetition."""
    members = np.flatnonzero(clusters.assignment == cluster)
    return np.random.default_rng([seed, cluster]).permutation(members)[:count]


def contact_sheet(paths: Files, clusters: Clusters, numbers: Sequence[int], *, count: int = 12, tile: int = TILE,
                  gap: int = GAP, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a row of at most ``count`` images, ``tile`` pixels wide, for each of the clusters ``numbers``.

    ``paths`` are the images that were clustered, in their order; ``seed`` chooses among them. A smaller cluster leaves
    the rest of its row white, and an image that cannot be decoded its place.

    Raises:
        InputError: If there is no such cluster.
    """
    if not numbers:
        raise InputError('a gallery needs at least one cluster')
    # Rounded corners, drawn four times as large and scaled down, so that they are smooth.
    stencil = Image.new('L', (4 * tile, 4 * tile))
    ImageDraw.Draw(stencil).rounded_rectangle((0, 0, 4 * tile - 1, 4 * tile - 1), tile // 3, fill=255)
    alpha = np.asarray(stencil.resize((tile, tile), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    step = tile + gap
    sheet = np.full((len(numbers) * step - gap, count * step - gap, 3), 255, np.uint8)
    for row, cluster in enumerate(numbers):
        if not 0 <= cluster < clusters.num_clusters:
            raise InputError(f'there is no cluster {cluster}: they go from 0 to {clusters.num_clusters - 1}')
        for column, index in enumerate(choose_images(clusters, cluster, count, seed)):
            try:
                image = resize_and_crop(read_rgb(paths[index]), tile, tile)
            except InputError:
                continue
            # A hint of gray, so that an image on white still has an outline.
            image = (image * 0.97 * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
            sheet[row * step:row * step + tile, column * step:column * step + tile] = image
    return sheet


def draw_gallery(axes: Axes, paths: Files, clusters: Clusters, rows: Sequence[GalleryRow], *, count: int = 12,
                 title: str = 'Clusters', seed: int = 0) -> None:
    """Draws a gallery, with its labels left of the axes; see :func:`contact_sheet`."""
    sheet = contact_sheet(paths, clusters, [row.cluster for row in rows], count=count, seed=seed)
    axes.imshow(sheet, interpolation='lanczos', extent=(0, sheet.shape[1], sheet.shape[0], 0), aspect='equal')
    axes.set_axis_off()
    axes.set_title(title, pad=10)
    sizes = clusters.sizes()
    for number, row in enumerate(rows):
        lines = [(f'cluster {row.cluster}', 8.5, 'bold', ROUTED if row.notes else INK)]
        lines += [(note, 7.5, 'normal', ROUTED) for note in row.notes]
        lines.append((f'{sizes[row.cluster]:,} images', 7.5, 'normal', QUIET))
        # The lines as one block, in the middle of the row.
        top = number * (TILE + GAP) + TILE / 2 - (len(lines) - 1) * LINE / 2
        for i, (text, size, weight, color) in enumerate(lines):
            axes.text(-16, top + i * LINE, text, ha='right', va='center', fontsize=size, fontweight=weight, color=color)


def cluster_gallery(paths: Files, clusters: Clusters, file: str | Path, *, numbers: Sequence[int] | None = None,
                    count: int = 12, seed: int = 0, overwrite: bool = False) -> None:
    """Writes a picture of clusters as PNG.

    Args:
        paths (Sequence[str | PathLike]): Images of the data set that was clustered, in its order.
        clusters (Clusters): Its clusters.
        file (str | Path): The picture to write.
        numbers (Sequence[int], optional): Which clusters, from the top down. Defaults to None: all, or of more than 16
            the 16 largest.
        count (int): Images in a row. Defaults to 12.
        seed (int): Chooses the images. Defaults to 0.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If there is no such cluster, or the file cannot be written.
    """
    check_output(file, overwrite)
    if numbers is None:
        numbers = np.sort(np.argsort(-clusters.sizes(), kind='stable')[:16]).tolist()
    rows = [GalleryRow(number) for number in numbers]
    shown = '' if len(rows) == clusters.num_clusters else f'{len(rows)} of '
    width, height = 1.2 + ROW * count + 0.1, ROW * len(rows) + 0.5
    with style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((1.2 / width, 0.1 / height, ROW * count / width, ROW * len(rows) / height))
        draw_gallery(axes, paths, clusters, rows, count=count, seed=seed,
                     title=f'{shown}{clusters.num_clusters} clusters ({clusters.method})')
        save_figure(figure, file, overwrite=overwrite)
