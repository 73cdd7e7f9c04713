"""The two splits of ImageNet: recomputed from WordNet, listed in a folder, trained on."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from PIL import Image
from repository import ROOT, load_tool
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, shortest_path

from projects.negative_transfer import lists, splits
from projects.negative_transfer.splits import (
    DEPTH5,
    SPLITS,
    STRICT,
    Split,
    ancestor_groups,
    below,
    linked_groups,
    make_split,
    read_split,
    sizes,
)
from projects.negative_transfer.wordnet import ARCHIVE, NOUNS, WORDNET, WordNet, parse, read_wordnet
from projects.real_data.archives import read_members
from projects.real_data.packages import fetch
from sdr_mm.datasets.build import dataset_of_config
from sdr_mm.datasets.pool import load_pool
from sdr_mm.errors import InputError
from sdr_mm.images import image_names
from sdr_mm.models.checkpoints import read_checkpoint, stored_config
from sdr_mm.space import SubnetSpace

# A small WordNet: each noun and its parents, those of an instance after '@i'. Depths are those of the comment.
SMALL = {
    'entity': [],  # 0
    'body': ['@ entity'],  # 1
    'object': ['@ body'],  # 2
    'matter': ['@ body'],
    'whole': ['@ object'],  # 3
    'substance': ['@ matter'],
    'artifact': ['@ whole'],  # 4
    'living_thing': ['@ whole'],
    'drug': ['@ substance'],
    'Tool': ['@ artifact'],  # 5
    'padding': ['@ artifact'],
    'animal': ['@ living_thing'],
    'wine': ['@ drug'],
    'hammer': ['@ Tool'],  # 6
    'powder': ['@ Tool', '@ drug'],  # 6 below the tools, but 5 below the drugs
    'pillow': ['@ padding'],
    'dog': ['@ animal'],
    'rex': ['@i dog']}  # 7
CLASSES = ['wine', 'hammer', 'powder', 'pillow', 'dog', 'rex']


def nouns(parents: Mapping[str, list[str]]) -> tuple[bytes, dict[str, str]]:
    """A ``data.noun`` of these nouns, and their ids."""
    header = '  1 This is the license.  \n'
    lines, ids, position = [], {}, len(header)
    for word, above in parents.items():
        others = ['+ 00001740 v 0101', '~ 00000000 n 0000']  # of these nothing is wanted, nor of words after the first
        pointers = [f'{entry.split()[0]} <{entry.split()[1]}> n 0000' for entry in above] + others
        words = f'{word} 0 ' + 'other 0 ' * 10
        rest = f'{len(pointers):03d} {" ".join(pointers)} | gloss | @ 00000000 n 0000  '
        lines.append(f'<{word}> 03 n 0b {words}{rest}\n')
        ids[word] = f'n{position:08d}'
        position += len(re.sub('<[^>]*>', '00000000', lines[-1]))
    text = header + re.sub('<([^>]*)>', lambda found: ids.get(found[1], 'n77777777')[1:], ''.join(lines))
    return text.encode(), ids


def named(ids: Mapping[str, str], groups: list[set[str]]) -> list[list[str]]:
    words = {synset: word for word, synset in ids.items()}
    return sorted(sorted(words[synset] for synset in group) for group in groups)


def test_rules_on_a_wordnet_whose_answers_are_known() -> None:
    data, ids = nouns(SMALL)
    wordnet = parse(data, 'it')
    classes = [ids[word] for word in CLASSES]
    assert wordnet.words == {synset: word for word, synset in ids.items()}
    depths = {word: wordnet.depths[synset] for word, synset in ids.items()}
    assert [depths[word] for word in ('entity', 'body', 'whole', 'drug', 'Tool')] == [0, 1, 3, 4, 5]
    assert [depths[word] for word in ('wine', 'powder', 'pillow', 'rex')] == [5, 5, 6, 7]
    assert named(ids, [below(wordnet, classes, ids['artifact'])]) == [['hammer', 'pillow', 'powder']]
    assert below(wordnet, [ids['artifact']], ids['artifact']) == {ids['artifact']}
    # Along one path a powder is a drug, which comes before the tools, capital letters or not.
    groups = ancestor_groups(wordnet, classes, 4)
    assert named(ids, list(groups.values())) == [['dog', 'rex'], ['hammer', 'pillow'], ['powder', 'wine']]
    assert set(groups) == {ids['artifact'], ids['living_thing'], ids['drug']}
    # Along all of them it ties tools and pillows to wine. One step lower neither wine nor pillows are tied to it.
    assert named(ids, linked_groups(wordnet, classes, 4)) == [['dog', 'rex'], ['hammer', 'pillow', 'powder', 'wine']]
    assert [len(group) for group in linked_groups(wordnet, classes, 4)] == [4, 2]
    linked = linked_groups(wordnet, classes, 5)
    assert named(ids, linked) == [['dog', 'rex'], ['hammer', 'powder'], ['pillow'], ['wine']]
    assert sizes(linked) == '2 × 2, 2 × 1' and sizes(linked_groups(wordnet, classes, 4)) == '4, 2'
    assert make_split(classes, [ids['dog']]) == {
        synset: 'A' if synset == ids['dog'] else 'B' for synset in sorted(classes)}


def test_wordnet_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    data, ids = nouns(SMALL)
    tool = ids['Tool'][1:].encode()
    for changed, message in [
        (data.replace(b' n 0b entity', b' v 0b entity'), 'line 2 of it is no noun of WordNet'),
        (data.replace(b' n 0b entity', b' n zz entity'), 'line 2 of it is no noun of WordNet'),
        (data.replace(b' n 0b entity', b' n -1 entity'), 'line 2 of it is no noun of WordNet'),
        (data.replace(b'entity', b'entit\xff', 1), 'line 2 of it is no noun of WordNet'),
        (data.replace(b'gloss', b'glos', 1), 'line 3 of it begins at byte'),
        (data.replace(b'\n', b'\r\n'), 'line 2 of it begins at byte 28 and says 00000027'),
        (data[:-60], r'line \d+ of it is no noun'),
        (data + b'\n', 'line 20 of it is no noun'),
        (b'\0' * 99, 'line 1 of it is no noun'),
        (b'', 'it has 0 nouns with nothing above them'),
        (nouns({**SMALL, 'dog': ['@ rex']})[0], r'stands above itself in it'),
        (nouns({**SMALL, 'dog': []})[0], 'it has 2 nouns with nothing above them'),
        (nouns({**SMALL, 'dog': ['@ nothing']})[0], 'it names n77777777 and does not have it'),
        (data.replace(b'@ ' + tool + b' n', b'@ ' + tool + b' v'), 'it names v'),
    ]:
        assert changed != data
        with pytest.raises(InputError, match=message) as error:
            parse(changed, 'it')
        assert '\n' not in str(error.value) and len(str(error.value)) < 300
    with pytest.raises(InputError, match=f'there is no file {tmp_path}/data.noun'):
        read_wordnet(tmp_path)
    (tmp_path / NOUNS).write_bytes(data)
    assert read_wordnet(tmp_path) == parse(data, 'it')
    with pytest.raises(InputError, match='lacks 1001 of the synsets of ImageNet, such as n01440764, so it is not'):
        splits.main(['--wordnet', str(tmp_path), '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


# The files that ship


def part(split: Split, name: str) -> set[str]:
    return {synset for synset, found in split.items() if found == name}


def test_shipped_splits_have_their_counts_and_differ_in_two_classes() -> None:
    strict, depth5 = (read_split(name) for name in SPLITS)
    assert list(strict) == list(depth5) == sorted(strict) and len(strict) == 1000
    assert [len(part(split, name)) for split in (strict, depth5) for name in 'AB'] == [522, 478, 520, 480]
    assert part(strict, 'A') - part(depth5, 'A') == {'n03938244', 'n04296562'}
    assert part(depth5, 'A') < part(strict, 'A')


@pytest.mark.parametrize('name', SPLITS)
def test_examples_of_appendix_b_are_in_their_parts(name: str) -> None:
    # ImageNet numbers its classes in the order of their ids, and MMPretrain has their names in that order.
    found = dict(zip([names.split(',')[0] for names in IMAGENET_CATEGORIES], read_split(name).values()))
    part_a = ['abacus', 'abaya', 'academic gown', 'accordion', 'acoustic guitar', 'aircraft carrier', 'airliner',
              'airship', 'altar', 'ambulance', 'amphibian', 'analog clock', 'apiary', 'apron', 'ashcan',
              'assault rifle', 'backpack', 'bakery', 'balance beam', 'balloon']
    part_b = ['tench', 'goldfish', 'great white shark', 'tiger shark', 'hammerhead', 'electric ray', 'stingray', 'cock',
              'hen', 'ostrich', 'brambling', 'goldfinch', 'house finch', 'bulbul', 'jay']
    assert {word: found[word] for word in part_a + part_b} == dict.fromkeys(part_a, 'A') | dict.fromkeys(part_b, 'B')


def test_ids_are_those_of_imagenet() -> None:
    spec = find_spec('timm')
    assert spec is not None and spec.origin is not None
    ids = (Path(spec.origin).parent / 'data' / '_info' / 'imagenet_synsets.txt').read_text().split()
    assert list(read_split(STRICT)) == ids


def test_damaged_split_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, 'FOLDER', tmp_path)
    with pytest.raises(InputError, match='there is no file'):
        read_split(STRICT)
    for content in ('[]', '{}', '{"n01440764": 1}', '{"n01440764": "A"}', '{"n01440764": "A", "n1": "B"}',
                    '{"n01440764": "A", "n01440765": "C"}', '{"n01440764": "A", "n01440764": "B"}', '{'):
        (tmp_path / f'{STRICT}.json').write_text(content)
        with pytest.raises(InputError, match=f'{STRICT}.json .*: take the file of the repository'):
            read_split(STRICT)


# The real WordNet


@pytest.fixture(scope='module')
def real() -> bytes:
    """The content of its ``data.noun``, kept or fetched; without a network the tests fail with that line."""
    ((_, archive),) = read_members(fetch(WORDNET), lambda name: name == ARCHIVE)
    return dict(read_members(archive, lambda name: name.endswith(NOUNS)))['dict/data.noun']


@pytest.mark.network
def test_command_recomputes_what_ships(real: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / NOUNS).write_bytes(real)
    out = tmp_path / 'out'
    splits.main(['--wordnet', str(tmp_path), '--out', str(out)])
    printed = capsys.readouterr().out
    for name in SPLITS:
        assert (out / f'{name}.json').read_bytes() == (splits.FOLDER / f'{name}.json').read_bytes()
    assert 'strict_522_478: 522 in A, 478 in B; equals the file that ships' in printed
    assert 'depth5_520_480: 520 in A, 480 in B; equals the file that ships' in printed
    assert ('artifact (n00021939) 522, living_thing (n00004258) 407, food (n00021265) 22, natural_object (n00019128) '
            '17, food (n07555863) 16, ') in printed
    assert 'in different parts of the two: pillow (n03938244), stage (n04296562)\n' in printed
    with pytest.raises(InputError, match='exists already'):
        splits.main(['--wordnet', str(tmp_path), '--out', str(out)])
    splits.main([])  # fetched, or from the cache
    assert capsys.readouterr().out == printed[:printed.index('written to')]


@pytest.mark.network
def test_other_hierarchy_is_written_and_said_to_differ(real: bytes, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    # Lamps become living things, with all else in its place.
    wordnet = parse(real, 'it')
    lamp, = (synset for synset in read_split(STRICT) if wordnet.words[synset] == 'table_lamp')
    start = real.index(f'\n{lamp[1:]} '.encode())
    line = real[start:real.index(b'\n', start + 1)]
    (tmp_path / NOUNS).write_bytes(real.replace(line, re.sub(rb'@ \d{8}', b'@ 00004475', line)))
    with pytest.raises(InputError, match='a split differs from the file that ships'):
        splits.main(['--wordnet', str(tmp_path), '--out', str(tmp_path)])
    assert 'strict_522_478: 521 in A, 479 in B; differs from the file that ships' in capsys.readouterr().out
    strict = read_split(STRICT)
    assert json.loads((tmp_path / f'{STRICT}.json').read_text()) == strict | {lamp: 'B'} and strict[lamp] == 'A'


@pytest.mark.network
def test_splits_are_those_of_another_program(real: bytes) -> None:
    """SciPy's graphs on a reading of the file by one regular expression."""
    lines = re.findall(rb'^(\d{8}) (.*?)\|', real, re.MULTILINE)
    number = {offset: index for index, (offset, _) in enumerate(lines)}
    edges = [(index, number[above]) for index, (_, rest) in enumerate(lines)
             for above in re.findall(rb' @i? (\d{8}) n', rest)]
    rows, columns = np.array(edges).T
    up = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(lines), len(lines))).tocsr()
    depth = shortest_path(up.T.tocsr(), unweighted=True, indices=number[b'00001740'])
    strict, depth5 = (read_split(name) for name in SPLITS)
    above = [breadth_first_order(up, number[synset[1:].encode()], return_predecessors=False) for synset in strict]
    artifact = number[b'00021939']
    assert ['A' if artifact in found else 'B' for found in above] == list(strict.values())
    groups = {}
    for level in (4, 5):
        pairs = [(index, len(above) + node) for index, found in enumerate(above)
                 for node in found[depth[found] == level]]
        first, second = np.array(pairs).T
        size = len(above) + len(lines)
        _, labels = connected_components(coo_array((np.ones(len(pairs)), (first, second)), shape=(size, size)), False)
        groups[level] = labels[:len(above)]
    largest = np.bincount(groups[5]).argmax()
    assert ['A' if label == largest else 'B' for label in groups[5]] == list(depth5.values())
    assert np.sort(np.unique(groups[4], return_counts=True)[1])[::-1].tolist() == [581, 410, 2] + 7 * [1]
    assert sizes(linked_groups(parse(real, 'it'), list(strict), 4)) == '581, 410, 2, 7 × 1'


