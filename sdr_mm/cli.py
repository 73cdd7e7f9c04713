"""What the tools have in common: output that loses no work, one line for bad input, and progress bars."""

from __future__ import annotations

import atexit
import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from .errors import RESUME_STATUS, InputError, Interrupted
from .files import out_of_space
from .only_weights import only_weights

T = TypeVar('T')


PLAIN = str.maketrans({'…': '...', '─': '-', '–': '-', '−': '-', '×': 'x', '±': '+-', '·': '|'})
"""What a terminal shows that does not know these characters."""


def run(main: Callable[[], None]) -> None:
    """Runs a tool as :func:`run_tool` does, and ends a process of several at once."""
    try:
        run_tool(main)
    except SystemExit as end:
        end_rank(end.code if isinstance(end.code, int) else 1)
        raise
    end_rank(0)


def end_rank(status: int) -> None:
    """Ends a process that a launcher started as one of several, without taking Python down.

    A worker of Gloo drops the tensor of a finished collective, which takes Python's lock, and on a busy machine it may
    wait for the lock when Python goes down. Until Python 3.14 it is unwound then, through C++ that does not allow it:
    "terminate called without an active exception", and a job that was finished counts as failed. Leaving the group does
    not wait for the worker as long as anything, such as DDP, still holds the group. What was registered with ``atexit``
    is done first.
    """
    if 'WORLD_SIZE' in os.environ and 'torch.distributed' in sys.modules:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def run_tool(main: Callable[[], None]) -> None:
    """Runs a tool; input that cannot be used ends it with one line on stderr and status 2.

    What it prints never ends it: characters that the terminal does not know are written in others, and where nobody
    reads any more, as behind ``| head``, it goes on in silence. Output that is lost for another reason, such as a full
    disk, is said at the end.

    A run that was told to stop, and saved its state, ends with status 75.
    """
    # None, where a shell has closed them; much that prints does not expect that.
    sys.stdout, sys.stderr = (stream or open(os.devnull, 'w', errors='replace') for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    outputs = [Output(stream) for stream in (sys.stdout, sys.stderr) if stream in (sys.__stdout__, sys.__stderr__)
               and isinstance(stream, io.TextIOWrapper)]
    try:
        with only_weights():
            main()
        for output in outputs:
            output.check()
    except InputError as error:
        fail(error)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            fail(out_of_space(error.filename or 'the output'))
        where = ' and '.join(str(name) for name in (error.filename, error.filename2) if name is not None)
        fail(InputError(f'{where or "the system"}: {error.strerror or error}'))
    except Interrupted as stop:
        if is_main_process():
            say(str(stop))
        # torchrun does not pass on the status of its processes; tools/dist_train.sh reads it here.
        if file := os.environ.get('SDR_MM_STATUS_FILE'):
            Path(file).write_text(f'{RESUME_STATUS}\n', encoding='utf-8')
        sys.exit(RESUME_STATUS)
    except KeyboardInterrupt:
        say('interrupted')
        sys.exit(130)


class Output(io.FileIO):
    """Stands behind ``sys.stdout`` or ``sys.stderr`` and never raises; what went wrong is told by :meth:`check`."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        stream.flush()
        super().__init__(stream.fileno(), 'w', closefd=False)
        self.error: OSError | None = None
        text = io.TextIOWrapper(io.BufferedWriter(self), stream.encoding, 'sdr_mm.plain',
                                line_buffering=stream.line_buffering, write_through=stream.write_through)
        setattr(sys, 'stdout' if stream is sys.stdout else 'stderr', text)
        self.text = text

    def write(self, data: Any) -> int:
        """Writes, or passes over what cannot be written."""
        try:
            return super().write(data) or 0
        except OSError as error:
            self.error = self.error or error
            return len(data)

    def check(self) -> None:
        """Raises the OSError for which output was lost, unless nobody reads it any more."""
        self.text.flush()
        if self.error is not None and not isinstance(self.error, BrokenPipeError):
            raise self.error


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """How characters are written that the encoding of the terminal lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start:error.end]
    plain = lost.translate(PLAIN)
    return codecs.backslashreplace_errors(error) if plain == lost else (
        plain.encode('ascii', 'backslashreplace').decode(), error.end)


codecs.register_error('sdr_mm.plain', _plain)


def fail(error: InputError) -> None:
    """Prints the error as one line and exits with status 2.

    An error from a loader's worker arrives with the worker's traceback around it; its last line is
    the error itself.
    """
    line = str(error).strip().splitlines()[-1]
    say(f'error: {line.removeprefix("sdr_mm.errors.InputError: ")}')
    sys.exit(2)


def say(line: str) -> None:
    """Prints a line on stderr; a progress bar that is still open leaves its line to it."""
    tqdm.write(line, file=sys.stderr)


def is_main_process() -> bool:
    """Whether this is the process that speaks: the first one, also before a process group is joined."""
    distributed = sys.modules.get('torch.distributed')
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return os.environ.get('RANK', '0') == '0'


def progress(iterable: Iterable[T] | None = None, total: int | None = None, desc: str = '') -> tqdm:
    """A progress bar with the estimated time left, on stderr, shown by the main process only."""
    return tqdm(iterable, total=total, desc=desc, disable=not is_main_process(), dynamic_ncols=True, leave=False)
