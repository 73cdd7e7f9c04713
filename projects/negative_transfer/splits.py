"""Recomputes the two splits of ImageNet's classes into A and B from WordNet 3.0 and compares them with the files here.

    python -m projects.negative_transfer.splits                                       fetches WordNet, 10.6 MB
    python -m projects.negative_transfer.splits --wordnet /usr/share/wordnet --out work_dirs/splits
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from sdr_mm.arguments import Parser
from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.files import atomic_write, check_output
from sdr_mm.records import check, read_json

from .wordnet import ADVICE, WordNet, read_wordnet

FOLDER = Path(__file__).parent
STRICT, DEPTH5 = 'strict_522_478', 'depth5_520_480'
SPLITS = (STRICT, DEPTH5)
ARTIFACT = 'n00021939'

Split = dict[str, str]
"""``'A'`` or ``'B'`` by the synset id of a class, in the order of the ids."""


def read_split(name: str) -> Split:
    """One of the :data:`SPLITS` as it ships.

    Raises:
        InputError: If the file is damaged.
    """
    file = FOLDER / f'{name}.json'
    advice = 'take the file of the repository'
    split: Split = read_json(file, advice)
    try:
        check(split, Split, 'the split')
    except ValueError as error:
        raise InputError(f'{file} is no split ({error}): {advice}') from error
    if not (split and all(re.fullmatch(r'n\d{8}', synset) for synset in split) and set(split.values()) == {'A', 'B'}):
        raise InputError(f'{file} does not say A or B of synset ids: {advice}')
    return split


def make_split(classes: Collection[str], part_a: Collection[str]) -> Split:
    """A split whose A is ``part_a``."""
    return {synset: 'A' if synset in part_a else 'B' for synset in sorted(classes)}


def below(wordnet: WordNet, classes: Collection[str], ancestor: str = ARTIFACT) -> set[str]:
    """The classes that have an ancestor, or are it."""
    return {synset for synset in classes if ancestor in wordnet.above(synset)}


def ancestor_groups(wordnet: WordNet, classes: Collection[str], depth: int) -> dict[str, set[str]]:
    """The classes by their ancestor at a depth on one path (:meth:`WordNet.path`), the largest group first."""
    groups: dict[str, set[str]] = {}
    for synset in sorted(classes):
        groups.setdefault(wordnet.path(synset)[:depth + 1][-1], set()).add(synset)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def linked_groups(wordnet: WordNet, classes: Collection[str], depth: int) -> list[set[str]]:
    """Groups of classes such that any two that share an ancestor of this depth are in one, the largest first.

    The depth of an ancestor is that of its shortest way to the top. A class with several such ancestors ties their
    groups together.
    """
    sharing: dict[str, set[str]] = {}
    for synset in sorted(classes):
        for ancestor in wordnet.above(synset):
            if wordnet.depths[ancestor] == depth:
                sharing.setdefault(ancestor, set()).add(synset)
    groups = [{synset} for synset in sorted(classes)]
    for members in sharing.values():
        tied = [group for group in groups if group & members]
        groups = [group for group in groups if not group & members] + [set().union(*tied)]
    return sorted(groups, key=len, reverse=True)


def sizes(groups: Collection[Collection[str]]) -> str:
    """How many groups of which size, as ``520, 410, 2 × 2``."""
    counts = Counter(map(len, groups))
    return ', '.join(f'{count} × {size}' if count > 1 else str(size) for size, count in sorted(counts.items())[::-1])


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('--wordnet', metavar='FOLDER', help='holds data.noun of WordNet 3.0 (default: it is fetched)')
    parser.add_argument('--out', metavar='FOLDER', help='where to write both splits (default: only compare them)')
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there')
    args = parser.parse_args(argv)
    files = {name: Path(args.out) / f'{name}.json' for name in SPLITS if args.out is not None}
    for file in files.values():
        check_output(file, args.overwrite)
    shipped = {name: read_split(name) for name in SPLITS}
    classes = list(shipped[STRICT])
    wordnet = read_wordnet(args.wordnet)
    missing = [synset for synset in (*classes, ARTIFACT) if synset not in wordnet.words]
    if missing:
        raise InputError(f'this WordNet lacks {len(missing)} of the synsets of ImageNet, such as {missing[0]}, so it '
                         f'is not version 3.0: {ADVICE}')

    def named(synset: str) -> str:
        return f'{wordnet.words[synset]} ({synset})'

    linked = linked_groups(wordnet, classes, 5)
    splits = {STRICT: make_split(classes, below(wordnet, classes)), DEPTH5: make_split(classes, linked[0])}
    by_ancestor = ancestor_groups(wordnet, classes, 4)
    rules = {STRICT: ['A is what stands below artifact. By the ancestor at depth 4, along one path:',
                      ', '.join(f'{named(ancestor)} {len(group)}' for ancestor, group in by_ancestor.items())],
             DEPTH5: ['A is the largest group of classes that are linked by ancestors of depth 5:', sizes(linked)]}
    for name, split in splits.items():
        counts = Counter(split.values())
        equal = 'equals' if split == shipped[name] else 'differs from'
        print(f'{name}: {counts["A"]} in A, {counts["B"]} in B; {equal} the file that ships')
        print(*(f'    {line}' for line in rules[name]), sep='\n')
    moved = [named(synset) for synset in classes if splits[STRICT][synset] != splits[DEPTH5][synset]]
    print(f'in different parts of the two: {", ".join(moved) or "none"}')
    print(f'linked by all ancestors of depth 4: {sizes(linked_groups(wordnet, classes, 4))}')
    for name, file in files.items():
        with atomic_write(file, args.overwrite) as temporary:
            temporary.write_text(json.dumps(splits[name], indent=0), encoding='utf-8')
        print(f'written to {file}')
    if splits != shipped:
        raise InputError(f'a split differs from the file that ships, so this WordNet is not version 3.0: {ADVICE}')


if __name__ == '__main__':
    run(main)
