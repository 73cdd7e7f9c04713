"""The one error type for input that cannot be used."""


class InputError(ValueError):
    """What a person gave cannot be used.

    The message is one line that names what is wrong, where, and what to do about it. The tools print
    it as it is and exit with status 2; a library caller may catch it as a ``ValueError``.
    """


class NotFiniteError(InputError):
    """Weights or activations are NaN or infinite: a training has diverged."""
