"""tools/extract_features.py and tools/cluster.py on real files: results, refusals, two processes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from mmpretrain.models.backbones import ResNet
from PIL import Image
from repository import load_tool

from sdr_mm.clustering.features import Features
from sdr_mm.clustering.rows import Rows
from sdr_mm.clustering.sinkhorn import sinkhorn_clustering
from sdr_mm.clusters import Clusters
from sdr_mm.distributed import process_group
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint

cluster = load_tool('cluster')
extract_features = load_tool('extract_features')

SIZES = ['--resize', '36', '--size', '32', '--workers', '0', '--batch-size', '5', '--device', 'cpu']
COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40)]


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """40 PNGs in four class folders, a checkpoint, and their features."""
    root = tmp_path_factory.mktemp('work')
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


def extract(root, *more, data='images', out='features'):
    extract_features.main([str(root / 'net.pth'), '--data', str(root / data), '--out', str(root / out), *SIZES, *more])
    return Features.load(root / out)


def divide(work, out, *more, features='features'):
    cluster.main([str(work / features), '--out', str(out), '--num-groups', '2', '--num-blocks', '2',
                  '--device', 'cpu', *more])
    return Clusters.load(out)


def refused(run, *args, **kwargs):
    with pytest.raises(InputError) as error:
        run(*args, **kwargs)
    message = str(error.value)
    assert '\n' not in message
    return message


def leftovers(folder):
    return [entry.name for entry in Path(folder).iterdir() if entry.name.startswith('.')]


def test_features_are_the_pooled_last_map_of_each_image_in_order(work):
    features = Features.load(work / 'features')
    assert features.names == sorted(features.names) and len(features.names) == 40
    assert features.fingerprint == fingerprint(features.names)
    assert features.meta['classes'] == [f'class{i}' for i in range(4)]
    assert features.labels.tolist() == [int(name[5]) for name in features.names]
    assert (features.meta['resize'], features.meta['size']) == (36, 32)
    assert features.meta['network']['depth'] == 18 and features.meta['checkpoint'].endswith('net.pth')

    network = ResNet(depth=18, stem_channels=8, base_channels=8)
    network.eval()
    state = torch.load(work / 'net.pth')['state_dict']
    network.load_state_dict({key.removeprefix('backbone.'): value for key, value in state.items()})
    for row in (0, 17, 39):
        image = Image.open(work / 'images' / features.names[row])
        scale = 36 / min(image.size)
        wide, high = (int(side * scale + 0.5) for side in image.size)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = round((wide - 32) / 2), round((high - 32) / 2)
        pixels = torch.from_numpy(np.array(image.crop((left, top, left + 32, top + 32)))).float()
        pixels = (pixels - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
        with torch.no_grad():
            expected = network(pixels.permute(2, 0, 1)[None])[-1].mean((2, 3))[0]
        np.testing.assert_allclose(features.array[row], expected, rtol=1e-3, atol=1e-4)


def test_a_config_gives_the_inner_data_set_its_labels_and_its_loading(work):
    (work / 'config.py').write_text(f'''
train_dataloader = dict(dataset=dict(
    type='ClusterDataset', clusters='not there yet.npz',
    pipeline=[dict(type='LoadImage', background=0), dict(type='PackInputs')],
    dataset=dict(type='CustomDataset', data_root={str(work / "images")!r})))
''')
    extract_features.main([str(work / 'net.pth'), '--config', str(work / 'config.py'), '--out',
                           str(work / 'from_config'), '--half', *SIZES])
    ours, theirs = Features.load(work / 'features'), Features.load(work / 'from_config')
    assert theirs.array.dtype == np.float16 and theirs.meta['classes'] == ours.meta['classes']
    assert theirs.fingerprint == ours.fingerprint
    np.testing.assert_array_equal(theirs.labels, ours.labels)
    np.testing.assert_allclose(theirs.array, ours.array, rtol=2e-3, atol=1e-3)


def test_undecodable_images_stop_or_belong_to_no_cluster(work, capsys):
    shutil.copytree(work / 'images', work / 'damaged')
    (work / 'damaged' / 'class1' / '01.png').write_bytes(b'no image')
    whole = (work / 'damaged' / 'class2' / '02.png').read_bytes()
    (work / 'damaged' / 'class2' / '02.png').write_bytes(whole[:len(whole) // 2])

    message = refused(extract, work, data='damaged', out='stopped')
    assert '01.png cannot be decoded' in message and '--on-error skip' in message
    assert not (work / 'stopped').exists() and not leftovers(work)

    features = extract(work, '--on-error', 'skip', data='damaged', out='skipped')
    assert 'skipped 2 images' in capsys.readouterr().out
    rows = [features.names.index(name) for name in ('class1/01.png', 'class2/02.png')]
    assert [image['index'] for image in features.meta['undecodable']] == rows
    assert features.labels is None
    clusters = divide(work, work / 'skipped.npz', '--epochs', '1', features='skipped')
    assert np.flatnonzero(clusters.assignment == -1).tolist() == rows
    assert clusters.sizes().sum() == 38
    assert '38 (+ 2 undecodable)' in capsys.readouterr().out

    for file in (work / 'damaged').rglob('*.png'):
        file.write_bytes(b'no image')
    assert 'none of the 40 images' in refused(extract, work, '--on-error', 'skip', data='damaged', out='stopped')
    assert not (work / 'stopped').exists() and not leftovers(work)


@pytest.mark.parametrize('method', ['sinkhorn', 'kmeans', 'random'])
@pytest.mark.parametrize('paths', ['index', 'hierarchical'])
def test_clusters_fit_the_images_and_the_space(work, method, paths, capsys):
    out = work / f'{method}-{paths}.npz'
    clusters = divide(work, out, '--method', method, '--paths', paths, '--min-size', '7')
    printed = capsys.readouterr().out
    features = Features.load(work / 'features')
    clusters.check_images(features.fingerprint, 'out')
    clusters.check_sizes(7, 'out')
    assert clusters.subnets.tolist() == [0, 1, 2, 3], 'cluster i is that of sub-net i'
    assert clusters.method == method and len(clusters.assignment) == 40
    assert 'balance' in printed and 'purity' in printed
    if method == 'sinkhorn':
        assert printed.count('objective') == 11
        purity = sum(np.bincount(features.labels[clusters.assignment == c]).max() for c in range(4)) / 40
        assert purity > 0.9, 'four colors are easy'


def test_balanced_clusters_by_the_posterior(work):
    sizes = divide(work, work / 'posterior.npz', '--assign', 'posterior').sizes()
    assert sizes.min() >= 8


def test_an_output_that_exists_is_kept(work, tmp_path):
    out = tmp_path / 'clusters.npz'
    out.write_bytes(b'mine')
    assert 'exists already' in refused(divide, work, out)
    assert out.read_bytes() == b'mine'
    divide(work, out, '--overwrite', '--method', 'random')

    before = (work / 'features' / 'features.npy').read_bytes()
    assert 'exists already' in refused(extract, work)
    assert (work / 'features' / 'features.npy').read_bytes() == before
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'letter.txt').write_text('dear')
    assert 'does not hold features' in refused(extract, work, '--overwrite', out=tmp_path / 'mine')
    assert (tmp_path / 'mine' / 'letter.txt').read_text() == 'dear'

    shutil.copytree(work / 'features', tmp_path / 'old')
    os.remove(tmp_path / 'old' / 'meta.json')
    assert extract(work, '--overwrite', out=tmp_path / 'old').labels is None
    assert not leftovers(tmp_path)


def damaged_copy(work, folder):
    shutil.copytree(work / 'features', folder)
    return folder


def test_features_that_cannot_be_used_are_refused(work, tmp_path):
    assert 'there is no folder' in refused(divide, work, tmp_path / 'c.npz', features=tmp_path / 'none')
    assert 'meta.json is missing' in refused(divide, work, tmp_path / 'c.npz', features='images')

    folder = damaged_copy(work, tmp_path / 'nan')
    array = np.load(folder / 'features.npy')
    array[7, 3] = np.nan
    np.save(folder / 'features.npy', array)
    message = refused(divide, work, tmp_path / 'c.npz', features=folder)
    assert Features.load(folder).names[7] in message and 'not finite' in message

    for number, (name, content) in enumerate([
            ('features.npy', b'text'), ('meta.json', b'{'), ('meta.json', b'[]'), ('images.txt', b'other.png\n')]):
        folder = damaged_copy(work, tmp_path / str(number))
        (folder / name).write_bytes(content)
        assert str(folder) in refused(divide, work, tmp_path / 'c.npz', features=folder)
    folder = damaged_copy(work, tmp_path / 'ints')
    np.save(folder / 'features.npy', np.zeros((40, 4), dtype=np.int64))
    assert 'do not fit' in refused(divide, work, tmp_path / 'c.npz', features=folder)
    folder = damaged_copy(work, tmp_path / 'other')
    meta = json.loads((folder / 'meta.json').read_text())
    (folder / 'meta.json').write_text(json.dumps({**meta, 'format': 'something'}))
    assert 'extract them again' in refused(divide, work, tmp_path / 'c.npz', features=folder)
    assert not (tmp_path / 'c.npz').exists()


@pytest.mark.parametrize('options, message', [
    (['--num-groups', '7'], '49 clusters cannot be made of 40 images'),
    (['--num-groups', '0'], 'num_groups >= 1'),
    (['--min-size', '11'], 'cannot fill 4 clusters with 11'),
    (['--epsilon', '-1'], 'epsilon'),
    (['--device', 'tpu9'], 'device'),
    (['--device', 'meta'], 'not available'),
])
def test_options_of_cluster_that_cannot_be_met_are_refused(work, tmp_path, options, message):
    assert message in refused(divide, work, tmp_path / 'c.npz', *options)
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_read_is_refused(work, tmp_path):
    def run(*source, checkpoint=work / 'net.pth', more=()):
        return refused(extract_features.main,
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
    assert 'there is no file' in run('--data', work / 'images', checkpoint=tmp_path / 'none.pth')
    assert 'size <= resize' in run('--data', work / 'images', more=['--size', '40'])
    assert 'lies in no class folder' in run('--data', work / 'images' / 'class0', more=['--labels-from-folders'])
    state = torch.load(work / 'net.pth')
    state['state_dict']['backbone.layer4.1.conv2.weight'].fill_(float('nan'))
    torch.save(state, tmp_path / 'nan.pth')
    assert 'not finite' in run('--data', work / 'images', checkpoint=tmp_path / 'nan.pth')
    assert not (tmp_path / 'out').exists() and not leftovers(tmp_path)


def test_bad_input_ends_the_tool_with_one_line_and_status_2(work, tmp_path):
    tool = Path(cluster.__file__)
    run = subprocess.run([sys.executable, str(tool), str(tmp_path / 'none'), '--out', str(tmp_path / 'c.npz')],
                         capture_output=True, text=True, check=False,
                         env={**os.environ, 'PYTHONPATH': str(tool.parents[1])})
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith('error: there is no folder')
    assert 'Traceback' not in run.stderr and 'wrote' not in run.stdout


def _noisy_clusters():
    """Features on which the centroids move a long way, in an odd number."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(8, 16))[np.arange(203) % 8] + 0.7 * generator.normal(size=(203, 16))
    return sinkhorn_clustering(Rows(features.astype(np.float32)), 8, epochs=4, batch_size=32)


