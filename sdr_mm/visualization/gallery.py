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
from ..datasets.pool import Pool
from ..errors import InputError
from ..files import check_output
from ..images import read_rgb, resize_and_crop
from ..routing.ranking import BASELINE_ROW, Ranking
from .style import INK, QUIET, ROUTED, save_figure, shorten, signed, style

TILE, GAP, LINE = 96, 6, 22
"""Side of an image, space between images and height of a line of text, in pixels of the sheet."""

ROW = 0.62
"""Height of a row on paper, in inches."""

Files = Sequence[str | PathLike[str]]


@dataclass(frozen=True)
class GalleryRow:
    """A cluster in a gallery, and the task that was routed to it with what it gains, such as ``'+3.1'``."""

    cluster: int
    task: str = ''
    gain: str = ''

    def lines(self, size: int) -> list[tuple[str, float, str, str]]:
        """Text, size, weight and color of each line beside the ``size`` images."""
        name, images = f'cluster {self.cluster}', (f'{size:,} images', 7.5, 'normal', QUIET)
        if not self.task:
            return [(name, 8.5, 'bold', INK), images]
        gain = f'{self.gain} · ' if self.gain else ''
        return [(shorten(self.task), 8.5, 'bold', ROUTED), (gain + name, 7.5, 'normal', ROUTED), images]


def routed_cluster(ranking: Ranking, clusters: Clusters) -> int:
    """The cluster of the sub-net that was routed to.

    Raises:
        InputError: If the clusters are those of other sub-nets.
    """
    paths = {network.subnet: network.path for network in ranking.subnets}
    if paths != dict(zip(clusters.subnets.tolist(), clusters.paths.tolist())):
        blocks = len(ranking.best.path or ())
        raise InputError(f'the routing on {ranking.task} ranks {len(paths)} sub-nets of {blocks} blocks, but the '
                         f'clusters are those of {clusters.num_clusters} with {clusters.space.num_blocks}: give the '
                         'clusters of the same training')
    return int(np.flatnonzero(clusters.subnets == ranking.best.subnet)[0])


def routed_rows(rankings: Sequence[Ranking], clusters: Clusters, over: str = BASELINE_ROW) -> list[GalleryRow]:
    """A row for each task: the cluster that it was routed to, and what it gains, if the reference took part.

    Raises:
        InputError: If the clusters are those of other sub-nets.
    """
    return [GalleryRow(routed_cluster(ranking, clusters), ranking.task, '' if ranking.network(over) is None else
                       signed(ranking.gains(over)[0], '.1f' if ranking.unit == 'points' else '.3g'))
            for ranking in rankings]


def choose_images(clusters: Clusters, cluster: int, seed: int = 0) -> np.ndarray:
    """The images of a cluster in random order.

    Raises:
        InputError: If there is no such cluster, or it is empty.
    """
    if not 0 <= cluster < clusters.num_clusters:
        raise InputError(f'there is no cluster {cluster}: they go from 0 to {clusters.num_clusters - 1}')
    members = np.flatnonzero(clusters.assignment == cluster)
    if not len(members):
        raise InputError(f'cluster {cluster} has no images to show')
    return np.random.default_rng([seed, cluster]).permutation(members)


