"""One of several processes that load a checkpoint from a URL together; writes what it got, or the error."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.runner import CheckpointLoader

import sdr_mm.models  # noqa: F401, puts its reader behind MMEngine's.
from sdr_mm.errors import InputError

if __name__ == '__main__':
    folder = Path(sys.argv[1])
    dist.init_process_group('gloo')
    torch.hub.set_dir(str(folder / 'hub'))
    found = []
    for name in ('x.pth', 'gone.pth'):
        try:
            found.append(CheckpointLoader.load_checkpoint(f'{(folder / "address").read_text()}/{name}')['x'])
        except InputError as error:
            found.append(str(error))
    torch.save(found, folder / f'rank{dist.get_rank()}.pt')
