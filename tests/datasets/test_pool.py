"""The images of pre-training are found again from a stored config, which may be anybody's."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint
from sdr_mm.space import SubnetSpace

SPACE = SubnetSpace(2, 1)


@pytest.fixture
def folder(tmp_path):
    """Six images, and their clusters beside the folder."""
    images = tmp_path / 'images'
    images.mkdir()
    for number in range(6):
        Image.new('RGB', (8, 8), (number, 0, 0)).save(images / f'{number}.png')
    write_clusters(tmp_path / 'clusters.npz')
    return images


def write_clusters(file, count=6):
    """Of the list of the six images, with ``count`` of them assigned."""
    names = [f'{number}.png' for number in range(6)]
    Clusters(np.arange(count) % 2, np.eye(2, dtype=np.float32), np.array([[0], [1]]), 2, fingerprint(names),
             'random').save(file, overwrite=True)


def config(dataset, clusters=None):
    return dict(train_dataloader=dict(dataset=dict(type='ClusterDataset', clusters=clusters, dataset=dataset)))


def test_images_and_clusters_are_those_the_config_names(folder):
    clusters = str(folder.parent / 'clusters.npz')
    stored = config(dict(type='sdr_mm.ImageFolder', data_root=str(folder), pipeline=[dict(type='Nonsense')]), clusters)
    pool = load_pool(stored, SPACE)
    assert [Path(path).name for path in pool.paths] == [f'{number}.png' for number in range(6)]
    assert pool.clusters.assignment.tolist() == [0, 1, 0, 1, 0, 1]
    assert load_pool(stored, SPACE, need_clusters=False).clusters is None
    moved = folder.rename(folder.parent / 'moved')
    with pytest.raises(InputError, match=f'there is no folder {folder} that x.pth names: pass --data FOLDER'):
        load_pool(stored, SPACE, where='x.pth')
    assert len(load_pool(stored, SPACE, data=moved).paths) == 6
    with pytest.raises(InputError, match='cluster again with --num-groups 3 --num-blocks 1'):
        load_pool(stored, SubnetSpace(3, 1), data=moved)


@pytest.mark.parametrize('count', [5, 7])
def test_clusters_of_more_or_fewer_images_than_the_list_has_are_refused(folder, count):
    clusters = folder.parent / 'clusters.npz'
    write_clusters(clusters, count)
    with pytest.raises(InputError, match=rf'clusters\.npz: {count} images are assigned .*, but the list has 6: '):
        load_pool(config(None), SPACE, data=folder, clusters=clusters)


class Payload:
    """Writes a file when somebody unpickles it."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), 'w')


def test_a_data_set_that_unpickles_is_not_built_on_the_word_of_a_checkpoint(folder):
    ran, batch = folder.parent / 'ran', folder / 'cifar-10-batches-py' / 'data_batch_1'
    batch.parent.mkdir()
    batch.write_bytes(pickle.dumps(Payload(ran)))
    for kind in ('CIFAR10', 'mmpretrain.CIFAR10', 'builtins.exec', 'VOC', None):
        with pytest.raises(InputError, match='only ImageFolder, ImageNet, .* are read: pass --data FOLDER'):
            load_pool(config(dict(type=kind, data_root=str(folder))), SPACE, need_clusters=False)
    assert not ran.exists()


def test_options_that_could_do_more_than_list_files_are_not_passed_on(folder):
    stored = config(dict(type='ImageFolder', data_root=str(folder), serialize_data='no',
                         backend_args=dict(backend='http'), metainfo='gone.txt', lazy_init=True))
    assert len(load_pool(stored, SPACE, need_clusters=False).paths) == 6


@pytest.mark.parametrize('stored, line', [
    ({}, 'x.pth comes without the images of pre-training: pass --bn-reset task .* or --data FOLDER$'),
    (dict(train_dataloader=3), 'x.pth comes without the images of pre-training'),
    (config(None), 'x.pth does not name them: pass --data FOLDER'),
    (config('images'), 'x.pth does not name them: pass --data FOLDER'),
])
def test_a_config_without_images_is_one_line(stored, line):
    with pytest.raises(InputError, match=line) as caught:
        load_pool(stored, SPACE, need_clusters=False, where='x.pth')
    assert '\n' not in str(caught.value)
