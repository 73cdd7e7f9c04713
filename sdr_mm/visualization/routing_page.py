"""A ranking as one HTML file that needs nothing else: no network, no server, no script to be read."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from ..datasets.pool import Pool
from ..errors import InputError
from ..evaluation.task import Task
from ..files import atomic_write, check_output
from ..images import ImageSource, read_rgb, resize_and_crop
from ..routing.nearest import IMAGES, MEMBERS, Nearest
from ..routing.ranking import BASELINE_ROW, SUPERNET_ROW, TITLES, RankedNetwork, Ranking, is_percent, score_text
from ..text_table import duration
from ..version import __version__
from .gain_chart import gain_chart, gain_form, gain_text, paired_gain, reference_of
from .gallery import routed_cluster
from .style import signed

TILE, QUALITY = 96, 80
"""Side of a thumbnail in pixels, and its quality as JPEG: some 3 kB each, and at most 20."""

WIDE, NARROW = (800, 330), (360, 300)
"""The chart on a screen and on a phone, in pixels."""

HERE = Path(__file__).parent
# Characters that are no text or turn the direction of it: a name that has them is shown with their codes.
_ODD = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')


@dataclass(frozen=True)
class Thumbnail:
    """A small image: its address, which holds it, and what it is called."""

    address: str
    title: str


@dataclass(frozen=True)
class Gallery:
    """The cluster of a sub-net beside the task.

    Args:
        network (RankedNetwork): The sub-net.
        cluster (int): Number of its cluster.
        size (int): Images in it.
        members (list[Thumbnail]): Those of them that are nearest to the task.
        images (list[Thumbnail]): Images of the task that are nearest to the cluster.
        classes (list[tuple[str, int]]): The classes of these, and how many each has.
    """

    network: RankedNetwork
    cluster: int
    size: int
    members: list[Thumbnail]
    images: list[Thumbnail]
    classes: list[tuple[str, int]]


def shown_clusters(ranking: Ranking, pool: Pool, most: int = 3) -> dict[int, RankedNetwork]:
    """The clusters of the best sub-nets, and these.

    Raises:
        InputError: If the clusters are those of other sub-nets.
    """
    assert pool.clusters is not None
    routed_cluster(ranking, pool.clusters)
    number = {subnet: cluster for cluster, subnet in enumerate(pool.clusters.subnets.tolist())}
    return {number[network.subnet]: network for network in ranking.subnets[:most]}


def make_galleries(ranking: Ranking, pool: Pool, task: Task, nearest: Sequence[Nearest],
                   count: int = 12) -> list[Gallery]:
    """Thumbnails of the images that were found; those that cannot be read any more are passed over."""
    assert pool.clusters is not None
    sizes, networks = pool.clusters.sizes(), shown_clusters(ranking, pool, len(ranking.subnets))
    found = []
    for one in nearest:
        members = [(_name(pool.paths[number]), number) for number in one.members.tolist()]
        images = [(', '.join([*_classes(task, number), _name(task.paths[number])]), number)
                  for number in one.images.tolist()]
        left, right = _thumbnails(pool.paths, members, count), _thumbnails(task.paths, images, count)
        mix = Counter(label for number in right for label in _classes(task, number))
        found.append(Gallery(networks[one.cluster], one.cluster, int(sizes[one.cluster]), list(left.values()),
                             list(right.values()), sorted(mix.items(), key=lambda item: (-item[1], item[0]))))
    return found


def routing_page(ranking: Ranking, file: str | Path, *, command: str, galleries: Sequence[Gallery] | str,
                 overwrite: bool = False) -> None:
    """Writes the page, whole or not at all.

    Args:
        ranking (Ranking): On one task.
        file (str | Path): The HTML file to write.
        command (str): What exports the best sub-net, see :func:`~sdr_mm.routing.export_command.export_command`.
        galleries (Sequence[Gallery] | str): See :func:`make_galleries`, or why there are none, in a sentence.
        overwrite (bool): Whether a file that is there may be replaced. Defaults to False.

    Raises:
        InputError: If the scores are of no order of size that can be shown, the file exists, or the disk is full.
    """
    check_output(file, overwrite)
    page = render(ranking, command, galleries)
    with atomic_write(file, overwrite=overwrite) as temporary:
        temporary.write_bytes(page.encode('utf-8'))


def render(ranking: Ranking, command: str, galleries: Sequence[Gallery] | str) -> str:
    """The page as text. Everything that a file may have said in it is escaped."""
    # All that is inserted is escaped, but for Markup, which is made here.
    environment = Environment(autoescape=True, finalize=_visible, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters['options'] = _with_options
    template = environment.from_string((HERE / 'routing_page.html').read_text('utf-8'))
    style, script = (Markup((HERE / f'routing_page.{kind}').read_text('utf-8')) for kind in ('css', 'js'))
    reference, best, form = reference_of(ranking), ranking.best, gain_form(ranking)
    column = ranking.settings['columns'][0]
    head, lines = ranking.cells(len(ranking.networks), 0)
    left = (1, 2, 3)
    rows = [dict(kind='best' if line[1] == best.name else 'subnet' if line[0] != '–' else 'other',
                 cells=[(re.sub(r'^-(?=\d)', '−', cell), 'text' if at in left else 'number')
                        for at, cell in enumerate(line)]) for line in lines]
    return template.render(
        style=style, script=script, hashes=[_hash(style), _hash(script)], version=__version__, ranking=ranking,
        best=best, score=score_text(best.scores, column), column=TITLES.get(column, column),
        percent=is_percent(column), gains=_gains(ranking, form), sure=_sure(ranking, reference),
        better=_better(ranking, column), reference=reference,
        charts=[] if reference is None else [
            ('wide', gain_chart(ranking, reference, *WIDE)), ('narrow', gain_chart(ranking, reference, *NARROW))],
        above=0 if reference is None else int((ranking.gains(reference.name) > 0).sum()),
        reference_score='' if reference is None else score_text(reference.scores, column),
        head=[(title, 'text' if at in left else 'number') for at, title in enumerate(head)], rows=rows,
        galleries=[] if isinstance(galleries, str) else [
            (one, _gain_of(one.network, reference, form)) for one in galleries],
        missing=galleries if isinstance(galleries, str) else '', looked_at=(MEMBERS, IMAGES),
        duration=duration(ranking.cost.seconds),
        agreement=[(TITLES.get(name, name), *('–' if np.isnan(found[key]) else f'{found[key]:.2f}'
                                              for key in ('spearman', 'kendall', 'regret')))
                   for name, found in ranking.agreement.items()],
        settings=[(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
                  for key, value in ranking.settings.items()], command=command)


def _gain_of(network: RankedNetwork, reference: RankedNetwork | None, form: str) -> str:
    return '' if reference is None or not network.scores else gain_text(paired_gain(network, reference), form)


def _gains(ranking: Ranking, form: str) -> list[tuple[str, str, str]]:
    """What the best sub-net gains over the baseline and the super-net: over what, how much, and its deviation."""
    found = []
    for name in (BASELINE_ROW, SUPERNET_ROW):
        reference = ranking.network(name)
        if reference is not None and reference.scores and ranking.best.scores:
            gain = paired_gain(ranking.best, reference)
            found.append((name, signed(gain.mean, form), '' if gain.spread is None else f'± {gain.spread:{form}}'))
    return found


def _sure(ranking: Ranking, reference: RankedNetwork | None) -> list[str]:
    """How sure the choice is, in sentences."""
    s, form, unit = ranking.settings, gain_form(ranking), ranking.unit
    best = ranking.best
    if not best.scores:
        return []
    if s['splits'] < 2:
        chance = ''
        if s.get('metric') == 'accuracy' and unit == 'points' and s['held_out'] > 0:
            error = np.sqrt(best.score * (100 - best.score) / s['held_out']) if 0 <= best.score <= 100 else 0.0
            chance = f': by the number of its {s["held_out"]:,} held-out images alone a score is known to ± {error:.1f}'
        return [f'There is one split, so no error bar{chance}.']
    sentences = []
    if reference is not None:
        gain = paired_gain(best, reference)
        sentences.append(f'It is above the {reference.name} on {gain.wins} of {gain.splits} splits.')
    if len(ranking.scored) > 1:
        second = ranking.scored[1]
        gain = paired_gain(best, second)
        sentences.append(f'The next one, {second.name}, is behind it by {gain_text(gain, form).lstrip("+")} {unit} on '
                         f'average, and on {gain.wins} of {gain.splits} splits.')
    return [*sentences, '± is the standard deviation over the splits.']


def _better(ranking: Ranking, column: str) -> str:
    """The network of another kind that scores higher than every sub-net, with its score; or nothing."""
    others = [one for one in ranking.networks if one.subnet is None and one.scores and ranking.best.scores
              and one.score > ranking.best.score]
    best = max(others, key=lambda one: one.score, default=None)
    return '' if best is None else (
        f'{best.name} scores higher than every sub-net: {score_text(best.scores, column)}.')


def _name(source: ImageSource) -> str:
    return 'image' if isinstance(source, np.ndarray) else Path(source).name


def _classes(task: Task, number: int) -> list[str]:
    if not task.classes:
        return []
    labels = np.flatnonzero(task.labels[number]).tolist() if task.multi_label else [int(task.labels[number])]
    return [task.classes[label] for label in labels]


def _thumbnails(sources: Sequence[ImageSource], named: Sequence[tuple[str, int]], count: int) -> dict[int, Thumbnail]:
    """The first ``count`` of images that can be decoded, by their numbers."""
    found: dict[int, Thumbnail] = {}
    for title, number in named:
        if len(found) == count:
            break
        source = sources[number]
        try:
            image = resize_and_crop(source if isinstance(source, np.ndarray) else read_rgb(source), TILE, TILE)
        except InputError:
            continue
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, 'JPEG', quality=QUALITY, optimize=True)
        found[number] = Thumbnail('data:image/jpeg;base64,' + base64.b64encode(stream.getvalue()).decode(), title)
    return found


def _visible(value: Any) -> Any:
    """What stands in the page for a value: text with the codes of characters that are none."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _ODD.sub(lambda found: found[0].encode('unicode_escape').decode(), value)


def _with_options(text: str) -> Markup:
    """A sentence in which the options of tools, such as ``--bn-reset``, are set off and not broken."""
    return Markup(re.sub('--[a-z]+(-[a-z]+)*', r'<code>\g<0></code>', str(escape(_visible(text)))))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
