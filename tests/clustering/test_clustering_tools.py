"""tools/extract_features.py and tools/cluster.py on real files: results, refusals, two processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import clustering_worker
import numpy as np
import pytest
import torch
from clustering_worker import METHODS, SIZES, cluster_tool, divide, extract, extract_tool, noisy_clusters, refused
from mmengine.config import Config
from mmpretrain.models.backbones import ResNet
from PIL import Image
from processes import run_ranks
from repository import ROOT
from torchvision import transforms

from sdr_mm.clustering.features import Features, _reserve, extract_features
from sdr_mm.clusters import Clusters
from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.errors import InputError
from sdr_mm.evaluation.features import task_features
from sdr_mm.evaluation.task import Task
from sdr_mm.images import ZERO_TO_ONE, fingerprint, read_rgb, resize_and_crop
from sdr_mm.models.checkpoints import load_resnet

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40)]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """40 PNGs in four class folders, a checkpoint, and their features."""
    root = tmp_path_factory.mktemp('root')
    generator = np.random.default_rng(0)
    for i in range(40):
        folder = root / 'images' / f'class{i % 4}'
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.array(COLORS[i % 4]) + generator.integers(-25, 25, size=(36 + i % 5, 40, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f'{i:02d}.png')
    torch.manual_seed(0)
    network = ResNet(depth=18, stem_channels=8, base_channels=8)
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in network.state_dict().items()}},
               root / 'net.pth')
    extract(root, '--labels-from-folders')
    return root


def leftovers(folder):
    return [entry.name for entry in Path(folder).iterdir() if entry.name.startswith('.')]


def test_features_are_the_pooled_last_map_of_each_image_in_order(root):
    features = Features.load(root / 'features')
    assert features.names == sorted(features.names) and len(features.names) == 40
    assert features.fingerprint == fingerprint(features.names)
    assert features.meta['classes'] == [f'class{i}' for i in range(4)]
    assert features.labels.tolist() == [int(name[5]) for name in features.names]
    assert (features.meta['resize'], features.meta['size']) == (36, 32)
    assert features.meta['network']['depth'] == 18 and features.meta['checkpoint'].endswith('net.pth')

    network = ResNet(depth=18, stem_channels=8, base_channels=8)
    network.eval()
    state = torch.load(root / 'net.pth')['state_dict']
    network.load_state_dict({key.removeprefix('backbone.'): value for key, value in state.items()})
    # What users of torchvision and the protocol's own code do.
    prepare = transforms.Compose([
        transforms.Resize(36, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(32), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    for row in (0, 17, 39):
        with torch.no_grad():
            expected = network(prepare(Image.open(root / 'images' / features.names[row]))[None])[-1].mean((2, 3))[0]
        np.testing.assert_allclose(features.array[row], expected, rtol=1e-3, atol=1e-4)


def test_clustering_and_routing_see_the_same_pixels(root, tmp_path):
    """Of shapes for which the rounding of the resized side or of the crop's corner decides."""
    for number, shape in enumerate([(37, 53), (71, 40), (9, 31), (300, 41), (41, 299), (33, 47), (65, 99), (36, 36)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)
        (tmp_path / f'images/class{number % 2}').mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f'images/class{number % 2}/{number}.png')
    shutil.copy(root / 'net.pth', tmp_path)
    clustered = extract(tmp_path)
    task = Task.from_folder(tmp_path / 'images', splits=1)
    network, _ = load_resnet(tmp_path / 'net.pth')
    routed, task = task_features(network, task, resize=36, size=32, batch_size=5)
    assert [str(Path(path).relative_to(tmp_path / 'images')) for path in task.paths] == clustered.names
    assert np.array_equal(clustered.array, routed.numpy())


CROPS = '''train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImage'),
    dict(type='MultiView', transforms=[[dict(type='RandomResizedCrop', scale=32)]]), dict(type='PackInputs')]))'''
SMALL = Config.fromfile(ROOT / 'configs/small/simsiam_resnet18_b64-15e_32px.py').pretty_text


