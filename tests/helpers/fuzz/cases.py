"""The cases: each kind starts from a whole run on disk and mutates one file of it, or the command line."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_files import exif, upright
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from repository import ROOT
from routing_data import make_run

from fuzz.mutations import ODD_VALUES, ODD_WORDS, Payload, Random, change_array, change_tree, harm
from fuzz.runner import MARKER, Case, run_in_fork, run_tool
from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.images import read_rgb

SIZES = ['--resize', '36', '--size', '32']
CONFIG = f"""# A training of seconds: 4 sub-nets, 24 images of 32 pixels.
_base_ = ['{ROOT}/configs/small/sdr_simsiam_resnet18_b64-15e_32px.py']
model = dict(
    backbone=dict(base_channels=(6, 2), num_groups=2, stem_channels=8),
    neck=dict(hid_channels=16, out_channels=16),
    head=dict(predictor=dict(in_channels=16, hid_channels=8, out_channels=16)))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=2)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
log_level = 'ERROR'
"""
ROUTE = ['route', 'sdr.pth', '--task', 'task', *SIZES, '--k', '3', '--bn-images', '8']
SMALL = ['train', 'tiny.py', '--data', 'pool', '--clusters', 'clusters.npz', '--work-dir', 'run']


class Base:
    """The files that a user has after a whole run, below one folder.

    Args:
        root (Path): ``run/`` gets the files; each case gets a folder of links to them.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, root / 'run'
        run_in_fork(lambda: make_run(self.files), root / 'make')
        (self.files / 'tiny.py').write_text(CONFIG)
        shutil.copytree(ROOT / 'configs', self.files / 'configs')
        for argv in ([*ROUTE, '--out', 'routing.json'],
                     ['export_subnet', 'sdr.pth', '--subnet', '1', '--bn-reset', 'none', '--out', 'subnet.pth'],
                     ['extract_features', 'subnet.pth', '--data', 'pool', *SIZES, '--out', 'features'],
                     [*SMALL[:-1], 'trained']):
            run_in_fork(partial(run_tool, argv), self.files)
        self.checkpoint = torch.load(self.files / 'sdr.pth', weights_only=False)
        self.subnet = torch.load(self.files / 'subnet.pth', weights_only=False)['state_dict']

    def folder(self, name: str) -> Path:
        """A folder for a case, with a link to each file of the run."""
        folder = self.root / 'cases' / name
        folder.mkdir(parents=True)
        for file in self.files.iterdir():
            if file.name not in ('stdout', 'stderr'):
                (folder / file.name).symlink_to(file)
        return folder


def own(folder: Path, name: str) -> Path:
    """A copy in place of the link, which the case may change."""
    link = folder / name
    source = link.resolve()
    link.unlink()
    if source.is_dir():
        shutil.copytree(source, link)
    else:
        shutil.copyfile(source, link)
    return link


def replace(folder: Path, name: str, content: bytes) -> None:
    """Puts ``content`` in the place of a link."""
    (folder / name).unlink()
    (folder / name).write_bytes(content)


FORMATS = dict(
    PNG=('RGB', 'RGBA', 'L', 'LA', 'P', '1', 'I;16'), JPEG=('RGB', 'L', 'CMYK'), GIF=('RGB', 'P'),
    TIFF=('RGB', 'RGBA', 'L', 'I;16', 'F', 'I', 'CMYK', '1'), WEBP=('RGB', 'RGBA'), BMP=('RGB', 'L', '1'),
    PPM=('RGB', 'L', 'I'))


