"""Folders of images as data sets."""

import os

import pytest
from image_files import small

from sdr_mm.datasets.image_folder import ImageFolder
from sdr_mm.datasets.loading import LoadImage
from sdr_mm.errors import InputError
from sdr_mm.images import image_names


def test_a_flat_or_nested_folder_gives_all_its_images_in_order(tmp_path):
    names = ['a.png', 'b.JPG', 'deep/d.gif', 'deep/er/c.webp']
    for name in names:
        small(tmp_path / name)
    small(tmp_path / '.hidden.png')
    small(tmp_path / '.cache' / 'a.png')
    (tmp_path / 'notes.txt').write_text('no image')
    dataset = ImageFolder(str(tmp_path), pipeline=[LoadImage()])
    assert image_names(dataset) == names
    assert [dataset.get_data_info(i) for i in range(4)] == [
        dict(img_path=os.path.join(tmp_path, name), sample_idx=i) for i, name in enumerate(names)]
    assert dataset[2]['img'].shape == (2, 2, 3)


def test_linked_folders_are_followed_once(tmp_path):
    small(tmp_path / 'images' / 'a.png')
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'link').symlink_to(tmp_path / 'images')
    (root / 'again').symlink_to(tmp_path / 'images')
    (tmp_path / 'images' / 'loop').symlink_to(root)
    assert image_names(ImageFolder(str(root))) == ['again/a.png']


def test_a_list_chooses_images_and_their_order(tmp_path):
    for name in ('a.png', 'b/c.png', 'd.png'):
        small(tmp_path / name)
    (tmp_path / 'list.txt').write_text('d.png\n\nb/c.png\n')
    assert image_names(ImageFolder(str(tmp_path), ann_file='list.txt')) == ['d.png', 'b/c.png']


def test_a_list_may_begin_with_a_mark_and_names_need_not_be_text(tmp_path):
    name = os.fsdecode(b'caf\xe9.png')
    small(tmp_path / 'a.png')
    os.rename(small(tmp_path / 'b.png'), tmp_path / name)
    (tmp_path / 'list.txt').write_bytes(b'\xef\xbb\xbfa.png\r\ncaf\xe9.png\r\n')
    dataset = ImageFolder(str(tmp_path), ann_file='list.txt', pipeline=[LoadImage()])
    assert image_names(dataset) == ['a.png', name]
    assert all(dataset[number]['img'].shape == (2, 2, 3) for number in range(2))


def test_a_missing_or_empty_folder_or_list_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty.txt').touch()
    for options, message in [
        (dict(data_root=str(tmp_path / 'none')), 'there is no folder'),
        (dict(data_root=''), 'there is no folder'),
        (dict(data_root=str(tmp_path / 'empty')), 'there are no images in the folder'),
        (dict(data_root=str(tmp_path), ann_file='none.txt'), 'there is no file'),
        (dict(data_root=str(tmp_path), ann_file='empty.txt'), 'lists no images'),
    ]:
        with pytest.raises(InputError, match=message):
            ImageFolder(**options)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_a_list_from_windows_is_read(tmp_path, encoding):
    for name in ('ä.png', 'b/c.png'):
        small(tmp_path / name)
    (tmp_path / 'list.txt').write_bytes('b\\c.png\r\nä.png\r\n'.encode(encoding))
    assert image_names(ImageFolder(str(tmp_path), ann_file='list.txt')) == ['b/c.png', 'ä.png']