@pytest.mark.parametrize('config, options, resize, size', [
    ('evaluation = dict(resize=32, size=32, k=20)', [], 32, 32),
    ('evaluation = dict(resize=32, size=32, k=20)', ['--size', '24'], 32, 24),
    ('evaluation = dict(resize=32, size=32, k=20)', ['--resize', '40', '--size', '40'], 40, 40),
    (CROPS, [], 37, 32),
    (SMALL, [], 32, 32),
    ('', [], 256, 224),
], ids=['evaluation', 'size', 'both', 'crops', 'small config', 'none'])
def test_the_checkpoint_says_how_large_its_images_are(root, tmp_path, capsys, config, options, resize, size):
    torch.save({**torch.load(root / 'net.pth'), 'meta': dict(cfg=config)}, tmp_path / 'net.pth')
    images = ['--data', str(root / 'images' / 'class0'), '--device', 'cpu']
    extract_tool.main([str(tmp_path / 'net.pth'), *images, '--out', str(tmp_path / 'ours'), *options])
    assert f'of {size} pixels (short side {resize})' in capsys.readouterr().out
    extract_tool.main([str(root / 'net.pth'), *images, '--out', str(tmp_path / 'asked'), '--resize', str(resize),
                       '--size', str(size)])
    ours, asked = Features.load(tmp_path / 'ours'), Features.load(tmp_path / 'asked')
    assert (ours.meta['resize'], ours.meta['size']) == (resize, size)
    np.testing.assert_allclose(ours.array, asked.array, rtol=1e-5, atol=1e-6)


def test_a_config_gives_the_inner_data_set_its_labels_and_its_loading(root):
    (root / 'config.py').write_text(f'''
train_dataloader = dict(dataset=dict(
    type='ClusterDataset', clusters='not there yet.npz',
    pipeline=[dict(type='LoadImage', background=0), dict(type='PackInputs')],
    dataset=dict(type='CustomDataset', data_root={str(root / "images")!r})))
''')
    extract_tool.main([str(root / 'net.pth'), '--config', str(root / 'config.py'), '--out',
                           str(root / 'from_config'), '--half', *SIZES])
    ours, theirs = Features.load(root / 'features'), Features.load(root / 'from_config')
    assert theirs.array.dtype == np.float16 and theirs.meta['classes'] == ours.meta['classes']
    assert theirs.fingerprint == ours.fingerprint and theirs.meta['resize'] == 36
    np.testing.assert_array_equal(theirs.labels, ours.labels)
    np.testing.assert_allclose(theirs.array, ours.array, rtol=2e-3, atol=1e-3)