def untouched(picture: Image.Image, kind: str, random: Random) -> tuple[bytes, np.ndarray, str]:
    """A file with more in it than its pixels, or written in another way; the pixels that it shows; what was done."""
    junk = random.bytes(int(random.integers(1, 2000)))
    text = PngInfo()
    text.add_text('Comment', junk.decode('latin-1'))
    profile, frames = dict(icc_profile=junk), dict(save_all=True, append_images=[picture.rotate(180)])
    ways: list[dict[str, Any]] = [{}, *dict(
        PNG=[dict(pnginfo=text), profile, frames, dict(compress_level=0)],
        JPEG=[dict(comment=junk), profile, dict(xmp=junk), dict(progressive=True), dict(optimize=True)],
        GIF=[dict(comment=junk[:255]), dict(interlace=0), frames],
        TIFF=[dict(description='x' * len(junk)), profile, frames, dict(compression='tiff_lzw'),
              dict(compression='packbits')],
        WEBP=[dict(xmp=junk), profile]).get(kind, [])]
    turn = 1
    if kind in ('PNG', 'JPEG', 'TIFF', 'WEBP') and random.random() < 0.5:
        turn = int(random.integers(1, 9))
        entry = exif(turn, before=struct.pack('<HHI', int(random.integers(256)), 2, 4000) + random.bytes(4))
        ways = [dict(tiffinfo={0x0112: turn, 0x8769: 3}) if kind == 'TIFF' else
                dict(exif=b'Exif\0\0' + entry if kind == 'JPEG' else entry)]
    options = ways[int(random.integers(len(ways)))]
    plain, stream = io.BytesIO(), io.BytesIO()
    picture.save(plain, kind)
    picture.save(stream, kind, **options)
    content, what = stream.getvalue(), f'{", ".join(options) or "junk at the end"}, orientation {turn}'
    if not options:
        content += junk
    if kind == 'PNG' and random.random() < 0.5:
        content = content[:33] + b'\0\0\0\4tEXta\0bcnone' + content[33:]  # after the header
        what += ', text with a wrong checksum'
    return content, upright(np.asarray(Image.open(plain).convert('RGB')), turn), what


def images(base: Base, number: int, folder: Path, random: Random) -> Case:
    """A picture of any format and mode, damaged or with what changes no pixel, among sound ones."""
    kind = str(random.choice(list(FORMATS)))
    mode = str(random.choice(FORMATS[kind]))
    pixels = random.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    if mode == 'I;16':
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode in ('I', 'F'):
        values = pixels[..., 0]
        picture = Image.fromarray((values / 255).astype(np.float32) if mode == 'F' else values.astype(np.int32))
    else:
        picture = picture.convert(mode)
    stream = io.BytesIO()
    picture.save(stream, kind)
    shown: np.ndarray | None = None  # The pixels of what is read, where they are known.
    place = own(folder, 'pool')
    file = place / f'a.{dict(JPEG="jpg", PPM="ppm").get(kind, kind.lower())}'
    special = number % 12
    keeps = special in (5, 8, 11)
    content, what = harm(stream.getvalue(), random)
    if number % 48 == 0:
        os.mkfifo(file)
        what = 'a pipe'
    elif keeps:
        if mode in ('I;16', 'I', 'F'):
            picture, mode = Image.fromarray(pixels), 'RGB'
        content, shown, what = untouched(picture, kind, random)
        file = place / f'a.{random.choice(["png", "jpg", "tif"])}'
        file.write_bytes(content)
    elif special == 1:
        file.symlink_to(file)
        what = 'a link to itself'
    elif special == 2:
        file.mkdir()
        (file / 'b.png').write_bytes(stream.getvalue()[:100])
        what = 'a folder of that name with a cut image'
    elif special == 3:
        sides = [(1, 8000), (8000, 1), (1, 1), (60_000, 3)][int(random.integers(4))]
        Image.new('RGB', sides, 'red').save(file, 'PNG')
        what = f'{sides[0]} x {sides[1]} pixels'
    else:
        for _ in range(int(random.integers(3))):
            content, more = harm(content or b'x', random)
            what += f', {more}'
        if kind == 'PNG':  # Its checksums tell that others are not shown.
            shown = pixels[..., :1].repeat(3, 2) if mode == 'I;16' else np.asarray(picture.convert('RGB'))
        file.write_bytes(content)
    skip = keeps or bool(random.integers(2))
    argv = ['extract_features', 'subnet.pth', '--data', 'pool', *SIZES, '--out', 'out']
    argv += ['--on-error', 'skip' if skip else 'stop']

    def good() -> bool:
        array = np.load(folder / 'out' / 'features.npy')
        if len(array) not in (24, 25) or not np.isfinite(array).all():
            return False
        if json.loads((folder / 'out' / 'meta.json').read_text())['undecodable']:
            return not keeps
        return shown is None or np.array_equal(read_rgb(file), shown)

    return Case('images', number, f'{kind} {mode}: {what}', argv, good, ['out'])


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _draws_no_other(found: Clusters, wanted: Clusters) -> bool:
    """Whether each place of a sub-net is refused, or has an image of its cluster."""
    for cluster, subnet in enumerate(wanted.subnets.tolist()):
        for place in range(found.order.size(subnet)):
            try:
                image = found.order.take(subnet, np.array([place])).item()
            except InputError:  # A training that did not draw it has not noticed.
                continue
            if wanted.assignment[image] != cluster:
                return False
    return True


