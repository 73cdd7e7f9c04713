"""MkDocs hook: parts of the reference that are made of the code. A line of a page asks for one:

{{ help tools/train.py }}                  the help of a tool, from its parser
{{ arguments sdr_mm.models.SDRResNet }}    a table of a class's arguments, from its signature and docstring
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from docstrings import to_markdown
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r'^\{\{ (help|arguments) (\S+) \}\}$', re.MULTILINE)


DEFAULT = '\0'
CODE = re.compile(r"""[\w.-]+|'[^']*'|\([^()]*\)|\[[^\[\]]*\]|[\d /]+""")
"""A default that is a value, and no sentence about one."""


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Fills in what a page asks for."""
    return expand(markdown)


def expand(markdown: str) -> str:
    """The text of a page with what its lines ask for in their place."""
    return LINE.sub(lambda line: {'help': tool_help, 'arguments': arguments}[line[1]](line[2]), markdown)


def tool_help(name: str) -> str:
    """What ``--help`` of a program of the repository prints."""
    spec = importlib.util.spec_from_file_location(f'help_of_{Path(name).stem}', ROOT / name)
    if spec is None or spec.loader is None or not (ROOT / name).exists():
        raise PluginError(f'there is no program {name}')
    module = importlib.util.module_from_spec(spec)
    before = sys.argv, dict(os.environ)
    text = io.StringIO()
    try:
        sys.argv = [name, '--help']
        os.environ.update(COLUMNS='100', NO_COLOR='1')
        with redirect_stdout(text):
            spec.loader.exec_module(module)
            module.main()
    except SystemExit as end:
        if end.code:
            raise PluginError(f'{name} --help ended with status {end.code}') from end
    finally:
        sys.argv = before[0]
        os.environ.clear()
        os.environ.update(before[1])
    return f'```console\n{text.getvalue().strip()}\n```'


@cache
def package(name: str) -> griffe.Module:
    """A package as its source says, without importing it."""
    module = griffe.load(name, search_paths=[ROOT], docstring_parser='google')
    assert isinstance(module, griffe.Module)
    return module


def arguments(name: str) -> str:
    """A table of the arguments of a class, its bases' included, or of the attributes of a record."""
    root, _, rest = name.partition('.')
    thing: Any = package(root)[rest]
    thing = thing.final_target if thing.is_alias else thing
    rows: dict[str, list[str]] = {}
    for owner in (thing, *thing.mro()):
        found = described(owner)
        if owner is not thing and found:
            rows.pop('**kwargs', None)
        rows = {**rows, **{key: row for key, row in found.items() if key not in rows}}
    if not rows:
        raise PluginError(f'the docstring of {name} describes no arguments')
    text = ['| argument | type | default | |', '|---|---|---|---|']
    for row in rows.values():
        text.append('| ' + ' | '.join(' '.join(to_markdown(cell).split()) for cell in row) + ' |')
    return '\n'.join(text)


def described(thing: Any) -> dict[str, list[str]]:
    """What the docstring of a class says of each of its arguments: name, type, default and meaning, as Markdown."""
    if thing.docstring is None:
        return {}
    defaults = {parameter.name: parameter.default for parameter in thing.parameters}
    rows = {}
    for section in thing.docstring.parse('google', warnings=False):
        if section.kind not in (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.attributes):
            continue
        for entry in section.value:
            meaning, _, said = re.sub(r'\s*\bDefaults?\s+to\s+', DEFAULT, entry.description).partition(DEFAULT)
            default = said.strip().removesuffix('.') or defaults.get(entry.name) or ''
            if entry.name.endswith('kwargs'):
                default = ''
            if CODE.fullmatch(str(default)):
                default = f'`{default}`'
            rows[entry.name] = [f'`{entry.name}`', f'`{entry.annotation}`' if entry.annotation else '', str(default),
                                meaning]
    return rows
