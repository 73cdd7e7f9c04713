"""Names of images, and what identifies a list of them."""

import hashlib
import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import small
from mmengine.dataset import BaseDataset as EngineDataset
from mmpretrain.datasets import CustomDataset, ImageNet

from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.errors import InputError
from sdr_mm.images import find_images, fingerprint, image_names
from sdr_mm.images.listing import list_images


def test_names_do_not_depend_on_the_class_or_place_of_the_data_set(tmp_path, monkeypatch):
    names = ['n01/a.png', 'n01/b.png', 'n02/a.png']
    for name in names:
        small(tmp_path / 'data' / 'train' / name)
    train = str(tmp_path / 'data' / 'train')
    for dataset in (
            ImageFolder(train),
            ImageFolder(train + '/'),
            ImageFolder(train, lazy_init=True),
            ImageFolder(train, serialize_data=False),
            CustomDataset(data_root=train),
            CustomDataset(data_prefix=train, with_label=False),
            ImageNet(data_root=str(tmp_path / 'data'), split='train', classes=('x', 'y')),
    ):
        assert image_names(dataset) == names, dataset
    monkeypatch.chdir(tmp_path)
    assert image_names(ImageFolder('data/train')) == names


def test_names_of_images_elsewhere_start_at_their_common_folder(tmp_path):
    paths = [str(tmp_path / 'x' / 'a.png'), str(tmp_path / 'y' / 'z' / 'b.png')]
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here' / 'list.txt').write_text('\n'.join(paths))
    dataset = ImageFolder(str(tmp_path / 'here'), ann_file='list.txt')
    assert image_names(dataset) == ['x/a.png', 'y/z/b.png']


def test_images_that_are_not_files_have_no_names(tmp_path):
    (tmp_path / 'list.json').write_text(json.dumps(dict(metainfo={}, data_list=[dict(img_path='', img=[0])])))

    class Arrays(EngineDataset):

        def parse_data_info(self, info):
            return dict(img=info['img'])

    with pytest.raises(InputError, match='the images of Arrays are not files'):
        image_names(Arrays(ann_file=str(tmp_path / 'list.json')))


names = st.lists(st.text(st.characters(exclude_characters='\n', exclude_categories=['Cs'])), max_size=6)


@given(names, names)
def test_fingerprints_agree_exactly_where_the_lists_do(first, second):
    assert (fingerprint(first) == fingerprint(second)) == (first == second)
    assert fingerprint(iter(first)) == fingerprint(first)


def test_the_fingerprint_is_that_of_the_documented_bytes():
    assert fingerprint(['x/ä.png', 'y.png']) == hashlib.sha256('x/ä.png\ny.png\n2'.encode()).hexdigest()
    assert fingerprint(['caf\udce9.png'])  # a name on disk that is no UTF-8


def test_what_is_left_out_is_counted_and_named_once(tmp_path, capsys):
    images = ['a/1.JPG', 'a/2.jfif', 'a/3.jpe', 'b.avif', 'c.jp2', 'd.pbm']
    others = ['.hidden.png', 'a/photo.heic', 'noextension', 'notes.txt']
    junk = ['Thumbs.db', 'a/.DS_Store', '._b.png', 'a/desktop.ini', '.gitignore', 'ATTRIBUTION.txt', 'a/README',
            'LICENSE.md', 'prepared.json']
    folders = ['$RECYCLE.BIN/', '.ipynb_checkpoints/', '@eaDir/', 'System Volume Information/', '__MACOSX/',
               'a/lost+found/']
    for name in [*images, *others, *junk, *(folder + 'x.png' for folder in folders)]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list_images(str(tmp_path)) == (images, sorted(others + folders))
    assert find_images(str(tmp_path)) == find_images(str(tmp_path)) == images
    assert capsys.readouterr().err == (
        f'{tmp_path}: 10 files or folders left out: $RECYCLE.BIN/, .hidden.png, .ipynb_checkpoints/, …\n')
    assert find_images(str(tmp_path / 'b.avif')) == find_images(str(tmp_path / 'none')) == []


def test_only_files_are_images_and_a_broken_link_stays_in_the_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    os.mkfifo('pipe.png')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('socket.png')
    os.mkdir('folder.png')
    small(tmp_path / 'folder.png' / 'a.png')
    os.symlink('folder.png/a.png', 'link.png')
    os.symlink('pipe.png', 'link_to_pipe.png')
    os.symlink('none', 'broken.png')
    os.symlink('loop.png', 'loop.png')
    os.symlink('none', 'broken')
    # Whether a disk is mounted does not change the list; reading such an image fails.
    assert list_images('.') == (['broken.png', 'folder.png/a.png', 'link.png', 'loop.png'],
                                ['broken', 'link_to_pipe.png', 'pipe.png', 'socket.png'])


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    small(tmp_path / 'a.png')
    monkeypatch.chdir(tmp_path)
    for _ in range(17):  # deeper than the longest path that a system call takes, which stops root, too
        os.mkdir('x' * 250)
        os.chdir('x' * 250)
    with pytest.raises(InputError, match='^the folder .* cannot be read .File name too long.: make it readable'):
        find_images(str(tmp_path))