def _damage_order(arrays: dict[str, np.ndarray], random: Random) -> tuple[bytes, str]:
    """The images sorted by sub-net, of which a training reads the places that it draws, as something else."""
    order, sizes = arrays['order'].astype(np.int64), arrays['sizes'].copy()
    one, other = random.choice(len(order), 2, replace=False).tolist()
    what = str(random.choice(['packed', 'outside', 'negative', 'twice', 'swapped', 'reversed', 'sizes']))
    if what == 'packed':
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        return stream.getvalue(), what
    if what == 'sizes':
        sizes[0], sizes[1] = sizes[0] + 1, sizes[1] - 1
    elif what == 'swapped':
        order[[one, other]] = order[[other, one]]
    elif what == 'reversed':
        order = order[::-1]
    else:
        order[one] = dict(outside=len(arrays['assignment']), negative=-1, twice=order[other])[what]
    return _npz({**arrays, 'order': order, 'sizes': sizes}), f'order: {what}'


def clusters(base: Base, number: int, folder: Path, random: Random) -> Case:
    """``clusters.npz`` with other arrays, or damaged."""
    raw = (base.files / 'clusters.npz').read_bytes()
    whole, trains = bool(number % 3 == 0), number % 4 == 1
    what, text = 'another array', ''
    if whole:
        content, what = harm(raw, random)
    elif number % 6 == 1:
        content, what = _damage_order(dict(np.load(base.files / 'clusters.npz')), random)
        whole = trains = True
    else:
        arrays = dict(np.load(base.files / 'clusters.npz'))
        name = str(random.choice(list(arrays)))
        if random.random() < 0.15:
            del arrays[name]
            what = f'without {name}'
        elif random.random() < 0.1:
            arrays[name] = np.array(Payload(folder / MARKER), dtype=object)
            what = f'a pickle as {name}'
        else:
            arrays[name], text = change_array(arrays[name], random)
            what = f'{name}: {text}'
        content = _npz(arrays)
    replace(folder, 'clusters.npz', content)
    use = [*SMALL] if trains else [*ROUTE, '--clusters', 'clusters.npz', '--out', 'out']

    def same() -> bool:
        """Damage that is not noticed must change nothing; other values may be as good as these."""
        wanted = Clusters.load(base.files / 'clusters.npz')
        if not trains:
            found = Clusters.load(folder / 'clusters.npz')
            return all(np.array_equal(getattr(found, name), value) for name, value in vars(wanted).items())
        return _draws_no_other(Clusters.open(folder / 'clusters.npz'), wanted)

    return Case('clusters', number, what, use, same if whole else None, ['out'] if use[0] == 'route' else [])


ODD_TENSORS: dict[str, Callable[[torch.Tensor], Any]] = dict(
    double=torch.Tensor.double, half=torch.Tensor.half, int=torch.Tensor.int, bool=torch.Tensor.bool,
    complex=lambda value: value.to(torch.complex64), sparse=torch.Tensor.to_sparse, meta=lambda value: value.to('meta'),
    quantized=lambda value: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8), flat=torch.Tensor.flatten,
    deeper=lambda value: value[None], empty=lambda value: value[:0], negative=lambda value: -value.abs() - 1,
    nan=lambda value: torch.full_like(value, float('nan')), inf=lambda value: torch.full_like(value, float('inf')),
    list=torch.Tensor.tolist, array=torch.Tensor.numpy, none=lambda value: None, text=lambda value: 'weights',
    expanded=lambda value: torch.zeros(1).expand(value.shape))
