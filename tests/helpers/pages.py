"""The pages of the repository: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repository import ROOT

PAGES = (*(file for file in sorted(ROOT.glob('*.md')) if file.name != 'CHANGELOG.md'), ROOT / 'projects/README.md',
         ROOT / 'sdr_mm/pretrained/README.md', *sorted((ROOT / 'docs').rglob('*.md')))
"""All that people read, but the list of changes, which has commands of earlier versions."""

FENCE = re.compile(r'^(?P<mark><!-- tested[^>]*-->\n)?'
                   r'(?P<indent> *)```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?[^\n]*\n'
                   r'(?P<text>.*?)^(?P=indent)```$', re.MULTILINE | re.DOTALL)
PROGRAMS = ('bash', 'make', 'mim', 'pip', 'python', 'torchrun')
OPERATORS = ('&&', '||', ';', '|', '>', '<', '>>', '&')


@dataclass(frozen=True)
class Block:
    """A fenced block; ``tested`` if the page marks it as one that tests run, ``title`` if it is a file."""

    page: str
    language: str
    text: str
    tested: bool
    title: str | None


@dataclass(frozen=True)
class Command:
    """One program with its arguments, on a page; ``tested`` as of its block, ``inline`` if it stands in a sentence."""

    page: str
    words: tuple[str, ...]
    tested: bool
    inline: bool = False

    def __str__(self) -> str:
        return f'{self.page}: {shlex.join(self.words)}'


def blocks() -> Iterator[Block]:
    """All fenced blocks of all pages."""
    for page in PAGES:
        for found in FENCE.finditer(page.read_text(encoding='utf-8')):
            indent = len(found['indent'])
            text = ''.join(line[indent:] for line in found['text'].splitlines(keepends=True))
            yield Block(str(page.relative_to(ROOT)), found['language'], text, bool(found['mark']), found['title'])


def inline(page: Path) -> Iterator[str]:
    """Code within sentences and tables that begins with a program and goes on."""
    text = FENCE.sub('', page.read_text(encoding='utf-8'))
    for code in re.findall(r'`([^`]+)`', text):
        words = code.split()
        if len(words) > 1 and words[0].startswith(('tools/', 'benchmarks/')) and '*' not in words[0]:
            words = [*(('python', ) if words[0].endswith('.py') else ('bash', )), *words]
        if len(words) > 1 and words[0] in PROGRAMS:
            yield ' '.join(words)


def commands() -> Iterator[Command]:
    """Every command of every page."""
    for block in blocks():
        if block.language in ('bash', 'console', 'sh', 'shell'):
            yield from (Command(block.page, words, block.tested) for words in simple_commands(block.text))
    for page in PAGES:
        for code in inline(page):
            yield from (Command(str(page.relative_to(ROOT)), words, False, True) for words in simple_commands(code))


def simple_commands(text: str) -> Iterator[tuple[str, ...]]:
    """The commands of a script, one by one; a loop is walked through, and a file that is written is ``> FILE``."""
    loops: list[tuple[str, tuple[str, ...]]] = []
    for line in re.sub(r'\\\n\s*', ' ', text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=';&|<>')
        lexer.commenters, lexer.whitespace_split = '#', True
        for words in split(list(lexer)):
            if words[0] == 'for':
                loops.append((words[1], words[3:]))
            elif words[0] == 'done':
                loops.pop()
            else:
                yield from walk(words[1:] if words[0] == 'do' else words, loops)


def split(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Words between operators, without settings of the environment before them."""
    part: list[str] = []
    for word in [*words, ';']:
        if word not in OPERATORS:
            part.append(word)
            continue
        while part and re.fullmatch(r'[A-Z_]+=\S*', part[0]):
            part.pop(0)
        if word == '>':
            part.append('>')
            continue
        if part:
            yield tuple(part)
        part = []


def walk(words: tuple[str, ...], loops: list[tuple[str, tuple[str, ...]]]) -> Iterator[tuple[str, ...]]:
    """The words with each value of the variables of the loops around them."""
    if not words:
        return
    if not loops:
        yield words
        return
    (name, values), rest = loops[-1], loops[:-1]
    for value in values:
        yield from walk(tuple(word.replace(f'${name}', value) for word in words), rest)
