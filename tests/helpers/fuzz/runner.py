"""Runs cases in forks of a process that has everything imported, so that a case costs milliseconds."""

from __future__ import annotations

import os
import resource
import runpy
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository import ROOT
from tqdm import tqdm

SECONDS = 60
"""After which a case counts as hanging."""

MEMORY = 3 * 2**30
"""Bytes that a case may take beside what its parent has."""

MARKER = 'it_ran'
"""Folder of a case in which a payload leaves a trace."""


@dataclass(frozen=True)
class Case:
    """A tool and what it is given.

    Args:
        kind (str): What was mutated.
        number (int): Of the case in its kind.
        what (str): What was done.
        argv (list[str]): The tool and its arguments; or a function and nothing else.
        good (Callable, optional): Tells whether a success is right. Defaults to None: any is.
        outputs (list[str]): What must not be there after a refusal, in the folder of the case. Defaults to none.
        done (int): The status of success. Defaults to 0.
    """

    kind: str
    number: int
    what: str
    argv: list[str] | Callable[[], Any]
    good: Callable[[], bool] | None = None
    outputs: list[str] = field(default_factory=list)
    done: int = 0


@dataclass(frozen=True)
class Verdict:
    """How a case ended: ``fine``, ``clear``, or a fault."""

    case: Case
    verdict: str
    text: str  # The end of what it said on stderr.

    @property
    def fault(self) -> bool:
        """Whether it is one."""
        return self.verdict not in ('fine', 'clear')


def warm_up() -> None:
    """Imports what the tools need, in one thread, so that a fork has it."""
    import faiss  # noqa: F401
    import mmengine.runner  # noqa: F401
    import mmpretrain.models  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import timm  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    import sdr_mm.clustering
    import sdr_mm.engine
    import sdr_mm.evaluation
    import sdr_mm.export
    import sdr_mm.models.zoo
    import sdr_mm.routing
    import sdr_mm.visualization.report  # noqa: F401
    torch.set_num_threads(1)


def run_tool(argv: list[str]) -> None:
    """What the shell would do with ``python tools/…``, in this process."""
    sys.argv = [f'tools/{argv[0]}.py', *argv[1:]]
    runpy.run_path(str(ROOT / 'tools' / f'{argv[0]}.py'), run_name='__main__')


def spawn(work: Callable[[], Any], folder: Path) -> int:
    """Runs ``work`` in a fork whose folder is ``folder`` and which writes to ``stdout`` and ``stderr`` there."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        tqdm._instances.clear()  # the bars of the parent are not ours
        os.setsid()
        os.chdir(folder)
        for number, name in ((0, os.devnull), (1, 'stdout'), (2, 'stderr')):
            opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
        pages = int(Path('/proc/self/statm').read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def run_in_fork(work: Callable[[], Any], folder: Path) -> None:
    """Does ``work`` in a fork and waits for it.

    Raises:
        RuntimeError: If it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _, status = os.waitpid(spawn(work, folder), 0)
    if status:
        raise RuntimeError(f'what the cases start from cannot be made:\n{(folder / "stderr").read_text()[-3000:]}')


def run_cases(cases: Iterable[tuple[Case, Path]], jobs: int) -> Iterator[Verdict]:
    """Runs cases, ``jobs`` at a time, each in its folder, which goes unless the case shows a fault."""
    running: dict[int, tuple[Case, Path, float]] = {}
    waiting = iter(cases)
    more = True
    while more or running:
        while more and len(running) < jobs:
            entry = next(waiting, None)
            more = entry is not None
            if entry is not None:
                case, folder = entry
                work = case.argv if callable(case.argv) else lambda argv=case.argv: run_tool(argv)
                running[spawn(work, folder)] = case, folder, time.monotonic()
        for pid, (case, folder, begun) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            late = not ended and time.monotonic() - begun > SECONDS
            if late:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if ended or late:
                del running[pid]
                verdict = judge(case, folder, None if late else os.waitstatus_to_exitcode(status))
                if not verdict.fault:
                    shutil.rmtree(folder, ignore_errors=True)
                yield verdict
        time.sleep(0.005)


def judge(case: Case, folder: Path, status: int | None) -> Verdict:
    """The verdict on a case that ended with ``status``; None if it did not end."""
    said = (folder / 'stderr').read_text(errors='replace') if (folder / 'stderr').exists() else ''
    lines = [line for line in said.replace('\r', '\n').splitlines() if line.strip()]
    end = '\n'.join(lines[-12:])
    errors = [line for line in lines if line.startswith('error: ') or ': error: ' in line]
    if (folder / MARKER).exists():
        return Verdict(case, 'code ran', end)
    if status is None:
        return Verdict(case, 'hangs', end)
    if 'Traceback (most recent call last)' in said:
        return Verdict(case, 'traceback', end)
    if status in (0, case.done):
        return Verdict(case, 'fine' if case.good is None or case.good() else 'wrong without a word', end)
    left = [name for name in case.outputs if (folder / name).exists()]
    left += [path.name for path in folder.iterdir() if path.name.startswith('.')]
    if left:
        return Verdict(case, 'left behind', f'{", ".join(left)}\n{end}')
    clear = status == 2 and len(errors) == 1 and lines[-1] == errors[0] and 20 < len(errors[0]) < 1000
    return Verdict(case, 'clear' if clear else f'unclear, status {status}', end)