def test_undecodable_images_stop_or_belong_to_no_cluster(root, capsys):
    shutil.copytree(root / 'images', root / 'damaged')
    (root / 'damaged' / 'class1' / '01.png').write_bytes(b'no image')
    whole = (root / 'damaged' / 'class2' / '02.png').read_bytes()
    (root / 'damaged' / 'class2' / '02.png').write_bytes(whole[:len(whole) // 2])

    message = refused(extract, root, data='damaged', out='stopped')
    assert '01.png cannot be decoded' in message and '--on-error skip' in message
    assert not (root / 'stopped').exists() and not leftovers(root)

    features = extract(root, '--on-error', 'skip', data='damaged', out='skipped')
    assert 'skipped 2 images' in capsys.readouterr().out
    rows = [features.names.index(name) for name in ('class1/01.png', 'class2/02.png')]
    assert [image['index'] for image in features.meta['undecodable']] == rows
    assert features.labels is None
    clusters = divide(root, root / 'skipped.npz', '--epochs', '1', features='skipped')
    assert np.flatnonzero(clusters.assignment == -1).tolist() == rows
    assert clusters.sizes().sum() == 38
    assert '38 (+ 2 undecodable)' in capsys.readouterr().out

    for file in (root / 'damaged').rglob('*.png'):
        file.write_bytes(b'no image')
    assert 'none of the 40 images' in refused(extract, root, '--on-error', 'skip', data='damaged', out='stopped')
    assert not (root / 'stopped').exists() and not leftovers(root)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('paths', ['index', 'hierarchical'])
def test_clusters_fit_the_images_and_the_space(root, method, paths, capsys):
    out = root / f'{method}-{paths}.npz'
    clusters = divide(root, out, '--method', method, '--paths', paths, '--min-size', '7')
    printed = capsys.readouterr().out
    features = Features.load(root / 'features')
    clusters.check_images(features.fingerprint, 40, 'out')
    clusters.check_sizes(7, 'out')
    assert clusters.subnets.tolist() == [0, 1, 2, 3], 'cluster i is that of sub-net i'
    assert clusters.method == method and len(clusters.assignment) == 40
    assert 'balance' in printed and 'purity' in printed
    if method == 'sinkhorn':
        assert printed.count('objective') == 11
        purity = sum(np.bincount(features.labels[clusters.assignment == c]).max() for c in range(4)) / 40
        assert purity > 0.9, 'four colors are easy'


def test_balanced_clusters_by_the_posterior(root):
    sizes = divide(root, root / 'posterior.npz', '--assign', 'posterior').sizes()
    assert sizes.min() >= 8


def test_an_output_that_exists_is_kept(root, tmp_path):
    out = tmp_path / 'clusters.npz'
    out.write_bytes(b'mine')
    assert 'exists already' in refused(divide, root, out)
    assert out.read_bytes() == b'mine'
    divide(root, out, '--overwrite', '--method', 'random')

    before = (root / 'features' / 'features.npy').read_bytes()
    assert 'exists already' in refused(extract, root)
    assert (root / 'features' / 'features.npy').read_bytes() == before
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'letter.txt').write_text('dear')
    assert 'does not hold features' in refused(extract, root, '--overwrite', out=tmp_path / 'mine')
    assert (tmp_path / 'mine' / 'letter.txt').read_text() == 'dear'

    shutil.copytree(root / 'features', tmp_path / 'old')
    os.remove(tmp_path / 'old' / 'meta.json')
    assert extract(root, '--overwrite', out=tmp_path / 'old').labels is None
    assert not leftovers(tmp_path)


class Corners(torch.nn.Module):
    """A network of another kind: no map, and no name that a ResNet has."""

    def forward(self, images):
        return {'corners': images[:, :, ::31, ::31]}


def test_any_network_has_features_by_the_callers_pool(root, tmp_path):
    images = ImageFolder(str(root / 'images'))
    features = extract_features(
        Corners(), images, tmp_path / 'out', pool=lambda output: output['corners'].flatten(1),
        normalization=ZERO_TO_ONE, resize=36, size=32, read=lambda path: 255 - read_rgb(path), batch_size=7)
    assert features.array.shape == (40, 12) and features.labels is None
    image = resize_and_crop(255 - read_rgb(root / 'images' / features.names[8]), 36, 32)
    np.testing.assert_allclose(features.array[8], image[::31, ::31].transpose(2, 0, 1).ravel() / 255, rtol=1e-6)
    with pytest.raises(InputError, match='at least one image'):
        extract_features(Corners(), images, tmp_path / 'no', pool=torch.flatten, batch_size=0)


def test_clustering_knows_neither_data_sets_nor_networks():
    code = ('import sys, sdr_mm.clustering; others = ("sdr_mm.datasets", "sdr_mm.models", "mmpretrain"); '
            'print([name for name in sys.modules if name.startswith(others)])')
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT,
                         check=True)
    assert run.stdout.strip() == '[]'


def test_the_disk_has_room_for_all_features_before_the_first_is_computed(tmp_path):
    # Writing to a sparse file through a memory map ends the process with SIGBUS when the disk is full.
    folder = _reserve(tmp_path / 'out', (3000, 100), np.float32)
    file = (folder / 'features.npy').stat()
    assert file.st_size > 1_200_000 and file.st_blocks * 512 >= file.st_size
    assert not np.load(folder / 'features.npy').any() and not (tmp_path / 'out').exists()


def test_a_place_that_cannot_be_written_is_said_in_one_line(root, tmp_path):
    (tmp_path / 'file').touch()
    assert 'cannot be written' in refused(extract, root, out=tmp_path / 'file' / 'out')
    assert 'cannot be written' in refused(divide, root, tmp_path / 'file' / 'c.npz')


def damaged_copy(root, folder):
    shutil.copytree(root / 'features', folder)
    return folder