def read_tiles(paths: Files, numbers: Sequence[int] | np.ndarray, count: int, tile: int = TILE) -> list[np.ndarray]:
    """The first ``count`` of these images that can be decoded, each (tile, tile, 3) uint8 with round corners on white.

    Raises:
        InputError: If none of them can.
    """
    # Drawn four times as large and scaled down, so that the corners are smooth.
    stencil = Image.new('L', (4 * tile, 4 * tile))
    ImageDraw.Draw(stencil).rounded_rectangle((0, 0, 4 * tile - 1, 4 * tile - 1), tile // 3, fill=255)
    alpha = np.asarray(stencil.resize((tile, tile), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    tiles: list[np.ndarray] = []
    reason: InputError | None = None
    for number in numbers:
        if len(tiles) == count:
            break
        try:
            image = resize_and_crop(read_rgb(paths[number]), tile, tile)
        except InputError as error:
            reason = reason or error
            continue
        # A hint of gray, so that an image on white still has an outline.
        tiles.append((image * 0.97 * alpha + 255 * (1 - alpha)).round().astype(np.uint8))
    if reason is not None and not tiles:
        raise InputError(f'none of the {len(numbers)} images of a cluster can be read: {reason}')
    return tiles


def lay_out(rows: Sequence[Sequence[np.ndarray]], columns: int, gap: int = GAP) -> np.ndarray:
    """(H, W, 3) uint8: rows of at most ``columns`` tiles on white."""
    tile = len(rows[0][0])
    step = tile + gap
    sheet = np.full((len(rows) * step - gap, columns * step - gap, 3), 255, np.uint8)
    for row, tiles in enumerate(rows):
        for column, image in enumerate(tiles):
            sheet[row * step:row * step + tile, column * step:column * step + tile] = image
    return sheet


def draw_sheet(axes: Axes, sheet: np.ndarray) -> None:
    """Draws what :func:`lay_out` made."""
    axes.imshow(sheet, interpolation='lanczos', extent=(0, sheet.shape[1], sheet.shape[0], 0), aspect='equal')
    axes.set_axis_off()


def contact_sheet(paths: Files, clusters: Clusters, numbers: Sequence[int], *, count: int = 12, tile: int = TILE,
                  gap: int = GAP, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a row of at most ``count`` images, ``tile`` pixels wide, for each of the clusters ``numbers``.

    ``paths`` are the images that were clustered, in their order; ``seed`` chooses among them. A smaller cluster leaves
    the rest of its row white, and an image that cannot be decoded is passed over.

    Raises:
        InputError: If there is no such cluster, or it has no image that can be decoded.
    """
    if not numbers:
        raise InputError('a gallery needs at least one cluster')
    return lay_out([read_tiles(paths, choose_images(clusters, cluster, seed), count, tile) for cluster in numbers],
                   count, gap)


def draw_gallery(axes: Axes, paths: Files, clusters: Clusters, rows: Sequence[GalleryRow], *, count: int = 12,
                 title: str = 'Clusters', seed: int = 0) -> None:
    """Draws a gallery, with its labels left of the axes; see :func:`contact_sheet`."""
    draw_sheet(axes, contact_sheet(paths, clusters, [row.cluster for row in rows], count=count, seed=seed))
    axes.set_title(title, pad=10)
    sizes = clusters.sizes()
    for number, row in enumerate(rows):
        lines = row.lines(sizes[row.cluster])
        # The lines as one block, in the middle of the row.
        top = number * (TILE + GAP) + TILE / 2 - (len(lines) - 1) * LINE / 2
        for i, (text, size, weight, color) in enumerate(lines):
            axes.text(-16, top + i * LINE, text, ha='right', va='center', fontsize=size, fontweight=weight, color=color)


def cluster_gallery(pool: Pool, file: str | Path, *, rows: Sequence[GalleryRow] | None = None, count: int = 12,
                    seed: int = 0, overwrite: bool = False) -> None:
    """Writes a picture of clusters as PNG.

    Args:
        pool (Pool): The images of pre-training and their clusters, as ``sdr.pool()`` gives them.
        file (str | Path): The picture to write.
        rows (Sequence[GalleryRow], optional): Which clusters, from the top down, such as those of :func:`routed_rows`.
            Defaults to None: all, or of more than 16 the 16 largest.
        count (int): Images in a row. Defaults to 12.
        seed (int): Chooses the images. Defaults to 0.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If there is no such cluster, none of its images can be read, or the file cannot be written.
    """
    check_output(file, overwrite)
    clusters = pool.clusters
    if clusters is None:
        raise InputError('a gallery needs the clusters of the images')
    if rows is None:
        rows = [GalleryRow(number) for number in np.sort(np.argsort(-clusters.sizes(), kind='stable')[:16]).tolist()]
        title = f'{"" if len(rows) == clusters.num_clusters else f"{len(rows)} of "}{clusters.num_clusters} clusters'
        title += f' ({clusters.method})'
    else:
        title = 'What the routed clusters hold' if any(row.task for row in rows) else 'Clusters'
    # Wide enough for the longest name, and for the title above few images.
    label = max([1.2, *(0.25 + 0.08 * len(shorten(row.task)) for row in rows)])
    width, height = label + max(ROW * count, 0.095 * len(title)) + 0.1, ROW * len(rows) + 0.5
    with style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((label / width, 0.1 / height, ROW * count / width, ROW * len(rows) / height))
        draw_gallery(axes, pool.paths, clusters, rows, count=count, seed=seed, title=title)
        save_figure(figure, file, overwrite=overwrite)
