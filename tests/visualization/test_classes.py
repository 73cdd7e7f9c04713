"""Which classes a cluster holds, counted by hand, and where their names come from."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from sdr_mm.errors import InputError
from sdr_mm.visualization import class_mix, read_classes
from sdr_mm.visualization.classes import draw_class_mix

CLASSES = ['kite', 'stork', 'kite', 'albatross', 'kite', 'stork', 'ibis', 'car', 'car', 'car']


def test_ratios_are_of_the_images_of_the_cluster():
    # Of the first eight: kite 3, stork 2, and one each of albatross, car and ibis.
    assert class_mix(CLASSES, np.arange(8), top=4) == [('kite', 3 / 8), ('stork', 2 / 8), ('albatross', 1 / 8),
                                                       ('car', 1 / 8)]
    assert class_mix(CLASSES, np.array([9, 1])) == [('car', 0.5), ('stork', 0.5)]


def test_bars_are_as_long_as_the_ratios():
    axes = Figure().add_subplot()
    draw_class_mix(axes, CLASSES, np.arange(8), top=3)
    assert [bar.get_width() for bar in axes.patches] == [3 / 8, 2 / 8, 1 / 8]
    assert [text.get_text() for text in axes.texts] == ['kite', '38 %', 'stork', '25 %', 'albatross', '12 %',
                                                        'the 3 largest of 5']


def test_a_class_is_the_topmost_folder_below_that_of_all():
    paths = ['/data/train/kite/1.png', '/data/train/stork/2.png', '/data/train/kite/left/3.png']
    assert read_classes('folders', paths) == ['kite', 'stork', 'kite']
    with pytest.raises(InputError, match='image 4.png lies in no class folder below /data/train/: give a CSV'):
        read_classes('folders', [*paths, '/data/train/4.png'])
    with pytest.raises(InputError, match='image 1.png lies in no class folder'):
        read_classes('folders', ['/flat/1.png', '/flat/2.png'])


def test_folders_of_imagenet_have_words():
    # From the list of the 1,000 classes; there are two cranes, a bird and a machine.
    folders = ['n01608432', 'n02058221', 'n01440764', 'n02012849', 'n03126707', 'n99999999']
    paths = [f'/imagenet/train/{folder}/x.JPEG' for folder in folders]
    assert read_classes('folders', paths) == ['kite', 'albatross', 'tench', 'crane (n02012849)', 'crane (n03126707)',
                                              'n99999999']


def test_folders_of_imagenet_stay_as_they_are_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.data', None)
    assert read_classes('folders', ['/i/n01608432/1.png', '/i/n01440764/2.png']) == ['n01608432', 'n01440764']


def test_a_file_names_images_by_the_end_of_their_paths(tmp_path):
    file = tmp_path / 'labels.csv'
    file.write_bytes('\ufeff1.png,a\nb/1.png,"b, too"\nc\\1.png,c\nother.png,d\n\n'.encode())
    assert read_classes(file, ['/data/a/1.png', '/data/b/1.png', '/data/c/1.png']) == ['a', 'b, too', 'c']
    assert read_classes(file, ['b/1.png']) == ['b, too']


@pytest.mark.parametrize('content, message', [
    (b'1.png,a\n', 'has no class for 2 of 3 images, the first is data/2.png'),
    (b'1.png,a\n2.png,b\nx/3.png,c\n', 'has no class for 1 of 3 images, the first is data/3.png'),
    (b'1.png,a\n2.png,b\n3.png,c,d\n', 'line 3 of .* is not image,class'),
    (b'1.png,\n', 'line 1 of .* is not image,class'),
    (b'1.png,a\n1.png,b\n', 'gives 1.png two classes'),
    (b'\xff\xff,a\n', 'cannot be read'),
    (b'1.png,"' + b'a' * 200_000 + b'"\n', 'cannot be read'),
    (b'', 'has no class for 3 of 3'),
    (None, 'there is no file .*labels.csv: give a CSV file .*, or folders')])
def test_a_file_without_a_class_for_each_image_is_one_line(content, message, tmp_path):
    file = tmp_path / 'labels.csv'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_classes(file, ['data/1.png', 'data/2.png', 'data/3.png'])
    assert '\n' not in str(caught.value)


def test_a_line_that_is_the_end_of_two_paths_is_refused(tmp_path):
    file = tmp_path / 'labels.csv'
    file.write_text('1.png,a\n')
    with pytest.raises(InputError, match='1.png is the end of the path of 2 images: give more of the paths'):
        read_classes(file, ['a/1.png', 'b/1.png'])
