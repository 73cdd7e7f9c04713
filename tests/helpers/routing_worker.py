"""One of several processes that reset BN and route together; prints nothing, writes what it found."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from routing_data import NORMALIZATION, evaluator, network

from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.routing import extract_subnet, reset_bn

ROUTING = dict(k=5, resize=32, size=32, batch_size=8, splits=2, seed=1, workers=1)


def parts():
    """Three batches of unequal size and level."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(size, 3, 40, 40, generator=generator) + size for size in (4, 2, 3)]


def reset(rank, world):
    """Statistics of a sub-net whose batches are dealt to the ranks; the last rank of three has none."""
    subnet = extract_subnet(network(), (0, 1))
    count = reset_bn(subnet, parts()[rank::world])
    return count, {key: value.tolist() for key, value in subnet.state_dict().items() if 'running' in key}


def route(root):
    """Routing on the task of :func:`routing_data.make_run`, then on weights that have diverged."""
    backbone, config = load_sdr(root / 'sdr.pth')
    result = evaluator(root / 'task', **ROUTING).evaluate(
        backbone, pool=load_pool(config, backbone.space), normalization=NORMALIZATION)
    halved = evaluator(
        root / 'task', **ROUTING, search='halving', first_images=8, finalists=1, bn_reset='task').evaluate(
            backbone, normalization=NORMALIZATION)
    # Only sub-net 3 and the super-net hold the last groups of both blocks.
    backbone.layer4[1].bn2.bias.data[-1] = float('nan')
    try:
        evaluator(root / 'task', **ROUTING, bn_reset='none').evaluate(backbone)
        message = ''
    except InputError as error:
        message = str(error)
    rows = [[row.name, row.scores, row.bn, row.eliminated, row.screening]
            for row in [*result.networks, *halved.networks]]
    return rows, result.cost.passes, message


if __name__ == '__main__':
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    folder = Path(sys.argv[1])
    found = reset(dist.get_rank(), dist.get_world_size()), route(folder)
    (folder / f'rank{dist.get_rank()}.json').write_text(json.dumps(found))
    dist.destroy_process_group()