NOTICED = ('int', 'bool', 'complex', 'sparse', 'meta', 'quantized', 'deeper', 'empty', 'nan', 'inf', 'list', 'array',
           'none', 'text')
"""What a weight may not be without an error."""


def checkpoints(base: Base, number: int, folder: Path, random: Random) -> Case:
    """A checkpoint with odd weights, an odd config, pickles, or damaged."""
    checkpoint = dict(base.checkpoint, state_dict=dict(base.checkpoint['state_dict']))
    outputs, good = ['out'], None
    use = ['export_subnet', 'sdr.pth', '--subnet', '1', '--bn-reset', 'none', '--out', 'out']
    kind = ['damage', 'weight', 'config', 'pickle', 'key', 'resume', 'tree'][number % 7]
    stream = io.BytesIO()

    def same() -> bool:
        state = torch.load(folder / 'out', weights_only=False)['state_dict']
        return all(torch.equal(value, state[key]) for key, value in base.subnet.items())

    def resumed() -> bool:
        if not (folder / 'trained/epoch_2.pth').exists():
            return False
        found, wanted = (torch.load(place / 'trained/epoch_2.pth', weights_only=False)['state_dict']
                         for place in (folder, base.files))
        return all(torch.equal(value, found[key]) for key, value in wanted.items())

    if kind in ('damage', 'resume'):
        name = 'sdr.pth' if kind == 'damage' else 'trained/epoch_1.pth'
        content, what = harm((base.files / name).read_bytes(), random)
        if kind == 'damage':
            replace(folder, 'sdr.pth', content)
            good = same
        else:
            good = resumed
            if random.random() < 0.5:
                # Other numbers may be as good as these, but none may end in a traceback.
                stored = torch.load(base.files / name, weights_only=False)
                changed, what = change_tree(dict(stored, state_dict=''), random, ODD_VALUES)
                changed['state_dict'] = changed.get('state_dict') or stored['state_dict']
                torch.save(changed, stream)
                content, good = stream.getvalue(), None
            own(folder, 'trained')
            (folder / name).write_bytes(content)
            (folder / 'trained/epoch_2.pth').unlink()
            use, outputs = [*SMALL[:-1], 'trained', '--resume'], []
        return Case('checkpoints', number, f'{kind}: {what}', use, good, outputs)
    keys = [key for key in checkpoint['state_dict'] if key.startswith('backbone.') and 'num_batches' not in key]
    key = str(random.choice(keys))
    if kind == 'weight':
        what = str(random.choice(list(ODD_TENSORS)))
        checkpoint['state_dict'][key] = ODD_TENSORS[what](checkpoint['state_dict'][key])
        if what in NOTICED or what == 'negative' and key.endswith('running_var'):
            good = _never
        what = f'{key}: {what}'
    elif kind == 'key':
        value = checkpoint['state_dict'].pop(key)
        what, good = f'without {key}', _never
        if random.random() < 0.5:
            checkpoint['state_dict'][f'{key}_'] = value
            what = f'{key} renamed'
    elif kind == 'config':
        lines = checkpoint['meta']['cfg'].splitlines(keepends=True)
        odd = [f'__import__("os").mkdir({str(folder / MARKER)!r})\n', 'raise SystemExit(0)\n', ')\n', '\x00',
               f'x = {"9" * 99}\n', 'model = None\n', 'model = dict(type="torch.load")\n', 'train_dataloader = 3\n',
               '(' * 3000]
        place = int(random.integers(len(lines) + 1))
        what = odd[int(random.integers(len(odd)))]
        if random.random() < 0.5:
            lines.insert(place, what)
        else:
            content, what = harm(''.join(lines).encode(), random)
            lines = [content.decode(errors='replace')]
        checkpoint['meta'] = dict(checkpoint['meta'], cfg=''.join(lines))
        what = f'config: {what[:40]!r}'
        use = [*ROUTE, '--out', 'out']
    elif kind == 'pickle':
        payload = Payload(folder / MARKER)
        holders: list[Callable[[], Any]] = [
            lambda: dict(checkpoint, extra=payload), lambda: dict(checkpoint, meta=payload), lambda: payload,
            lambda: dict(checkpoint, state_dict=dict(checkpoint['state_dict'], more=payload)), lambda: [payload],
            lambda: dict(checkpoint, message_hub=dict(log_scalars=dict(loss=payload)))]
        checkpoint = holders[int(random.integers(len(holders)))]()
        what, good = 'a payload', _never
        if random.random() < 0.3:
            pickle.dump(checkpoint, stream)
            what = 'a payload in a bare pickle'
        use = [use, ['knn_eval', 'sdr.pth', '--task', 'task', *SIZES, '--out', 'out'],
               [*SMALL[:-1], 'out', '--cfg-options', 'load_from=sdr.pth'],
               ['extract_features', 'sdr.pth', '--data', 'pool', *SIZES, '--out', 'out']][int(random.integers(4))]
        outputs = [] if use[0] == 'train' else outputs
    else:
        # The weights have their own cases, and there are many of them.
        part = dict(checkpoint, state_dict='') if random.random() < 0.7 else checkpoint
        changed, what = change_tree(part, random, ODD_VALUES)
        checkpoint = dict(changed, state_dict=checkpoint['state_dict']) if changed.get('state_dict') == '' else changed
    if not stream.tell():
        torch.save(checkpoint, stream, _use_new_zipfile_serialization=random.random() < 0.8)
    replace(folder, 'sdr.pth', stream.getvalue())
    return Case('checkpoints', number, f'{kind}: {what}', use, good, outputs)


