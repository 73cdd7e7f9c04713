"""JSON from files: what is no JSON, or not what it should be, is one line."""

import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest

from sdr_mm.errors import InputError
from sdr_mm.records import build, check, read_json, read_json_lines


@pytest.mark.parametrize('content, message', [
    (b'', 'Expecting value'),
    (b'{"a": 1', 'delimiter'),
    (b'{"a": 1, "b": 2, "a": 3}', 'it has "a" twice'),
    (b'{"b": {"a": 1, "a": 1}}', 'it has "a" twice'),
    (b'[' * 100_000, 'nested too deeply'),
    (b'{"a":' * 100_000, 'nested too deeply'),
    (b'1' * 5000, 'digit'),
    (b'"\xff"', "can't decode"),
    (b'"\x00"', 'control character'),
    ('{}'.encode('utf-16-le'), 'Expecting'),
    (b'\xff\xfe{', 'truncated data'),
])
def test_what_is_no_json_is_one_line(content, message, tmp_path):
    file = tmp_path / 'a.json'
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_json(file, 'give another file')
    assert str(error.value).startswith(f'{file} cannot be read as JSON (') and '\n' not in str(error.value)
    assert str(error.value).endswith('): give another file')


def test_a_file_that_is_not_there_or_is_a_folder_is_one_line(tmp_path):
    for file in (tmp_path / 'none.json', tmp_path):
        with pytest.raises(InputError, match=f'^there is no file {file}: give another$'):
            read_json(file, 'give another')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_a_byte_order_mark_is_skipped(encoding, tmp_path):
    value = {'größe': [1, 2.5, None, True, 'ж']}
    (tmp_path / 'a.json').write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))
    assert read_json(tmp_path / 'a.json', '') == value


def test_numbers_that_json_does_not_have_are_none(tmp_path):
    (tmp_path / 'a.json').write_text('[NaN, Infinity, -Infinity, 1.5]')
    assert read_json(tmp_path / 'a.json', '') == [None, None, None, 1.5]


class Person(TypedDict):
    name: str
    age: int


@dataclass
class Trip:
    where: str
    people: list[Person]
    costs: dict[str, float | None] = field(default_factory=dict)
    note: Any = None
    cache: int = 0


TRIP = {'where': 'Ulm', 'people': [{'name': 'Ann', 'age': 4, 'more': 'x'}], 'costs': {'bus': 3, 'tea': None}}


def test_a_record_becomes_a_dataclass():
    assert build(Trip, TRIP, 'it', leave_out=('cache', )) == Trip(**TRIP)


@pytest.mark.parametrize('change, message', [
    ({'where': 3}, 'it.where is 3, not text'),
    ({'where': ...}, 'it has no where'),
    ({'cache': 3}, 'it has the unknown entry "cache"'),
    ({'people': [{'name': 'Ann'}]}, r'it.people\[0\] has no age'),
    ({'people': [TRIP['people'][0], {'name': 'Ann', 'age': True}]}, r'it.people\[1\].age is true, not a whole number'),
    ({'people': [{'name': 'Ann', 'age': 4.0}]}, r'it.people\[0\].age is 4.0, not a whole number'),
    ({'people': {}}, 'it.people is {}, not a list'),
    ({'costs': {'bus': '3'}}, 'it.costs.bus is "3", not a finite number or null'),
    ({'costs': {'bus': float('inf')}}, 'it.costs.bus is Infinity, not a finite number'),
    ({'costs': {'bus': 10**400}}, 'it.costs.bus is 1000.* …, not a finite number'),
    ({'costs': [1]}, r'it.costs is \[1\], not a record'),
])
def test_what_does_not_fit_is_named(change, message):
    content = {key: value for key, value in {**TRIP, **change}.items() if value is not ...}
    with pytest.raises(ValueError, match=f'^{message}'):
        build(Trip, content, 'it', leave_out=('cache', ))


def test_a_part_of_one_of_several_kinds_is_named():
    check([1], list[int] | None, 'it')
    check(None, list[int] | None, 'it')
    with pytest.raises(ValueError, match=r'^it\[0\] is "a", not a whole number'):
        check(['a'], list[int] | None, 'it')
    with pytest.raises(ValueError, match='^it is "a", not a list or null'):
        check('a', list[int] | None, 'it')


def test_a_log_is_read_line_by_line_but_for_a_last_one_that_was_cut_off(tmp_path):
    file = tmp_path / 'log.json'
    file.write_text('{"a": 1}\n{"a": NaN}\n{"a": 3')
    assert read_json_lines(file, 'give another') == [{'a': 1}, {'a': None}]
    for text in ('{"a": 1\n{"a": 2}\n', '{"a": 1}\n\n', '{"a": 1, "a": 2}\n', f'{"[" * 100_000}\n'):
        file.write_text(text)
        with pytest.raises(InputError, match=r'^\S+ cannot be read as JSON \(.*\): give another$'):
            read_json_lines(file, 'give another')
    with pytest.raises(InputError, match='there is no file'):
        read_json_lines(tmp_path / 'none.json', 'give another')
