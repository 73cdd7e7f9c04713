"""Peak memory of a training step of SDR against one of the SimSiam baseline, same batch and images.

    python benchmarks/memory.py
    python benchmarks/memory.py --amp bfloat16 --batch-size 256

On a GPU torch's allocator says how much a step has at once. Without one nothing is computed: torch's MemTracker counts
the storages that are alive, of weights, gradients, optimizer and activations, while fake tensors go through the same
step, on any machine in a minute. Super-net and sub-net have iterations of their own, so the larger of them counts.
"""

from __future__ import annotations

import argparse
import gc
import tempfile

import torch
from rounds import Comparison, parse, parser_of, report
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from trainings import Training, add_options, described, kind_of

from sdr_mm.cli import run
from sdr_mm.space import SUPERNET

AT_MOST = 1.5
GIB = 2.**30


def peaks(training: Training, networks: list[int]) -> list[float]:
    """Bytes that a step of each network has at once, after a first one, which makes the optimizer's state."""
    return allocated(training, networks) if torch.cuda.is_available() else counted(training, networks)


def allocated(training: Training, networks: list[int]) -> list[float]:
    training.step()
    found = []
    for network in networks:
        torch.cuda.reset_peak_memory_stats()
        training.step(network)
        torch.cuda.synchronize()
        found.append(float(torch.cuda.max_memory_allocated()))
    return found


def counted(training: Training, networks: list[int]) -> list[float]:
    runner, mode = training.runner, FakeTensorMode()
    for module in runner.model.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update({name: mode.from_tensor(tensor) for name, tensor in tensors.items() if tensor is not None})
    training.views = [mode.from_tensor(view) for view in training.views]
    runner.optim_wrapper = runner.build_optim_wrapper(runner.cfg.optim_wrapper)  # Of the fake weights.
    tracker = MemTracker()
    tracker.track_external(runner.model, *training.views)
    with mode, tracker:
        training.step()
    found = []
    for network in networks:
        tracker.reset_mod_stats()
        with mode, tracker:
            training.step(network)
        found.append(float(sum(device['Total'] for device in tracker.get_tracker_snapshot('peak').values())))
    return found


def measure(args: argparse.Namespace, work_dir: str) -> list[Comparison]:
    kind = kind_of(args)
    (base, ) = peaks(Training(None, work_dir, **kind), [SUPERNET])
    found = []
    for title, changes in (('', {}), (', with_cp', {'model.backbone.with_cp': True})):
        gc.collect()  # The one before is not counted with it.
        sizes = peaks(Training(4, work_dir, **kind, **changes), [SUPERNET, 0])
        found += [Comparison(name + title, size / GIB, base / GIB, size / base, AT_MOST, 'GiB')
                  for name, size in zip(('super-net', 'sub-net and its teacher'), sizes)]
    return found


def main() -> None:
    parser = parser_of(__doc__)
    add_options(parser, depth=50, size=224, batch_size=32)
    args = parse(parser)
    with tempfile.TemporaryDirectory() as work_dir:
        found = measure(args, work_dir)
    report(found, f'peak of a step of {described(args)}, '
                  f'{"allocated" if torch.cuda.is_available() else "counted on fake tensors"}', args.json)


if __name__ == '__main__':
    run(main)
