"""Mutated input: a fixed small part of what ``make fuzz`` runs, and the judge that tells faults from clear lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.runner import MARKER, Case, judge
from repository import ROOT


def test_mutated_input_succeeds_or_ends_with_one_clear_line() -> None:
    environment = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests/helpers"}')
    ended = subprocess.run([sys.executable, '-m', 'fuzz', '--cases', '70', '--seed', '1', '--jobs', '1'], cwd=ROOT,
                           env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    assert ended.stdout.splitlines()[-1].split()[0] == 'all'


CLEAR = 'error: sdr.pth cannot be read as a checkpoint: give a file that torch.save wrote\n'


@pytest.mark.parametrize('status, said, made, verdict', [
    (0, '', (), 'fine'),
    (2, CLEAR, (), 'clear'),
    (2, 'usage: route.py [-h]\nroute.py: error: unrecognized arguments: --taskx\n', (), 'clear'),
    (2, CLEAR * 2, (), 'unclear, status 2'),
    (2, CLEAR + 'and more\n', (), 'unclear, status 2'),
    (1, CLEAR, (), 'unclear, status 1'),
    (-9, '', (), 'unclear, status -9'),
    (2, f'Traceback (most recent call last):\n{CLEAR}', (), 'traceback'),
    (0, 'Traceback (most recent call last):\n', (), 'traceback'),
    (None, '', (), 'hangs'),
    (2, CLEAR, ('out', ), 'left behind'),
    (2, CLEAR, ('.out-1234', ), 'left behind'),
    (2, CLEAR, (MARKER, ), 'code ran'),
    (0, '', (MARKER, ), 'code ran'),
])
def test_judge(status: int | None, said: str, made: tuple[str, ...], verdict: str, tmp_path: Path) -> None:
    (tmp_path / 'stderr').write_text(said)
    for name in made:
        (tmp_path / name).mkdir()
    found = judge(Case('checkpoints', 1, 'a test', ['route'], outputs=['out']), tmp_path, status)
    assert found.verdict == verdict
    assert found.fault == (verdict not in ('fine', 'clear'))


def test_a_success_that_should_have_been_an_error_is_a_fault(tmp_path: Path) -> None:
    case = Case('checkpoints', 1, 'a test', ['route'], lambda: False)
    assert judge(case, tmp_path, 0).verdict == 'wrong without a word'
