"""Each error that the FAQ quotes is raised here, by what leads to it, and the page has it to the letter."""

from __future__ import annotations

import collections
import re
import sys
from importlib import import_module, util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT, load_tool
from torchvision.models import resnet18, resnet50

from sdr_mm.clusters import Clusters
from sdr_mm.engine.configs import load_config, use_amp
from sdr_mm.errors import InputError
from sdr_mm.images import find_images, fingerprint, read_rgb
from sdr_mm.images.dali import check_dali
from sdr_mm.models import SDRResNet
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.routing import export_subnet, extract_subnet
from sdr_mm.space import SubnetSpace

QUOTED = re.findall(r'^```text\n(.*?)\n```$', (ROOT / 'docs/faq.md').read_text(encoding='utf-8'), re.M | re.S)
SDR = 'configs/small/sdr_simsiam_resnet18_b64-15e_32px.py'
BASELINE = 'configs/small/simsiam_resnet18_b64-15e_32px.py'
full = util.find_spec('mmdet') is not None


def tool(line):
    """A tool on a command line, in this process."""
    name, *words = line.split()
    load_tool(name).main(words)


def train(line, patch):
    """``tools/train.py``, which reads the command line of the process."""
    patch.setattr('sys.argv', ['tools/train.py', *line.split()])
    load_tool('train').main()


def images(count, folder='photos'):
    random = np.random.default_rng(0)
    Path(folder).mkdir()
    for number in range(count):
        Image.fromarray(random.integers(0, 255, (36, 36, 3), dtype=np.uint8)).save(f'{folder}/{number:04d}.png')


def clusters(sizes, groups=4, blocks=2, folder='photos'):
    """``clusters.npz`` of the images of a folder, with these sizes."""
    names = find_images(folder)
    space = SubnetSpace(groups, blocks)
    Clusters(np.repeat(np.arange(len(sizes)), sizes), np.eye(len(space), 32, dtype=np.float32), np.array(space.paths),
             groups, fingerprint(names), 'sinkhorn').save('clusters.npz')


def detection_without_mmdetection(patch):
    for name in [name for name in sys.modules if name.startswith('sdr_mm.detection')]:
        patch.delitem(sys.modules, name)
    import_module('sdr_mm.detection')


def a_config_of_mmdetection(patch):
    load_config('configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py')


def mmselfsup_as_a_base(patch):
    Path('mine.py').write_text("_base_ = 'mmselfsup::selfsup/simsiam/simsiam_resnet50_8xb32-coslr-200e_in1k.py'\n")
    load_config('mine.py')


def a_gpu_that_is_not_there(patch):
    patch.setattr(torch.cuda, 'is_available', lambda: False)
    use_amp(load_config(SDR))


def too_few_images_to_cluster(patch):
    images(200)
    tool('extract_features pool-r18-baseline --data photos --out features --device cpu')
    tool('cluster features --out clusters.npz --num-blocks 2 --assign posterior --min-size 64')


def too_few_images_for_a_batch(patch):
    images(50)
    train(f'{BASELINE} --data photos --work-dir work_dirs/simsiam', patch)


def a_small_cluster(patch):
    images(1030)
    clusters([41, 87, *[64] * 13, 70])
    train(f'{SDR} --data photos --clusters clusters.npz --work-dir work_dirs/sdr', patch)


def other_images(patch):
    images(1024)
    clusters([64] * 16)
    Path('photos/0000.png').unlink()
    train(f'{SDR} --data photos --clusters clusters.npz --work-dir work_dirs/sdr', patch)


def another_number_of_clusters(patch):
    images(64)
    clusters([16] * 4, blocks=1)
    train(f'{SDR} --data photos --clusters clusters.npz --work-dir work_dirs/sdr', patch)


def a_folder_of_another_run(patch):
    Path('work_dirs/sdr').mkdir(parents=True)
    Path('work_dirs/sdr/epoch_15.pth').touch()
    train(f'{SDR} --data photos --work-dir work_dirs/sdr', patch)


def nothing_to_resume(patch):
    train(f'{SDR} --data photos --work-dir work_dirs/sdr --resume', patch)


