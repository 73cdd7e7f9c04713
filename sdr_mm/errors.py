"""The one error type for input that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """What a person gave cannot be used.

    The message is one line that names what is wrong, where, and what to do about it. The tools print
    it as it is and exit with status 2; a library caller may catch it as a ``ValueError``.
    """


class NotFiniteError(InputError):
    """Weights or activations are NaN or infinite: a training has diverged."""


class Interrupted(Exception):
    """A run was told to stop and has saved its state; the tools end with :data:`RESUME_STATUS` then."""


RESUME_STATUS = 75
"""Exit status of a run that is not finished and wants to be resumed (``EX_TEMPFAIL`` of ``sysexits.h``)."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Puts ``what`` before the message of an InputError that is raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{what}: {error}') from error
