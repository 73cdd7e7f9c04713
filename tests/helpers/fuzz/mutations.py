"""What can happen to bytes, to the values of a JSON file and to arrays."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Random = np.random.Generator

ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 4.7, 1e308, float('nan'), float('inf'), 10**30, '', 'x', '../../etc/passwd', '\x00', '\udcff',
    'é', [], {}, [[]], [None], ['1', 2], {'type': 'os.system'}, 'a' * 10_000)
"""Values of the wrong type, out of range or of an odd spelling."""

ODD_WORDS = (
    '-1', '0', '1', '4.7', 'nan', 'inf', '-inf', '', ' ', 'x', 'None', '../..', '/dev/null', '/dev/full',
    '/proc/self/mem', '/nowhere/at/all', 'a' * 300, '\udcff', 'é', '--help-', '[1,2', "{'a':", '=', 'http://127.0.0.1:9/x.pth')
"""The same as words of a command line."""


class Payload:
    """Makes the folder ``marker`` when a pickle of it is read carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (self.marker, )


def harm(content: bytes, random: Random) -> tuple[bytes, str]:
    """Damages a file as a broken disk, a cut transfer or a wrong tool does; gives what was done, too."""
    data = bytearray(content)
    place, length = int(random.integers(len(data))), int(random.integers(1, 65))
    kind = random.choice(['flip', 'zero', 'cut', 'insert', 'remove', 'repeat', 'noise', 'head', 'mode'])
    if kind == 'flip':
        data[place] ^= 1 << int(random.integers(8))
    elif kind == 'zero':
        data[place:place + length] = bytes(len(data[place:place + length]))
    elif kind == 'cut':
        del data[place:]
    elif kind == 'insert':
        data[place:place] = random.bytes(length)
    elif kind == 'remove':
        del data[place:place + length]
    elif kind == 'repeat':
        data += data[place:]
    elif kind == 'noise':
        data[place:place + length] = random.bytes(len(data[place:place + length]))
    elif kind == 'head':
        place = int(random.integers(min(64, len(data))))
        data[place] = int(random.integers(256))
    else:  # written in text mode
        data = bytearray(bytes(data).replace(b'\n', b'\r\n'))
    return bytes(data), f'{kind} at byte {place} of {len(content)}'


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


def change_tree(tree: Any, random: Random, odd: tuple[Any, ...] = ODD_VALUES) -> tuple[Any, str]:
    """Changes, removes or renames one value in nested dicts and lists."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    *parents, last = places[int(random.integers(len(places)))]
    holder = tree
    for key in parents:
        holder = holder[key]
    name = '.'.join(map(str, (*parents, last)))
    kind = random.choice(['value', 'value', 'value', 'remove', 'rename', 'more'])
    if kind == 'remove':
        del holder[last]
    elif kind == 'rename' and isinstance(holder, dict):
        holder[f'{last}_'] = holder.pop(last)
    elif kind == 'more' and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    else:
        value = odd[int(random.integers(len(odd)))]
        holder[last] = value
        return tree, f'{name} = {str(value)[:40]!r}'
    return tree, f'{kind} {name}'


def change_array(array: np.ndarray, random: Random) -> tuple[np.ndarray, str]:
    """Changes shape, type or values of an array."""
    kind = random.choice(['type', 'shorter', 'longer', 'empty', 'flat', 'deeper', 'value', 'object', 'columns'])
    if kind == 'type':
        to = random.choice(['float64', 'float16', 'int8', 'uint64', 'bool', 'complex64', 'U4', 'S3', 'M8[s]'])
        try:
            with np.errstate(all='ignore'):
                return array.astype(to), f'type {to}'
        except ValueError:  # Text is no number.
            return np.array(0), 'a number in place of text'
    if kind == 'shorter':
        return array[:-1] if array.ndim else np.array(-1), kind
    if kind == 'longer':
        return (np.concatenate([array, array[:1]]) if array.ndim else np.array([array, array])), kind
    if kind == 'empty':
        return array[:0] if array.ndim else np.empty(0), kind
    if kind == 'flat':
        return array.reshape(-1), kind
    if kind == 'deeper':
        return array[None], kind
    if kind == 'columns':
        return array[:, :0] if array.ndim == 2 else array, kind
    if kind == 'object':
        return np.array([None, {}], dtype=object), kind
    odd = random.choice([-1, -(2**40), 2**40, 255]) if array.dtype.kind in 'iu' else random.choice(
        [np.nan, np.inf, -1e30])
    changed = array.copy()
    if changed.dtype.kind not in 'iuf':
        return changed, 'nothing'
    with np.errstate(all='ignore'):
        changed.reshape(-1)[int(random.integers(max(1, changed.size)))] = np.array(odd).astype(changed.dtype)
    return changed, f'a value {odd}'