def _never() -> bool:
    return False


def rankings(base: Base, number: int, folder: Path, random: Random) -> Case:
    """JSON with other values, or damaged: a ranking, exported from or shown, or the record of a run that is resumed."""
    name = 'trained/run.json' if number % 6 == 5 else 'routing.json'
    raw = (base.files / name).read_bytes()
    if number % 4 == 0:
        content, what = harm(raw, random)
    elif number % 40 in (1, 5):
        content, what = b'[' * 100_000, 'nested deeply'
    else:
        tree, what = change_tree(json.loads(raw), random)
        content = json.dumps(tree).encode()
    if number % 6 == 5:
        own(folder, 'trained')
        (folder / name).write_bytes(content)
        (folder / 'trained/epoch_2.pth').unlink()
        return Case('rankings', number, f'run.json: {what}', [*SMALL[:-1], 'trained', '--resume'], None, [])
    replace(folder, name, content)
    if number % 2:
        use = ['export_subnet', 'sdr.pth', '--routing', 'routing.json', '--bn-images', '8', '--out', 'out']
        return Case('rankings', number, what, use, None, ['out'])
    return Case('rankings', number, f'shown: {what}', _show, None, ['gains.png', 'out.png', 'page.html'])


def _show() -> None:
    from sdr_mm.cli import run
    from sdr_mm.datasets.pool import Pool
    from sdr_mm.routing import Ranking
    from sdr_mm.routing.export_command import export_command
    from sdr_mm.visualization import routing_page, routing_report, task_gains

    def main() -> None:
        ranking = Ranking.load('routing.json')
        assert ranking.table() and ranking._repr_html_()
        pool = Pool(sorted(map(str, Path('pool').iterdir())), Clusters.load('clusters.npz'))
        routing_report([ranking], pool, 'out.png', over='super-net')
        task_gains([ranking], 'gains.png', over='super-net')
        routing_page(ranking, 'page.html', command=export_command(ranking, 'sdr.pth'), galleries='none')

    run(main)


