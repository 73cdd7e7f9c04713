"""What the pages tell people to type does work: the code of the README, the commands of the tutorials."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT, load_tool

from sdr_mm.models import SDRResNet
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.routing import Ranking, export_subnet, extract_subnet

pytestmark = [pytest.mark.site, pytest.mark.slow]
EPOCHS = 2


def blocks(page, language):
    """The fenced blocks of a page that are marked as tested, or follow one another under such a mark."""
    text = (ROOT / page).read_text(encoding='utf-8')
    found = re.findall(rf'<!-- tested[^>]*-->\n```{language}\n(.*?)```', text, re.DOTALL)
    assert found, f'{page} has no tested {language} blocks'
    return found


def shell(commands, folder):
    """Runs a block as somebody would in the root of the repository; its results go to ``folder``."""
    for name in ('configs', 'tools', 'projects'):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', commands], cwd=folder, capture_output=True, text=True, timeout=900,
        env={**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore'})
    assert done.returncode == 0, f'{commands}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    return done.stdout


def pictures(folder, count, hue, random):
    folder.mkdir(parents=True)
    for number in range(count):
        image = random.integers(0, 120, (36, 40, 3), dtype=np.uint8)
        image[8:28, 8:28, hue] += 100
        Image.fromarray(image).save(folder / f'{number:04d}.png')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with images, in which the commands of the tutorial for one machine were run."""
    root = tmp_path_factory.mktemp('readme')
    random = np.random.default_rng(0)
    pictures(root / 'photos', 1040, 0, random)  # 16 clusters of a batch of 64, and a few
    for hue, name in enumerate(('red', 'green', 'blue')):
        pictures(root / 'task' / name, 12, hue, random)
    first, *_ = blocks('docs/pretrain.md', 'bash')
    assert 'epoch_15' in first
    commands = first.replace('FOLDER', 'photos').replace('TASK', 'task').replace('epoch_15', f'epoch_{EPOCHS}')
    commands = re.sub(r'(python tools/train\.py \S+)', rf'\1 --epochs {EPOCHS}', commands)
    return root, shell(commands, root)


def test_the_tutorials_commands_for_one_machine_lead_to_a_backbone(world):
    root, printed = world
    assert 'clusters' in printed and '16 of 16 sub-nets scored in full' in printed
    # The network of 32 px is fed 32 px, with as many neighbors as fit it, though nobody said so.
    assert '32 of 32 px' in printed and 'knn k=20' in printed
    network, info = load_resnet(root / 'backbone.pth')
    assert info['config']['base_channels'] == 16 and info['settings'].size == 32
    assert Ranking.load(root / 'work_dirs/routing.json').network('baseline') is not None


def test_the_readmes_first_screen_runs(world, monkeypatch):
    root, _ = world
    page = (ROOT / 'README.md').read_text(encoding='utf-8')
    code = re.search(r'```python\n(import sdr_mm\n.*?)```', page, re.DOTALL)[1]
    code = code.replace("'epoch_200.pth', device='cuda'", f"'work_dirs/sdr/epoch_{EPOCHS}.pth', device='cpu'")
    code = code.replace('my_images', 'task').replace('backbone.pth', 'first.pth')
    monkeypatch.chdir(root)
    names = {}
    exec(code, names)  # A page of the repository, not a file of somebody's.
    assert load_resnet(root / 'first.pth')[1]['settings'].size == 32
    assert names['net'].features('task').shape == (36, 128) and names['net'].bn == 'task'


def test_other_libraries_load_a_backbone_of_another_width_as_the_faq_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backbone = SDRResNet(base_channels=(51, 12), num_groups=2, routed_blocks=(3, ))
    export_subnet(extract_subnet(backbone, (1, )), tmp_path / 'backbone_51_12.pth', config=backbone.subnet_config())
    for code in blocks('docs/faq.md', 'python'):
        exec(code, {})


@pytest.fixture(scope='module')
def task(world):
    """The same folder with the names that the pages give to a task."""
    root, _ = world
    (root / 'data').mkdir()
    (root / 'data' / 'sweet_home').symlink_to(root / 'task')
    (root / 'my_images').symlink_to(root / 'task')
    return root


def test_the_commands_for_the_best_backbone_run(task):
    given = 'pool-r18 --task data/sweet_home --bn-reset task'
    printed = shell('\n'.join(block.replace('backbone.pth', 'tutorial.pth').replace('…', given) for block in blocks(
        'docs/best_backbone.md', 'bash')).replace('work_dirs/routing.json', 'work_dirs/tutorial.json'), task)
    assert 'BN reset: task' in printed and 'linear probe of tutorial.pth' in printed
    assert 'TransRate against linear accuracy over 16 sub-nets' in printed
    meta = torch.load(task / 'tutorial.pth')['meta']
    assert meta['bn_reset']['statistics'] == 'task' and meta['settings']['evaluation']['size'] == 32