def _two_processes(rank, port, work, folder):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                      MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with process_group('cpu'):
        extract_features.main([str(work / 'net.pth'), '--data', str(work / 'images'), '--out',
                               str(folder / 'features'), '--labels-from-folders', *SIZES])
        for method in ('sinkhorn', 'kmeans', 'random'):
            divide(work, folder / f'{method}.npz', '--method', method, '--min-size', '8')
        noisy = _noisy_clusters()
        np.savez(folder / f'noisy{rank}.npz', assignment=noisy.assignment, centroids=noisy.centroids,
                 objective=noisy.history[-1].objective)
        # The damaged image is in the shard of one rank; both must end.
        message = refused(extract, work, data='one_damaged', out=folder / 'stopped')
        (folder / f'message{rank}').write_text(message)


def test_two_processes_equal_one(work, tmp_path):
    shutil.copytree(work / 'images', work / 'one_damaged')
    (work / 'one_damaged' / 'class3' / '39.png').write_bytes(b'no image')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_two_processes, (port, work, tmp_path), nprocs=2)

    one, two = Features.load(work / 'features'), Features.load(tmp_path / 'features')
    np.testing.assert_allclose(one.array, two.array, rtol=1e-4, atol=1e-5)
    assert (one.names, one.meta, one.labels.tolist()) == (two.names, two.meta, two.labels.tolist())
    for method in ('sinkhorn', 'kmeans', 'random'):
        alone = divide(work, tmp_path / f'{method}-alone.npz', '--method', method, '--min-size', '8')
        shared = Clusters.load(tmp_path / f'{method}.npz')
        np.testing.assert_array_equal(alone.assignment, shared.assignment)
        np.testing.assert_allclose(alone.centroids, shared.centroids, atol=1e-4)
    alone = _noisy_clusters()
    assert alone.history[-1].cross_entropy < alone.history[0].cross_entropy - 0.02, 'the centroids moved'
    for rank in range(2):
        shared = np.load(tmp_path / f'noisy{rank}.npz')
        np.testing.assert_allclose(alone.centroids, shared['centroids'], atol=1e-4)
        np.testing.assert_array_equal(alone.assignment, shared['assignment'])
        assert float(shared['objective']) == pytest.approx(alone.history[-1].objective, abs=1e-5)
        assert '39.png cannot be decoded' in (tmp_path / f'message{rank}').read_text()
    assert not (tmp_path / 'stopped').exists() and not leftovers(tmp_path)