def features(base: Base, number: int, folder: Path, random: Random) -> Case:
    """A folder of features with other arrays, names or meta data."""
    place = own(folder, 'features')
    name = str(random.choice(['features.npy', 'meta.json', 'images.txt', 'labels.npy']))
    file = place / name
    if name == 'labels.npy':
        np.save(file, np.arange(24) % 2)
    if name.endswith('.npy') and random.random() < 0.6:
        if random.random() < 0.1:
            array, what = np.array([Payload(folder / MARKER)] * 24, dtype=object), 'a pickle'
        else:
            array, what = change_array(np.load(file), random)
        np.save(file, array, allow_pickle=True)
    elif name == 'meta.json' and random.random() < 0.6:
        tree, what = change_tree(json.loads(file.read_text()), random)
        file.write_text(json.dumps(tree))
    else:
        content, what = harm(file.read_bytes(), random)
        file.write_bytes(content)
    use = ['cluster', 'features', '--out', 'out', '--num-groups', '2', '--num-blocks', '1', '--method',
           str(random.choice(['sinkhorn', 'kmeans', 'random'])), '--device', 'cpu']
    return Case('features', number, f'{name}: {what}', use, None, ['out'])


COMMANDS = tuple(line.split() for line in (
    'extract_features subnet.pth --data pool --resize 36 --size 32 --batch-size 8 --workers 1 --out out',
    'cluster features --num-groups 2 --num-blocks 1 --min-size 2 --epochs 1 --lr 0.5 --epsilon 0.05 --seed 0 --out out',
    'train tiny.py --data pool --clusters clusters.npz --work-dir out --epochs 2 --on-error skip',
    'route sdr.pth --task task --resize 36 --size 32 --k 3 --bn-images 8 --batch-size 8 --search screen --finalists 2 '
    '--temperature 0.1 --seed 1 --baseline subnet.pth --top 2 --bottom 1 --out out',
    'export_subnet sdr.pth --path 0,1 --bn-reset task --task task --resize 36 --size 32 --bn-images 8 --out out',
    'export_subnet sdr.pth --routing routing.json --bn-images 8 --out out',
    'export_subnet sdr.pth --subnet 1 --bn-reset none --format torchvision --license MIT --card card.md --out out',
    'export_subnet sdr.pth --subnet 1 --bn-reset none --format huggingface --license MIT --out out',
    'routing_report sdr.pth --routing routing.json --task task --data pool --clusters clusters.npz --workers 1 '
    '--out out',
    'knn_eval subnet.pth --task official --resize 36 --size 32 --k 3 5 --temperature 0.1 --batch-size 8 --out out',
    'linear_eval subnet.pth --task task --resize 36 --size 32 --l2 1 0.1 --tol 0.001 --splits 1 --out out',
    'prune subnet.pth --base-channels 4 --data pool --resize 36 --size 32 --bn-images 8 --batch-size 8 --out out',
    'prune subnet.pth --structured --base-channels 4 --stem-channels 4 --seed 1 --out out',
    'check_tasks configs/tasks/dtd.py --data-root pool',
    'test tiny.py sdr.pth --work-dir out'))
OTHER_FILES = ('sdr.pth', 'subnet.pth', 'clusters.npz', 'routing.json', 'tiny.py', 'pool', 'task', 'features',
               'pool/rings000.png', 'features/meta.json')


def commands(base: Base, number: int, folder: Path, random: Random) -> Case:
    """A command line with a word changed, dropped, doubled or misspelled."""
    argv = list(COMMANDS[number % len(COMMANDS)])
    kind = str(random.choice(['word', 'word', 'word', 'file', 'drop', 'double', 'misspell', 'more']))
    place = int(random.integers(1, len(argv)))
    values = [i for i in range(1, len(argv)) if not argv[i].startswith('--') and argv[i] not in ('out', )]
    if kind == 'word':
        place = int(random.choice(values))
        argv[place] = str(random.choice(ODD_WORDS))
    elif kind == 'file':
        place = int(random.choice([i for i in values if (base.files / argv[i]).exists()]))
        argv[place] = str(random.choice(OTHER_FILES))
    elif kind == 'drop':
        del argv[place]
    elif kind == 'double':
        argv.insert(place, argv[place])
    elif kind == 'misspell':
        place = int(random.choice([i for i in range(len(argv)) if argv[i].startswith('--')] or [1]))
        argv[place] += 'x'
    else:
        argv.append(str(random.choice(['extra', '--verbose', '--device', '--overwrite', '-'])))
    if argv[0] == 'train' and '--work-dir' not in argv:
        argv += ['--work-dir', 'out']
    for place, word in enumerate(argv):
        if place and argv[place - 1] == '--out' and word == 'out' and random.random() < 0.2:
            argv[place] = str(random.choice(['pool', 'sdr.pth/x', 'new/deep/out', '/proc/out', 'routing.json', '']))
    outputs = [] if argv[0] in ('train', 'test') else ['out']
    return Case('commands', number, ' '.join(argv)[:200], argv, None, outputs, done=argv[0] == 'check_tasks')


