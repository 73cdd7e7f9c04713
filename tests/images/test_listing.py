"""Names of images, and what identifies a list of them."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import small
from mmengine.dataset import BaseDataset as EngineDataset
from mmpretrain.datasets import CustomDataset, ImageNet

from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint, image_names


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