def test_the_numbers_go_to_tensorboard_as_the_openmmlab_page_says(world):
    root, _ = world
    (config, ), commands = (blocks('docs/openmmlab.md', language) for language in ('python', 'bash'))
    (root / 'my_run.py').write_text(config)
    shell('\n'.join(commands), root)
    for run, scalars in (('both', 1), ('tensorboard', 0)):
        assert len(list((root / 'work_dirs' / run).glob('*/vis_data/events.out.tfevents.*'))) == 1
        assert len(list((root / 'work_dirs' / run).glob('*/vis_data/scalars.json'))) == scalars


def test_each_library_loads_its_format_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tool = load_tool('export_subnet')
    (commands, ) = blocks('docs/export.md', 'bash')
    for command in commands.splitlines():
        python, file, *argv = shlex.split(command)
        assert (python, file) == ('python', 'tools/export_subnet.py')
        tool.main(argv)  # A process for each would import everything seven times.
    printed = capsys.readouterr().out
    assert printed.count('loads it with') == 7 and 'model card backbone.md' in printed
    images = torch.randn(3, 3, 32, 32)
    names = dict(images=images)
    with torch.no_grad():
        for code in blocks('docs/export.md', 'python'):
            exec(code, names)
        expected = names['net'].network.cpu()(images)[-1].mean((2, 3))
    found = {name: value for name, value in names.items() if name.startswith('found_')}
    assert len(found) == 7
    for value in found.values():
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert names['settings']['evaluation'] == dict(resize=32, size=32, k=20)
    assert names['classifier'](images).shape == (3, 10) and 'license: apache-2.0' in Path('again.md').read_text()


def test_the_first_five_minutes_run(task, monkeypatch):
    (commands, ) = blocks('docs/get_started.md', 'bash')
    commands = commands.replace('routing.json', 'started.json').replace('backbone.pth', 'started.pth')
    printed = shell(commands, task)
    assert 'over baseline' in printed and 'kNN accuracy' in printed
    monkeypatch.chdir(task)
    for page, name in (('docs/get_started.md', None), ('docs/best_backbone.md', 'python.pth'),
                       ('sdr_mm/pretrained/README.md', 'shipped.pth')):
        names = {}
        for code in blocks(page, 'python'):
            exec(code.replace('backbone.pth', str(name)), names)
        assert name is None or load_resnet(task / name)[1]['config']['base_channels'] == 16
        assert name is not None or names['features'].shape == (36, 128)


def test_the_commands_that_start_from_a_checkpoint_run(world):
    root, _ = world
    (root / 'few').mkdir()
    for number in range(16 * 16):
        (root / 'few' / f'{number:04d}.png').symlink_to(root / 'photos' / f'{number:04d}.png')
    (commands, ) = blocks('docs/init_from.md', 'bash')
    for old, new in (('FOLDER', 'few'), ('TASK', 'task'), ('epoch_10', 'epoch_1'), ('work_dirs/', 'warm/'),
                     ('--min-size 128', '--min-size 16'), ('backbone.pth', 'warm.pth')):
        assert old in commands
        commands = commands.replace(old, new)
    small = '--epochs 1 --cfg-options train_dataloader.batch_size=16'
    commands = re.sub(r'(python tools/train\.py \S+)', rf'\1 {small}', commands)
    printed = shell(commands, root)
    assert '16 of 16 sub-nets scored in full' in printed
    log = next((root / 'warm/sdr').rglob('*.log')).read_text()
    assert 'pool-r18-baseline' in log
    assert Ranking.load(root / 'warm/routing.json').network('baseline') is not None
    assert load_resnet(root / 'warm.pth')[1]['config']['base_channels'] == 16


def test_the_commands_of_the_inspection_page_run(tmp_path):
    random = np.random.default_rng(0)
    for number, part in enumerate(('train', 'val', 'test')):
        for hue, name in enumerate(('mono_0', 'poly_100')):
            pictures(tmp_path / 'data/solar_cells' / part / name / f'module_{number}', 66, hue, random)
    for name in ('pool', 'animal_silhouettes', 'open_clip_art', 'wesnoth_race', 'sweet_home'):
        pictures(tmp_path / 'data' / name / 'one', 4, 2, random)
    commands = '\n'.join(blocks('docs/inspection.md', 'bash'))
    for old, new in (('--epochs 108', '--epochs 1'), ('--epochs 5', '--epochs 1'), ('epoch_108', 'epoch_1'),
                     ('epoch_5', 'epoch_1')):
        assert old in commands
        commands = commands.replace(old, new)
    printed = shell(commands, tmp_path)
    assert 'work_dirs/cells/epoch_1.pth, own BN' in printed and printed.count('linear probe of epoch_1.pth') == 2
    assert 'solar_cells: 2 classes, 132 training and 132 held-out images' in printed
