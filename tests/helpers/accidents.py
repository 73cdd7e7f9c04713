"""A hook for configs of tests: something happens to one rank in the middle of a training."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook

from sdr_mm.registry import HOOKS


@HOOKS.register_module()
class AccidentHook(Hook):
    """After an iteration the last rank is killed, told to stop, loses a worker of its loader, fails, or waits."""

    def __init__(self, kind, iteration):
        self.kind, self.iteration = kind, iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 != self.iteration or get_rank() + 1 != get_world_size():
            return
        if self.kind == 'fails':
            raise RuntimeError('an accident')
        if self.kind == 'waits':
            (Path(runner.work_dir) / 'waiting').touch()
            time.sleep(600)
        elif self.kind == 'loses a worker':
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        else:
            os.kill(os.getpid(), dict(killed=signal.SIGKILL, told=signal.SIGTERM)[self.kind])