@pytest.mark.network
def test_what_ties_food_to_artifacts_at_depth_4_is_a_powder(real: bytes) -> None:
    wordnet: WordNet = parse(real, 'it')
    split = read_split(STRICT)
    powder, = (synset for synset in split if wordnet.words[synset] == 'face_powder')
    groups = linked_groups(wordnet, set(split) - {powder}, 4)
    assert groups[0] == part(split, 'A') - {powder}


# A folder of ImageNet

FOLDERS = {'n02687172': 'A', 'n04550184': 'A', 'n03938244': 'A', 'n01440764': 'B', 'n07753592': 'B'}


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/imagenet`` in the working directory, with two images in each of five classes."""
    random = np.random.default_rng(0)
    for folder in FOLDERS:
        place = tmp_path / 'data' / 'imagenet' / 'train' / folder
        place.mkdir(parents=True)
        for number in (7, 10):
            image = Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8))
            image.save(place / f'{folder}_{number}.JPEG')
    monkeypatch.chdir(tmp_path)
    return Path('data/imagenet')


def names_of(name: str, moved: str = '') -> list[str]:
    """The images of a part, with ``moved`` in B."""
    return [f'{folder}/{folder}_{number}.JPEG' for folder, part in sorted(FOLDERS.items())
            if ('B' if folder == moved else part) == name for number in (10, 7)]


def test_lists_hold_the_images_of_their_part(imagenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists.main([str(imagenet)])
    for name in 'AB':
        listed = (imagenet / 'meta' / f'{STRICT}_{name.lower()}.txt').read_text()
        assert listed == ''.join(f'{image}\n' for image in names_of(name))
    assert capsys.readouterr().out.splitlines() == [
        f'data/imagenet/meta/strict_522_478_{part}; --epochs {epochs} are as many images as 200 epochs of all'
        for part, epochs in (('a.txt: 6 images of 3 of the 522 classes of A', 333),
                             ('b.txt: 4 images of 2 of the 478 classes of B', 500))]
    lists.main([str(imagenet), '--split', DEPTH5, '--out', 'elsewhere'])
    assert Path('elsewhere', f'{DEPTH5}_b.txt').read_text().split() == names_of('B', moved='n03938244')
    assert Path('elsewhere', f'{DEPTH5}_a.txt').read_text().split() == names_of('A', moved='n03938244')
    with pytest.raises(InputError, match='exists already'):
        lists.main([str(imagenet)])


def test_folder_that_is_not_imagenets_is_refused(imagenet: Path) -> None:
    with pytest.raises(InputError, match=r'no images in train: give the folder of ImageNet'):
        lists.main(['.'])
    for stray in ('tench/1.JPEG', 'n01440765/1.JPEG', '1.JPEG'):
        file = imagenet / 'train' / stray
        file.parent.mkdir(exist_ok=True)
        file.touch()
        with pytest.raises(InputError, match=f"'{stray}' in data/imagenet/train lies in no class of ImageNet"):
            lists.main([str(imagenet)])
        file.unlink()
    strange = imagenet / 'train' / 'n01440764' / 'a\nb.JPEG'
    strange.touch()
    with pytest.raises(InputError, match='which a list cannot hold'):
        lists.main([str(imagenet)])
    strange.unlink()
    assert not [file for file in (imagenet / 'meta').iterdir() if 'b' in file.stem[-1:]]
    for folder in ('n01440764', 'n07753592'):
        shutil.rmtree(imagenet / 'train' / folder)
    with pytest.raises(InputError, match='no class of part B'):
        lists.main([str(imagenet), '--overwrite'])


def test_names_that_are_no_text_are_listed(imagenet: Path) -> None:
    name = os.fsdecode(b'caf\xe9.JPEG')
    (imagenet / 'train' / 'n01440764' / name).touch()
    lists.main([str(imagenet)])
    assert b'n01440764/caf\xe9.JPEG\n' in (imagenet / 'meta' / f'{STRICT}_b.txt').read_bytes()


TINY = [
    'model.backbone.depth=18', 'model.backbone.base_channels=4', 'model.backbone.norm_cfg.type=BN',
    'model.neck.in_channels=32', 'model.neck.hid_channels=16', 'model.neck.out_channels=16',
    'model.neck.norm_cfg.type=BN1d', 'model.head.predictor.in_channels=16', 'model.head.predictor.hid_channels=8',
    'model.head.predictor.out_channels=16', 'model.head.predictor.norm_cfg.type=BN1d', 'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'log_level=ERROR',
    'default_hooks.checkpoint.interval=1']


def config_of(name: str) -> Path:
    return ROOT / 'configs' / 'negative_transfer' / f'simsiam_imagenet-{name}.py'


@pytest.mark.slow
@pytest.mark.parametrize('name, iterations', [('a', 3), ('b', 2)])
def test_a_config_trains_on_its_part_and_its_checkpoint_knows_it(
        name: str, iterations: int, imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists.main([str(imagenet)])
    other = names_of('AB'.replace(name.upper(), ''))
    for image in other:  # whoever reads one of the other part stops
        (imagenet / 'train' / image).write_bytes(b'no image')
    train = load_tool('train')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config_of(name)), '--epochs', '1', '--work-dir', 'run',
                                      '--cfg-options', *TINY])
    train.main()
    checkpoint = read_checkpoint('run/epoch_1.pth')
    assert checkpoint['meta']['iter'] == iterations  # images of the part / 2
    config = stored_config(checkpoint)
    pool = load_pool(config, SubnetSpace(num_groups=1, num_blocks=0), need_clusters=False)
    expected = names_of(name.upper())
    assert [Path(path).relative_to(imagenet / 'train').as_posix() for path in pool.paths] == expected
    dataset, _ = dataset_of_config(str(config_of(name)))  # as for tools/extract_features.py --config
    assert image_names(dataset) == expected


def test_a_config_without_its_list_says_so_in_one_line(imagenet: Path) -> None:
    with pytest.raises(InputError, match='strict_522_478_a.txt') as error:
        dataset_of_config(str(config_of('a')))
    assert '\n' not in str(error.value)