def test_features_that_cannot_be_used_are_refused(root, tmp_path):
    assert 'there is no folder' in refused(divide, root, tmp_path / 'c.npz', features=tmp_path / 'none')
    assert 'meta.json is missing' in refused(divide, root, tmp_path / 'c.npz', features='images')

    folder = damaged_copy(root, tmp_path / 'nan')
    array = np.load(folder / 'features.npy')
    array[7, 3] = np.nan
    np.save(folder / 'features.npy', array)
    message = refused(divide, root, tmp_path / 'c.npz', features=folder)
    assert Features.load(folder).names[7] in message and 'not finite' in message

    for number, (name, content) in enumerate([
            ('features.npy', b'text'), ('meta.json', b'{'), ('meta.json', b'[]'), ('images.txt', b'other.png\n')]):
        folder = damaged_copy(root, tmp_path / str(number))
        (folder / name).write_bytes(content)
        assert str(folder) in refused(divide, root, tmp_path / 'c.npz', features=folder)
    folder = damaged_copy(root, tmp_path / 'ints')
    np.save(folder / 'features.npy', np.zeros((40, 4), dtype=np.int64))
    assert 'do not fit' in refused(divide, root, tmp_path / 'c.npz', features=folder)
    for number, labels in enumerate([np.zeros(39, dtype=np.int64), np.full(40, np.nan), np.array(['a'] * 40),
                                     np.zeros((40, 1), dtype=np.int64)]):
        folder = damaged_copy(root, tmp_path / f'labels{number}')
        np.save(folder / 'labels.npy', labels)
        assert 'do not fit' in refused(divide, root, tmp_path / 'c.npz', features=folder)
    folder = damaged_copy(root, tmp_path / 'pickled')
    np.save(folder / 'labels.npy', np.array([{}] * 40, dtype=object))
    assert 'damaged' in refused(divide, root, tmp_path / 'c.npz', features=folder)
    meta = json.loads((root / 'features' / 'meta.json').read_text())
    image = {'index': 3, 'name': 'a.png', 'reason': 'cut'}
    for number, (undecodable, reason) in enumerate([
            ([image | {'index': 40}], 'do not fit'), ([image | {'index': -1}], 'do not fit'),
            ([image | {'index': '3'}], 'undecodable[0].index is "3", not a whole number'),
            ([image | {'index': True}], 'not a whole number'), ([{}], 'undecodable[0] has no index'),
            (3, 'undecodable is 3, not a list')]):
        folder = damaged_copy(root, tmp_path / f'undecodable{number}')
        (folder / 'meta.json').write_text(json.dumps({**meta, 'undecodable': undecodable}))
        assert reason in refused(divide, root, tmp_path / 'c.npz', features=folder)
    folder = damaged_copy(root, tmp_path / 'deep')
    (folder / 'meta.json').write_text('[' * 100_000)
    assert 'nested too deeply' in refused(divide, root, tmp_path / 'c.npz', features=folder)
    for name, content in (('empty', np.zeros((40, 0), np.float32)), ('zip', None)):
        folder = damaged_copy(root, tmp_path / name)
        with open(folder / 'features.npy', 'wb') as file:  # a .npz is no .npy, whatever it is called
            np.save(file, content) if content is not None else np.savez(file, features=np.zeros((40, 4), np.float32))
        assert str(folder) in refused(divide, root, tmp_path / 'c.npz', features=folder)
    folder = damaged_copy(root, tmp_path / 'other')
    meta = json.loads((folder / 'meta.json').read_text())
    (folder / 'meta.json').write_text(json.dumps({**meta, 'format': 'something'}))
    assert 'extract them again' in refused(divide, root, tmp_path / 'c.npz', features=folder)
    assert not (tmp_path / 'c.npz').exists()


