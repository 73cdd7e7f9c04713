"""Whether detectors can be built in this environment."""

from __future__ import annotations

from ..errors import InputError


def require_mmdet() -> None:
    """Imports mmcv's operators and MMDetection.

    Raises:
        InputError: If one of them is missing, or the operators were compiled for another version of torch.
    """
    advice = "set up the full environment, 'make .venv-full/.installed', and use its python"
    try:
        import mmcv.ops  # noqa: F401
    except ImportError as error:
        raise InputError(f"detection needs mmcv with its compiled operators, which this environment lacks ({error}): "
                         f'{advice}') from error
    try:
        import mmdet.models  # noqa: F401
    except ImportError as error:
        raise InputError(f'detection needs MMDetection, which this environment lacks ({error}): {advice}') from error
