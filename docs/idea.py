"""Draws docs/idea.png, the figure of the idea: python docs/idea.py"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path as Curve

from sdr_mm.visualization.style import INK, LOSS, QUIET, ROUTED, save_figure, style

WIDTH, HEIGHT = 900, 318  # pixels of the page; the file has twice as many
TILE, GAP = 25, 5
PALE, SHARED = '#eef1f3', '#b7c1c8'
GROUPS = BLOCKS = 4
PATH = (0, 2, 1, 3)
NAMES = ('tree', 'house', 'fish', 'sun')
ROUTED_CLUSTER = 2
MIDDLE = 172  # where the arrows between the panels lie


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, radius: float = 4,
        edge: str = 'none', line: float = 1.2) -> None:
    """A rectangle with round corners."""
    axes.add_patch(FancyBboxPatch((x + radius, y + radius), width - 2 * radius, height - 2 * radius, facecolor=color,
                                  edgecolor=edge, linewidth=line, boxstyle=f'round,pad={radius}'))


def picture(axes: Axes, x: float, y: float, name: str, random: np.random.Generator, color: str = INK) -> None:
    """A small image of something."""
    box(axes, x, y, TILE, TILE, PALE)
    scale, angle = random.uniform(0.8, 1.08), random.uniform(-0.12, 0.12)
    center = np.array([x, y]) + TILE / 2 + random.uniform(-1, 1, 2)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def polygon(*corners: tuple[float, float], fill: str = color) -> None:
        axes.add_patch(Polygon(np.array(corners) @ turn.T + center, facecolor=fill, edgecolor='none'))

    if name == 'tree':
        polygon((0, -9), (6, -1), (-6, -1))
        polygon((0, -5), (7.5, 5), (-7.5, 5))
        polygon((-1.5, 5), (1.5, 5), (1.5, 9), (-1.5, 9))
    elif name == 'house':
        polygon((0, -9), (8.5, -1), (-8.5, -1))
        polygon((-6.5, -1), (6.5, -1), (6.5, 8), (-6.5, 8))
        polygon((-1.8, 2.5), (1.8, 2.5), (1.8, 8), (-1.8, 8), fill=PALE)
    elif name == 'fish':
        axes.add_patch(Ellipse(tuple(center - (1.5, 0)), 15 * scale, 9 * scale, angle=np.degrees(angle), color=color,
                               linewidth=0))
        polygon((3, 0), (10, -5), (10, 5))
        axes.add_patch(Circle(tuple(turn @ (-6, -1.2) + center), 1, color=PALE, linewidth=0))
    else:
        axes.add_patch(Circle(tuple(center), 4.4 * scale, color=color, linewidth=0))
        for number in range(8):
            far = np.array([np.cos(number * np.pi / 4), np.sin(number * np.pi / 4)])
            ray = np.stack([center + 6 * scale * far, center + 9 * scale * far])
            axes.plot(*ray.T, color=color, linewidth=1.4, solid_capstyle='round')


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = QUIET) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle='-|>', mutation_scale=11, color=color, linewidth=1.4,
                                   shrinkA=0, shrinkB=0))


def heading(axes: Axes, x: float, number: int, title: str, text: str) -> None:
    """Number and title of a step, and a line below."""
    axes.add_patch(Circle((x + 9, 19), 9, color=INK, linewidth=0))
    axes.text(x + 9, 19.5, str(number), color='white', fontsize=8.5, fontweight='bold', ha='center', va='center')
    axes.text(x + 25, 19.5, title, fontsize=11, fontweight='bold', va='center')
    axes.text(x, 44, text, fontsize=8, color=QUIET, va='center')


def note(axes: Axes, x: float, y: float, text: str, color: str = QUIET, **kwargs: object) -> None:
    axes.text(x, y, text, **{'fontsize': 8, 'color': color, 'ha': 'center', 'va': 'center', **kwargs})


def column(axes: Axes, x: float, width: float, top: float, chosen: int, groups: Sequence[int], shared: float = 58,
           each: float = 19) -> list[float]:
    """A block: the shared group over individual ones; returns the middle of each individual one."""
    box(axes, x, top, width, shared, SHARED)
    middles = []
    for place, group in enumerate(groups):
        y = top + shared + 6 + place * (each + 4)
        box(axes, x, y, width, each, ROUTED if group == chosen else 'white', edge=ROUTED if group == chosen else LOSS)
        middles.append(y + each / 2)
    return middles


def draw(axes: Axes) -> None:
    random = np.random.default_rng(3)

    heading(axes, 8, 1, 'Cluster', 'images without labels')
    kinds = random.permutation([name for name in NAMES for _ in range(6)]).reshape(8, 3)
    top = MIDDLE - (8 * (TILE + GAP) - GAP) / 2 + 4
    for row, names in enumerate(kinds):
        for place, name in enumerate(names):
            picture(axes, 8 + place * (TILE + GAP), top + row * (TILE + GAP), name, random)
    arrow(axes, (103, MIDDLE), (129, MIDDLE))
    for cluster, name in enumerate(NAMES):
        y = 68 + cluster * 54
        routed = cluster == ROUTED_CLUSTER
        box(axes, 138, y, 3 * (TILE + GAP) + 9, 44, 'white', edge=ROUTED if routed else LOSS, radius=7,
            line=2 if routed else 1.2)
        for place in range(3):
            picture(axes, 145 + place * (TILE + GAP), y + (44 - TILE) / 2, name, random, ROUTED if routed else INK)
    note(axes, 190, 294, '… one for each sub-net')

    left, width, step = 300, 42, 66
    heading(axes, 280, 2, 'Pre-train', 'one super-net, a path for each cluster')
    y = 68 + ROUTED_CLUSTER * 54 + 22
    arrow(axes, (246, y), (288, y), ROUTED)
    top, route = 86, []
    for block in range(BLOCKS):
        x = left + block * step
        note(axes, x + width / 2, 74, f'block {block + 1}')
        middles = column(axes, x, width, top, PATH[block], range(GROUPS))
        for group in range(GROUPS):
            note(axes, x + width / 2, middles[group] + 0.5, str(group), 'white' if group == PATH[block] else QUIET,
                 fontweight='bold' if group == PATH[block] else 'normal')
        route.append((x, middles[PATH[block]]))
        note(axes, x + width / 2, top + 29, 'shared', INK, fontsize=7.5)
    for (x, y), (after, below) in zip(route, route[1:]):
        bend = (x + width + after) / 2
        curve = Curve([(x + width, y), (bend, y), (bend, below), (after, below)], [1, 4, 4, 4])
        axes.add_patch(FancyArrowPatch(path=curve, arrowstyle='-', color=ROUTED, linewidth=2.4))
        axes.plot([x + width, after], [top + 29] * 2, color=SHARED, linewidth=2.4)
    note(axes, left + 1.5 * step + width / 2, 260, f'sub-net {PATH}'.replace("'", ''), ROUTED, fontsize=9,
         fontweight='bold')
    note(axes, left + 1.5 * step + width / 2, 278, 'learns on its own cluster')
    note(axes, left + 1.5 * step + width / 2, 294, '4 groups, 4 blocks: 256 sub-nets in one training')

    heading(axes, 580, 3, 'Route', 'kNN accuracy on your task')
    arrow(axes, (552, MIDDLE), (578, MIDDLE))
    for place in range(4):
        picture(axes, 590 + place * (TILE + GAP), 68, 'fish', random)
    note(axes, 590 + 4 * (TILE + GAP) + 4, 81, 'your task', ha='left')
    accuracy = [(PATH, 102), ((0, 2, 1, 0), 90), ((3, 2, 1, 3), 83), ((1, 0, 0, 2), 68), ((2, 2, 3, 0), 60),
                ((3, 1, 2, 2), 44)]
    for row, (path, length) in enumerate(accuracy):
        y = 112 + row * 25
        color, weight = (ROUTED, 'bold') if row == 0 else (QUIET, 'normal')
        note(axes, 590, y + 8, ' '.join(map(str, path)), INK if row else ROUTED, ha='left', fontsize=8.5,
             fontweight=weight)
        axes.add_patch(Rectangle((640, y), length, 16, color=ROUTED if row == 0 else LOSS, linewidth=0))
    note(axes, 594, 268, '⋮', INK)
    note(axes, 676, 294, 'the best of 256, nothing is trained')

    heading(axes, 780, 4, 'Use', 'a plain ResNet')
    arrow(axes, (748, 120), (776, 120), ROUTED)
    for block in range(BLOCKS):
        x = 786 + block * 28
        (middle,) = column(axes, x, 20, 86, PATH[block], PATH[block:block + 1])
        if block:
            for y in (115, middle):
                axes.plot([x - 8, x], [y, y], color=SHARED if y == 115 else ROUTED, linewidth=2)
    note(axes, 838, 188, 'backbone.pth', INK, fontweight='bold', fontsize=9)
    for row, name in enumerate(('MMPretrain', 'MMDetection', 'torchvision', 'timm')):
        note(axes, 838, 216 + row * 18, name, INK, fontsize=8.5)
    note(axes, 838, 294, 'load it as it is')


def main() -> None:
    with style():
        figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        axes.set_axis_off()
        draw(axes)
        save_figure(figure, Path(__file__).with_name('idea.png'), overwrite=True, dpi=200)


if __name__ == '__main__':
    main()
