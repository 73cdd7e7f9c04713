"""What the tools have in common: one line for bad input, and progress bars with the estimated time left."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from tqdm import tqdm

from .errors import InputError
from .files import out_of_space
from .only_weights import only_weights

T = TypeVar('T')


def run(main: Callable[[], None]) -> None:
    """Runs a tool; input that cannot be used ends it with one line on stderr and status 2."""
    try:
        with only_weights():
            main()
    except InputError as error:
        fail(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        fail(out_of_space(error.filename or 'the output'))
    except KeyboardInterrupt:
        say('interrupted')
        sys.exit(130)


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
        return distributed.get_rank() == 0
    return os.environ.get('RANK', '0') == '0'


def progress(iterable: Iterable[T] | None = None, total: int | None = None, desc: str = '') -> tqdm:
    """A progress bar with the estimated time left, on stderr, shown by the main process only."""
    return tqdm(iterable, total=total, desc=desc, disable=not is_main_process(), dynamic_ncols=True, leave=False)
