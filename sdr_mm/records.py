"""Records that are kept as JSON: read strictly, and checked against the type hints of what they become."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from .errors import InputError
from .files import decode

T = TypeVar('T')


def read_json(file: str | Path, advice: str) -> Any:
    """What a JSON file holds. NaN and infinity, which JSON does not have, are None.

    Args:
        file (str | Path): In UTF-8, or in UTF-16 with its byte order mark.
        advice (str): What to do about another file, for messages.

    Raises:
        InputError: If there is no such file, or it is no JSON, or names an entry twice.
    """
    return _read(file, _parse, advice)


def read_json_lines(file: str | Path, advice: str) -> list[Any]:
    """What each line of a log holds, as :func:`read_json`; a last one that has no end was not written to its end.

    Raises:
        InputError: If there is no such file, or another line is no JSON, or names an entry twice.
    """
    return _read(file, lambda text: [_parse(line) for line in text.split('\n')[:-1]], advice)


def _read(file: str | Path, parse: Callable[[str], T], advice: str) -> T:
    if not Path(file).is_file():
        raise InputError(f'there is no file {file}: {advice}')
    try:
        return parse(decode(Path(file).read_bytes()))
    except RecursionError as error:
        raise InputError(f'{file} cannot be read as JSON (it is nested too deeply): {advice}') from error
    except OSError as error:
        raise InputError(f'{file} cannot be read ({error.strerror or error}): {advice}') from error
    except ValueError as error:
        reason = ' '.join(str(error).split())
        raise InputError(f'{file} cannot be read as JSON ({reason}): {advice}') from error


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_entries, parse_constant=lambda _: None)


def _entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'it has {_short(next(name for name in names if names.count(name) > 1))} twice')
    return entries


def check(value: Any, hint: Any, name: str) -> None:
    """Checks a value from JSON: numbers are finite, and no whole number is a bool.

    Args:
        value (Any): As :func:`read_json` gives it.
        hint (Any): ``str``, ``int``, ``float``, ``bool``, ``None``, ``list[…]``, ``dict[…, …]``, a TypedDict, which may
            have more entries than it names, a union of such, or ``Any``.
        name (str): What messages call it.

    Raises:
        ValueError: If it is something else, naming the first part that is.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if origin in (Union, UnionType):
        # A part of a container is named, if the value is meant to be that container.
        meant = [part for part in parts if type(value) is (get_origin(part) or part)] or parts
        if len(meant) == 1:
            check(value, meant[0], name)
        elif not any(_fits(value, part) for part in meant):
            raise ValueError(f'{name} is {_short(value)}, not {" or ".join(map(_kind, parts))}')
    elif is_typeddict(hint):
        check(value, dict[str, Any], name)
        for key, part in get_type_hints(hint).items():
            if key in value:
                check(value[key], part, f'{name}.{key}')
            elif key in hint.__required_keys__:
                raise ValueError(f'{name} has no {key}')
    elif not _fits(value, origin or hint):
        raise ValueError(f'{name} is {_short(value)}, not {_kind(hint)}')
    elif origin is list:
        for number, item in enumerate(value):
            check(item, parts[0], f'{name}[{number}]')
    elif origin is dict:
        for key, item in value.items():
            check(key, parts[0], f'a name in {name}')
            check(item, parts[1], f'{name}.{key}' if len(str(key)) < 40 else f'an entry of {name}')


def _fits(value: Any, kind: Any) -> bool:
    if kind in (None, type(None)):
        return value is None
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _kind(hint: Any) -> str:
    names = {str: 'text', int: 'a whole number', float: 'a finite number', bool: 'true or false', type(None): 'null',
             list: 'a list', dict: 'a record'}
    return names.get(get_origin(hint) or hint, str(hint))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f'{text[:36]} …'


def build(kind: type[T], content: Any, name: str, leave_out: Sequence[str] = ()) -> T:
    """Makes a dataclass of a JSON object that has its fields and no others, of the types that it hints at.

    Args:
        kind (type): The dataclass.
        content (Any): As :func:`read_json` gives it.
        name (str): What messages call it.
        leave_out (Sequence[str]): Fields that are no part of the file.

    Raises:
        ValueError: If an entry is missing, unknown or of another type.
    """
    check(content, dict[str, Any], name)
    hints = get_type_hints(kind)
    known = [item for item in fields(kind) if item.name not in leave_out]  # type: ignore[arg-type]
    if strange := sorted(set(content) - {item.name for item in known}):
        raise ValueError(f'{name} has the unknown entry {_short(strange[0])}')
    for item in known:
        if item.name in content:
            check(content[item.name], hints[item.name], f'{name}.{item.name}')
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f'{name} has no {item.name}')
    return kind(**content)