@pytest.mark.parametrize('options, message', [
    (['--num-groups', '7'], '49 clusters cannot be made of 40 images'),
    (['--num-groups', '0'], '--num-groups: it is a whole number of at least 1'),
    (['--num-groups', '99', '--num-blocks', '9999999'], 'more sub-nets than'),
    (['--min-size', '-4'], '--min-size: it is a whole number of at least 0'),
    (['--seed', '-1'], '--seed: it is a whole number of at least 0'),
    (['--lr', 'nan'], '--lr: it is a finite number above 0'),
    (['--min-size', '11'], 'cannot fill 4 clusters with 11'),
    (['--epsilon', '-1'], 'epsilon'),
    (['--device', 'tpu9'], 'device'),
    (['--device', 'meta'], 'there is no device'),
])
def test_options_of_cluster_that_cannot_be_met_are_refused(root, tmp_path, capsys, options, message):
    assert message in refused(divide, root, tmp_path / 'c.npz', *options)
    assert 'epoch' not in capsys.readouterr().out, 'before the long work'
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_read_is_refused(root, tmp_path):
    def run(*source, checkpoint=root / 'net.pth', more=()):
        return refused(extract_tool.main,
                       [str(checkpoint), *map(str, source), '--out', str(tmp_path / 'out'), *SIZES, *more])

    (tmp_path / 'empty').mkdir()
    (tmp_path / 'eval.py').write_text('test_dataloader = dict()\n')
    (tmp_path / 'lost.py').write_text(
        "train_dataloader = dict(dataset=dict(type='CustomDataset', data_root='/not/there', pipeline=[]))\n")
    assert 'there is no folder' in run('--data', tmp_path / 'none')
    assert 'no images' in run('--data', tmp_path / 'empty')
    assert 'there is no config' in run('--config', tmp_path / 'none.py')
    assert 'no train_dataloader' in run('--config', tmp_path / 'eval.py')
    assert 'cannot be read' in run('--config', tmp_path / 'lost.py')
    assert 'there is no file' in run('--data', root / 'images', checkpoint=tmp_path / 'none.pth')
    assert 'size <= resize' in run('--data', root / 'images', more=['--size', '40'])
    assert 'lies in no class folder' in run('--data', root / 'images' / 'class0', more=['--labels-from-folders'])
    state = torch.load(root / 'net.pth')
    state['state_dict']['backbone.layer4.1.conv2.weight'].fill_(float('nan'))
    torch.save(state, tmp_path / 'nan.pth')
    assert 'not finite' in run('--data', root / 'images', checkpoint=tmp_path / 'nan.pth')
    assert not (tmp_path / 'out').exists() and not leftovers(tmp_path)


def test_bad_input_ends_the_tool_with_one_line_and_status_2(root, tmp_path):
    tool = Path(cluster_tool.__file__)
    run = subprocess.run([sys.executable, str(tool), str(tmp_path / 'none'), '--out', str(tmp_path / 'c.npz')],
                         capture_output=True, text=True, check=False,
                         env={**os.environ, 'PYTHONPATH': str(tool.parents[1])})
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith('error: there is no folder')
    assert 'Traceback' not in run.stderr and 'wrote' not in run.stdout


@pytest.mark.slow
def test_two_processes_equal_one(root, tmp_path):
    shutil.copytree(root / 'images', root / 'one_damaged')
    (root / 'one_damaged' / 'class3' / '39.png').write_bytes(b'no image')
    for name in ('images', 'one_damaged', 'net.pth'):
        (tmp_path / name).symlink_to(root / name)
    run_ranks(clustering_worker, tmp_path)

    one, two = Features.load(root / 'features'), Features.load(tmp_path / 'features')
    np.testing.assert_allclose(one.array, two.array, rtol=1e-4, atol=1e-5)
    assert (one.names, one.meta, one.labels.tolist()) == (two.names, two.meta, two.labels.tolist())
    for method in METHODS:
        alone = divide(root, tmp_path / f'{method}-alone.npz', '--method', method, '--min-size', '8')
        shared = Clusters.load(tmp_path / f'{method}.npz')
        np.testing.assert_array_equal(alone.assignment, shared.assignment)
        np.testing.assert_allclose(alone.centroids, shared.centroids, atol=1e-4)
    alone = noisy_clusters()
    assert alone.history[-1].cross_entropy < alone.history[0].cross_entropy - 0.02, 'the centroids moved'
    for rank in range(2):
        shared = np.load(tmp_path / f'noisy{rank}.npz')
        np.testing.assert_allclose(alone.centroids, shared['centroids'], atol=1e-4)
        np.testing.assert_array_equal(alone.assignment, shared['assignment'])
        assert float(shared['objective']) == pytest.approx(alone.history[-1].objective, abs=1e-5)
        assert '39.png cannot be decoded' in (tmp_path / f'message{rank}').read_text()
    assert not (tmp_path / 'stopped').exists() and not leftovers(tmp_path)
