"""Docstrings as Markdown: roles of reStructuredText become code, with a link where there is something to link to."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from griffe import Extension, Module

API = Path(__file__).resolve().parents[1] / 'reference' / 'api'
SAID = re.compile(r"\s+Defaults\s+to\s+(None|True|False|'[^']*'|-?[\d.]*\d|\([^()]*\))\.$", re.MULTILINE)
"""What the page says already, from the signature."""
ROLE = re.compile(r':(?:class|func|meth|mod|data|attr):`~?([^`]+)`')


@cache
def documented() -> tuple[str, ...]:
    """The names that have an entry in the API reference."""
    return tuple(name for page in sorted(API.glob('*.md'))
                 for name in re.findall(r'^::: (\S+)', page.read_text(encoding='utf-8'), re.MULTILINE))


def link(name: str) -> str:
    """A name as code, linked if the reference has exactly one such entry."""
    last = name.split('.')[-1]
    found = [entry for entry in documented() if entry.split('.')[-1] == last]
    return f'[`{last}`][{found[0]}]' if len(found) == 1 else f'`{last if name.startswith("sdr_mm.") else name}`'


def to_markdown(text: str) -> str:
    """A docstring, or a part of one, as Markdown."""
    text = ROLE.sub(lambda role: link(role[1]), text)
    text = re.sub(r'``(.+?)``', r'`\1`', text, flags=re.DOTALL)
    return re.sub(r'(?m)^::$', '', re.sub(r'(?m)(?<=\S)::$', ':', text))


class Docstrings(Extension):
    """Translates the docstrings of a package once it is loaded."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        self._translate(pkg)

    def _translate(self, thing: Any) -> None:
        if thing.docstring is not None:
            thing.docstring.value = to_markdown(SAID.sub('', thing.docstring.value))
        for member in thing.members.values():
            if not member.is_alias:
                self._translate(member)
