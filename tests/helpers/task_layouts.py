"""The eleven data sets as their archives lay them out, with a few tiny images of each class.

Each function writes below ``root``, which stands for ``data/``, and returns what the task must be: for
each part, in the order of the official list, the image (relative to ``root``, or its pixels) and the name
of its class (or the set of them).
"""

import os
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
from mmpretrain.datasets import categories
from PIL import Image
from scipy.io import savemat


def _jpeg():
    stream = BytesIO()
    Image.new('RGB', (9, 7), (200, 100, 50)).save(stream, 'JPEG')
    return stream.getvalue()


JPEG = _jpeg()


def place(path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def image(root, name):
    place(root / name).write_bytes(JPEG)
    return name


def lines(path, rows):
    place(path).write_text(''.join(f'{row}\n' for row in rows), encoding='utf-8')


def shuffled(items):
    items = list(items)
    return [items[number] for number in np.random.default_rng(len(items)).permutation(len(items))]


def food101(root):
    found = {}
    for part, numbers in (('train', (11, 12, 13)), ('test', (21, ))):
        keys = [f'{title}/{number}' for title in categories.FOOD101_CATEGORIES for number in numbers]
        lines(root / 'food-101/meta' / f'{part}.txt', keys)
        found[part] = [(image(root, f'food-101/images/{key}.jpg'), key.split('/')[0]) for key in keys]
    return found


def cifar(folder, files, key, titles, **more):
    """The pickles of CIFAR: pixels channel by channel, labels as a list."""
    random = np.random.default_rng(1)
    found = {}
    for part, names in files.items():
        found[part] = []
        for name in names:
            pixels = random.integers(0, 256, (2 * len(titles), 3, 32, 32), dtype=np.uint8)
            labels = shuffled(list(range(len(titles))) * 2)
            content = {'data': pixels.reshape(len(labels), -1), key: labels,
                       **{other: [value] * len(labels) for other, value in more.items()}}
            place(folder / name).write_bytes(pickle.dumps(content))
            found[part] += [(picture.transpose(1, 2, 0), titles[label]) for picture, label in zip(pixels, labels)]
    return found


def cifar10(root):
    files = dict(train=[f'data_batch_{number}' for number in range(1, 6)], test=['test_batch'])
    return cifar(root / 'cifar10/cifar-10-batches-py', files, 'labels', categories.CIFAR10_CATEGORIES)


def cifar100(root):
    files = dict(train=['train'], test=['test'])
    return cifar(root / 'cifar100/cifar-100-python', files, 'fine_labels', categories.CIFAR100_CATEGORIES,
                 coarse_labels=7)


def sun397(root):
    # Names of classes lie one or two folders deep: /a/abbey and /a/apartment_building/outdoor.
    deep = {'apartment_building_outdoor': 'apartment_building/outdoor', 'church_indoor': 'church/indoor'}
    found = {}
    for part, name, count in (('train', 'Training', 2), ('test', 'Testing', 1)):
        keys = [(f'/{title[0]}/{deep.get(title, title)}/sun_{part}{number}.jpg', title)
                for title in categories.SUN397_CATEGORIES for number in range(count)]
        lines(root / 'SUN397/Partitions' / f'{name}_01.txt', [key for key, _ in keys])
        found[part] = [(image(root, f'SUN397/SUN397{key}'), title) for key, title in keys]
    return found


def stanford_cars(root):
    titles = categories.STANFORDCARS_CATEGORIES
    found = {}
    for part, file, count in (('train', 'cars_train_annos', 3), ('test', 'cars_test_annos_withlabels', 1)):
        labels = shuffled(list(range(len(titles))) * count)
        rows = np.zeros((1, len(labels)), dtype=[(key, object) for key in ('bbox_x1', 'class', 'fname')])
        for number, label in enumerate(labels):
            rows[0, number] = (10, label + 1, f'{number + 1:05d}.jpg')
        savemat(place(root / 'Stanford_Cars/devkit' / f'{file}.mat'), {'annotations': rows})
        found[part] = [(image(root, f'Stanford_Cars/cars_{part}/{number + 1:05d}.jpg'), titles[label])
                       for number, label in enumerate(labels)]
    return found


def fgvc_aircraft(root):
    titles = categories.FGVCAIRCRAFT_CATEGORIES
    found = {}
    for number, part in enumerate(('train', 'val', 'test')):
        rows = [(f'{number + 1}{label:06d}', title) for label, title in enumerate(titles)]
        rows = shuffled(rows)
        lines(root / 'fgvc-aircraft-2013b/data' / f'images_variant_{part}.txt', [' '.join(row) for row in rows])
        found[part] = [(image(root, f'fgvc-aircraft-2013b/data/images/{key}.jpg'), title) for key, title in rows]
    return found


def annotation(objects):
    body = ''.join(f'<object><name>{title}</name><difficult>{difficult}</difficult>'
                   '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>'
                   for title, difficult in objects)
    return f'<annotation><folder>VOC2007</folder>{body}</annotation>'


def voc2007(root):
    titles = categories.VOC2007_CATEGORIES
    folder = root / 'VOCdevkit/VOC2007'
    found = {}
    for start, part in ((0, 'train'), (100, 'val'), (200, 'test')):
        found[part], keys = [], []
        for number, title in enumerate(titles):
            # Two of a kind, a neighbor, and a difficult one, which does not count.
            other, hard = titles[(number + 1) % 20], titles[(number + 2) % 20]
            keys.append(f'{start + number:06d}')
            place(folder / 'Annotations' / f'{keys[-1]}.xml').write_text(
                annotation([(title, 0), (title, 0), (other, 0), (hard, 1)]))
            found[part].append((image(root, f'VOCdevkit/VOC2007/JPEGImages/{keys[-1]}.jpg'), {title, other}))
        lines(folder / 'ImageSets/Main' / f'{part}.txt', keys)
    # A class of which one object is difficult and another is not is there; one image has difficult ones only.
    (folder / 'Annotations/000000.xml').write_text(annotation([('cat', 1), ('cat', 0), ('dog', 0), ('dog', 1)]))
    found['train'][0] = (found['train'][0][0], {'cat', 'dog'})
    (folder / 'Annotations/000200.xml').write_text(annotation([('cat', 1)]))
    found['test'][0] = (found['test'][0][0], set())
    return found


def dtd(root):
    found = {}
    for part, number in (('train', 1), ('val', 2), ('test', 3)):
        keys = [f'{title}/{title}_{number:04d}.jpg' for title in categories.DTD_CATEGORIES]
        lines(root / 'dtd/labels' / f'{part}1.txt', keys)
        found[part] = [(image(root, f'dtd/images/{key}'), key.split('/')[0]) for key in keys]
    return found


def oxford_pets(root):
    titles = categories.OxfordIIITPet_CATEGORIES
    found = {}
    for part, official, numbers in (('train', 'trainval', (1, 2, 3)), ('test', 'test', (4, ))):
        rows = [(f'{title}_{number}', label) for label, title in enumerate(titles) for number in numbers]
        lines(root / 'Oxford-IIIT_Pets/annotations' / f'{official}.txt',
              [f'{key} {label + 1} 1 {label + 1}' for key, label in rows])
        found[part] = [(image(root, f'Oxford-IIIT_Pets/images/{key}.jpg'), titles[label]) for key, label in rows]
    return found


def flowers102(root):
    # setid.mat numbers the images from 1, out of order; imagelabels.mat holds their classes, from 1.
    numbers = shuffled(range(1, 3 * 102 + 1))
    labels = np.zeros(len(numbers), dtype=np.uint8)
    found, sets = {}, {}
    for start, (part, key) in enumerate((('train', 'trnid'), ('val', 'valid'), ('test', 'tstid'))):
        chosen = numbers[102 * start:102 * (start + 1)]
        sets[key] = np.array([chosen], dtype=np.uint16)
        labels[np.array(chosen) - 1] = np.arange(1, 103)
        found[part] = [(image(root, f'Flowers102/jpg/image_{number:05d}.jpg'), f'class {label + 1}')
                       for label, number in enumerate(chosen)]
    savemat(root / 'Flowers102/setid.mat', sets)
    savemat(root / 'Flowers102/imagelabels.mat', {'labels': labels[None]})
    return found


# Images in each class of Caltech-101, in the order of the names of the folders, 9,144 in all.
CALTECH101 = (
    467, 435, 435, 200, 798, 55, 800, 42, 42, 47, 54, 46, 33, 128, 98, 43, 85, 91, 50, 43, 123, 47, 59, 62, 107, 47, 69,
    73, 70, 50, 51, 57, 67, 52, 65, 68, 75, 64, 53, 64, 85, 67, 67, 45, 34, 34, 51, 99, 100, 42, 54, 88, 80, 31, 64, 86,
    114, 61, 81, 78, 41, 66, 43, 40, 87, 32, 76, 55, 35, 39, 47, 38, 45, 53, 34, 57, 82, 59, 49, 40, 63, 39, 84, 57, 35,
    64, 45, 86, 59, 64, 35, 85, 49, 86, 75, 239, 37, 59, 34, 56, 39, 60)


def caltech101(root):
    """All of it, as links to one image; drawn here as the benchmark's own code does, with NumPy's global generator."""
    folder = root / 'caltech-101/101_ObjectCategories'
    source = root / image(root, 'one.jpg')
    names, labels = [], []
    for label, (title, count) in enumerate(zip(sorted(categories.CALTECH101_CATEGORIES), CALTECH101)):
        (folder / title).mkdir(parents=True)
        for number in range(1, count + 1):
            names.append(f'caltech-101/101_ObjectCategories/{title}/image_{number:04d}.jpg')
            labels.append((label, title))
            os.link(source, root / names[-1])
    # The real folder holds a file that is no image.
    (folder / 'BACKGROUND_Google/tmp').write_text('')
    state = np.random.get_state()
    np.random.seed(0)
    members = [[i for i, (other, _) in enumerate(labels) if other == label] for label in range(102)]
    drawn = {i for numbers in members for i in np.random.choice(numbers, 30)}
    np.random.set_state(state)
    rows = [(name, title) for name, (_, title) in zip(names, labels)]
    return dict(train=[row for i, row in enumerate(rows) if i in drawn],
                test=[row for i, row in enumerate(rows) if i not in drawn])


LAYOUTS = dict(
    food101=food101, cifar10=cifar10, cifar100=cifar100, sun397=sun397, stanford_cars=stanford_cars,
    fgvc_aircraft=fgvc_aircraft, voc2007=voc2007, dtd=dtd, oxford_pets=oxford_pets, caltech101=caltech101,
    flowers102=flowers102)
