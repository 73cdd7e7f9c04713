"""The code on the page about extending the package: an algorithm and a backbone that train, route and leave."""

import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT

from sdr_mm.clusters import Clusters
from sdr_mm.images import find_images, fingerprint
from sdr_mm.models.checkpoints import read_state_dict
from sdr_mm.routing import Ranking, extract_subnet
from sdr_mm.space import SubnetSpace

pytestmark = [pytest.mark.site, pytest.mark.slow]
PAGE = (ROOT / 'docs/extend.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """The files of the page, in a folder with images, their clusters and a task."""
    root = tmp_path_factory.mktemp('extend')
    for name in ('configs', 'tools'):
        (root / name).symlink_to(ROOT / name)
    files = dict(re.findall(r'^```python title="(\w+\.py)"\n(.*?)^```$', PAGE, re.M | re.S))
    for name, code in files.items():
        (root / name).write_text(code, encoding='utf-8')
    random = np.random.default_rng(0)
    for folder, count in (('FOLDER', 128), ('my_images/a', 8), ('my_images/b', 8)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 200, (34, 34, 3), dtype=np.uint8) + np.uint8(50 * folder.endswith('a'))
            Image.fromarray(pixels).save(root / folder / f'{number:03d}.png')
    (root / 'TASK').symlink_to(root / 'my_images')
    names, space = find_images(str(root / 'FOLDER')), SubnetSpace(4, 2)
    Clusters(np.arange(128) % 16, np.eye(16, dtype=np.float32), np.array(space.paths), 4, fingerprint(names),
             'test').save(root / 'clusters.npz')
    return root


def commands(block, root):
    """A block of the page, with a length and batches that fit few images."""
    block = re.sub(r'(tools/train\.py \S+)', r'\1 --epochs 1 --cfg-options train_dataloader.batch_size=8', block)
    block = block.replace('epoch_15', 'epoch_1').replace('tools/route.py', 'tools/route.py --bn-reset task')
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', block.replace('PYTHONPATH=.', f'PYTHONPATH=.:{ROOT}')], cwd=root,
        capture_output=True, text=True, timeout=600,
        env={**os.environ, 'PATH': os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']]),
             'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore'})
    assert done.returncode == 0, f'{block}\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}'


BASH = re.findall(r'^```bash\n(.*?)^```$', PAGE, re.M | re.S)


def test_the_algorithm_of_the_page_trains_and_routes(world):
    (block, ) = [block for block in BASH if 'barlow' in block]
    commands(block, world)
    ranking = Ranking.load(world / 'routing.json')
    assert len(ranking.subnets) == 16
    state = read_state_dict(world / 'work_dirs/barlow/epoch_1.pth')
    assert 'head.bn.running_mean' in state and not any('predictor' in key for key in state)
    log = next((world / 'work_dirs/barlow').rglob('*.log')).read_text()
    assert 'BarlowTwinsSDR' in log


def test_the_backbone_of_the_page_trains_routes_and_leaves_as_the_plain_network(world, monkeypatch):
    (block, ) = [block for block in BASH if 'chain' in block]
    commands(block, world)
    monkeypatch.chdir(world)
    monkeypatch.syspath_prepend(str(world))
    script = (world / 'route_chain.py').read_text().replace('epoch_15', 'epoch_1')
    (world / 'run_chain.py').write_text(script)
    names = runpy.run_path('run_chain.py')
    sdr, images = names['sdr'], torch.randn(2, 3, 32, 32)
    for path in sdr.space.paths:
        plain = extract_subnet(sdr.backbone, path)
        assert type(plain).__name__ == 'PlainConvs'
        with torch.no_grad():
            torch.testing.assert_close(plain(images)[-1], sdr.backbone(images, path)[-1], rtol=1e-5, atol=1e-6)
    assert read_state_dict('chain.pth')['second.0.weight'].shape == (64, 32, 3, 3)