OPTIONS = (
    'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.type', 'optim_wrapper.type', 'train_dataloader.batch_size',
    'train_dataloader.num_workers', 'train_dataloader.dataset.type', 'train_dataloader.dataset.dataset.data_root',
    'train_cfg.max_epochs', 'train_cfg.type', 'model.type', 'model.backbone.depth', 'model.backbone.base_channels',
    'model.backbone.norm_cfg.type', 'model.neck.hid_channels', 'model.distillation', 'model.data_preprocessor.mean',
    'param_scheduler', 'default_hooks.checkpoint.interval', 'default_hooks.logger.type', 'custom_hooks',
    'randomness.seed', 'load_from', 'resume', 'log_level', 'env_cfg', 'work_dir', 'default_scope', 'evaluation.k',
    'visualizer', 'launcher')
ODD_OPTIONS = (
    '-1', '0', '1.5', 'x', 'None', '', '[]', '[1,2', 'True', "{'a':1}", 'nan', '"', "dict(type='x')", '/nowhere')


def options(base: Base, number: int, folder: Path, random: Random) -> Case:
    """A config entry with an odd value, a name that no config has, or an option that is no pair."""
    name = str(random.choice(OPTIONS))
    value = str(random.choice(ODD_OPTIONS))
    good = None
    kind = number % 4
    if kind == 0:
        parts = name.split('.')
        at = int(random.integers(len(parts)))
        parts[at] = parts[at][:-1] + 'q'
        name, good = '.'.join(parts), _never
    word = name if kind == 1 and random.random() < 0.4 else f'{name}={value}'
    return Case('options', number, word, [*SMALL, '--cfg-options', word], good)


def archives(base: Base, number: int, folder: Path, random: Random) -> Case:
    """An archive of a package, damaged, or larger than it seems."""
    members = {f'package/{i}.png': (base.files / 'pool' / f'rings{i:03d}.png').read_bytes() for i in range(3)}
    stream = io.BytesIO()
    zipped = bool(number % 2)
    if zipped:
        with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED if number % 4 == 1 else zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            if number % 10 == 1:
                archive.writestr('package/bomb.png', bytes(400 << 20), zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(fileobj=stream, mode='w:gz') as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    content, what = harm(stream.getvalue(), random)
    if number % 10 == 1:
        content, what = stream.getvalue(), 'a member of 400 MiB'
    (folder / 'archive').write_bytes(content)

    def read() -> None:
        from projects.real_data.archives import read_members
        from sdr_mm.cli import run

        def main() -> None:
            found = dict(read_members(folder / 'archive', lambda name: name.endswith('.png')))
            # A renamed member or a lost end are seen by whoever wants the file; other content is seen by nobody.
            if any(value != members.get(name, value) for name, value in found.items()):
                raise AssertionError('a member has other content')

        run(main)

    return Case('archives', number, f'{"zip" if zipped else "tgz"}: {what}', read)


Maker = Callable[[Base, int, Path, Random], Case]
KINDS: dict[str, tuple[Maker, int]] = dict(
    images=(images, 26), clusters=(clusters, 14), checkpoints=(checkpoints, 21), rankings=(rankings, 12),
    features=(features, 8), commands=(commands, 18), options=(options, 10), archives=(archives, 4))
"""What makes the cases of a kind, and its weight among the others."""