def another_run_to_resume(patch):
    images(64)
    images(65, 'others')
    train(f'{BASELINE} --data photos --epochs 1 --work-dir work_dirs/simsiam', patch)
    train(f'{BASELINE} --data others --epochs 2 --work-dir work_dirs/simsiam --resume', patch)


def a_loss_that_is_not_finite(patch):
    images(64)
    train(f'{BASELINE} --data photos --work-dir work_dirs/simsiam --cfg-options optim_wrapper.optimizer.lr=1e30', patch)


def a_broken_image(patch):
    Path('cat.jpg').write_bytes(b'\xff\xd8\xff not a picture')
    read_rgb('cat.jpg')


def no_such_entry(patch):
    load_config(SDR, {'optimizr.lr': 0.1})


def a_variable(patch):
    load_config(SDR, {'epochs': 100})


def a_checkpoint_that_would_run_code(patch):
    torch.save(dict(state_dict=dict(weight=collections.Counter('a')), meta=Path('a')), 'model.pth')
    read_checkpoint('model.pth')


def a_checkpoint_cut_short(patch):
    torch.save(dict(state_dict=dict(weight=torch.zeros(100))), 'model.pth')
    Path('model.pth').write_bytes(Path('model.pth').read_bytes()[:300])
    read_checkpoint('model.pth')


def a_start_of_another_size(patch):
    images(1024)
    clusters([64] * 16)
    torch.save(resnet18().state_dict(), 'resnet18.pth')
    train(f'{SDR} --data photos --clusters clusters.npz --work-dir work_dirs/sdr --init-from resnet18.pth', patch)


def shipped_without_images(patch):
    write_task()
    tool('route pool-r18 --task my_images --device cpu')


def no_task(patch):
    tool('route pool-r18 --task my_image --bn-reset task --device cpu')


def a_data_set_that_is_missing(patch):
    tool('route pool-r18 --task configs/tasks/dtd.py --bn-reset task --device cpu')


def a_result_that_is_there(patch):
    write_task()
    Path('routing.json').touch()
    tool('route pool-r18 --task my_images --bn-reset task --device cpu --out routing.json')


def no_dali(patch):
    patch.setitem(sys.modules, 'nvidia.dali', None)
    check_dali()


def write_task():
    for kind in ('bed', 'lamp'):
        Path('my_images').mkdir(exist_ok=True)
        images(6, f'my_images/{kind}')


def torchvision_with_another_width():
    backbone = SDRResNet(base_channels=(51, 12), num_groups=2, routed_blocks=(3, ))
    export_subnet(extract_subnet(backbone, (1, )), 'backbone.pth', config=backbone.subnet_config())
    resnet50().load_state_dict(torch.load('backbone.pth')['state_dict'], strict=False)


CASES = [
    mmselfsup_as_a_base, a_gpu_that_is_not_there, too_few_images_to_cluster, too_few_images_for_a_batch,
    a_small_cluster, other_images, another_number_of_clusters, a_folder_of_another_run, nothing_to_resume,
    a_broken_image, no_such_entry, another_run_to_resume, a_loss_that_is_not_finite, a_variable,
    a_checkpoint_that_would_run_code, a_checkpoint_cut_short, a_start_of_another_size, shipped_without_images,
    no_task, a_data_set_that_is_missing, a_result_that_is_there, no_dali]
LIGHT = [detection_without_mmdetection, a_config_of_mmdetection]
"""What only an environment without MMDetection says."""


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES + LIGHT * (not full), ids=lambda case: case.__name__)
def test_an_error_of_the_page_is_what_one_gets(case, tmp_path, monkeypatch):
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        case(monkeypatch)
    said = str(error.value).replace(f'{tmp_path}/', '')
    assert f'error: {said}' in QUOTED


def test_torchvision_says_what_the_page_quotes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError) as error:
        torchvision_with_another_width()
    quoted = next(text for text in QUOTED if text.startswith('RuntimeError'))
    assert [line.strip() for line in f'RuntimeError: {error.value}'.splitlines()[:2]] == quoted.split('\n')


def test_each_error_of_the_page_is_raised_here():
    assert len(QUOTED) == len(set(QUOTED)) == len(CASES + LIGHT) + 1
