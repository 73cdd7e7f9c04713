"""Worker scripts of the tests, in several processes of one group, as torchrun starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from repository import ROOT

# A rank ends as those of the tools do: a thread of Gloo now and then aborts a Python that goes down.
WORKER = """
import runpy, sys
from sdr_mm.cli import end_rank
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
end_rank(0)
"""


def run_ranks(worker: ModuleType, folder: Path, count: int = 2) -> None:
    """Runs the file of ``worker`` with the argument ``folder`` on ``count`` ranks; each must end well."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        environment = dict(
            os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port), OMP_NUM_THREADS='1',
            PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests/helpers'), os.environ.get('PYTHONPATH', '')]))
        started.append(subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', WORKER, str(worker.__file__), str(folder)], env=environment,
            stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
