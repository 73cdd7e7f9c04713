"""Tables as plain text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows)]


def _aligned(row: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> list[str]:
    return [cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))]


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0, )) -> str:
    """Columns side by side under a rule.

    Args:
        head (Sequence[str]): Titles of the columns.
        rows (Sequence[Sequence[str]]): As many cells each.
        left (Sequence[int]): Columns that are aligned at the left. Defaults to the first one.
    """
    widths = _widths([head, *rows])
    lines = ['  '.join(_aligned(row, widths, left)).rstrip() for row in (head, *rows)]
    return '\n'.join([lines[0], '  '.join('─' * width for width in widths), *lines[1:]])


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0, )) -> str:
    """The same in Markdown; columns that are not at the left are aligned at the right."""
    widths = [max(3, width) for width in _widths([head, *rows])]
    lines = [f'| {" | ".join(_aligned(row, widths, left))} |' for row in (head, *rows)]
    rules = [f'{"-" * (width + 1)}{"-" if column in left else ":"}' for column, width in enumerate(widths)]
    return '\n'.join([lines[0], f'|{"|".join(rules)}|', *lines[1:]])


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0, )) -> str:
    """The same in HTML, without a style of its own."""
    def line(tag: str, cells: Sequence[str]) -> str:
        return '<tr>' + ''.join(f'<{tag} style="text-align: {"left" if column in left else "right"}">{escape(cell)}'
                                f'</{tag}>' for column, cell in enumerate(cells)) + '</tr>'

    return '\n'.join(['<table>', f'<thead>{line("th", head)}</thead>', '<tbody>', *(line('td', row) for row in rows),
                      '</tbody>', '</table>'])


def duration(seconds: float) -> str:
    """Seconds as people say them: ``'48 s'``, ``'3 min 20 s'``, ``'2 h 5 min'``."""
    if seconds < 60:
        return f'{seconds:.0f} s' if seconds >= 10 else f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest} s'
    return f'{minutes // 60} h {minutes % 60} min'
