"""What all tools do with input that cannot be used."""

from __future__ import annotations

import re

import pytest

from sdr_mm.cli import progress, run
from sdr_mm.errors import InputError


@pytest.mark.parametrize('error, status, line', [
    (InputError('bad input: give good input'), 2, 'error: bad input: give good input'),
    (KeyboardInterrupt(), 130, 'interrupted'),
])
def test_an_error_has_a_line_of_its_own_even_beside_an_open_bar(error, status, line, capsys):
    with progress(range(3), desc='work') as bar, pytest.raises(SystemExit) as ended:
        def main() -> None:
            bar.update()
            raise error

        run(main)
    shown = capsys.readouterr().err
    assert ended.value.code == status
    assert 'work' in shown and line in re.split(r'[\r\n]', shown)


def test_only_the_last_line_of_a_workers_traceback_is_shown(capsys):
    def main() -> None:
        raise InputError('Caught InputError in DataLoader worker process 0.\n  File "x.py"\n'
                         'sdr_mm.errors.InputError: image a.png cannot be decoded: remove it')

    with pytest.raises(SystemExit):
        run(main)
    assert capsys.readouterr().err == 'error: image a.png cannot be decoded: remove it\n'
