"""Files that try to run code when they are read: nothing of them runs, and one line says what is wrong.

What is trusted and what is not stands in SECURITY.md.
"""

import argparse
import contextlib
import io
import json
import pickle
import re
import sys
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain.apis import ModelHub
from mmpretrain.models import ResNet
from PIL import Image
from repository import ROOT, load_tool
from routing_data import make_run

import sdr_mm
from sdr_mm.clusters import Clusters
from sdr_mm.errors import InputError
from sdr_mm.models import SDRResNet
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.models.zoo import load_network
from sdr_mm.registry import MODELS
from sdr_mm.routing import Ranking


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A tiny SDR run and a stock ResNet's weights."""
    root = make_run(tmp_path_factory.mktemp('run'))
    torch.save(torchvision.models.resnet18().state_dict(), root / 'resnet18.pth')
    return root


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that a payload writes. The environment asks ``torch.load`` for pickles, as some people's does."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    return tmp_path / 'ran'


class Call:
    """Unpickled, it is the result of a call."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts

    def __call__(self):
        """For ``pickle``, which wants a function that can be called."""


def opens(marker):
    return Call(open, str(marker), 'w')


def by_getattr(marker):
    """From a class that may be unpickled to ``eval``, by nothing but ``getattr``."""
    names = Call(getattr, Call(getattr, HistoryBuffer, '__init__'), '__globals__')
    builtins = Call(Call(getattr, names, 'get'), '__builtins__')
    return Call(Call(Call(getattr, builtins, 'get'), 'eval'), f'open({str(marker)!r}, "w")')


def history(marker):
    buffer = HistoryBuffer()
    buffer._statistics_methods['mean'] = opens(marker)
    return buffer


PAYLOADS = {
    'os.system': lambda marker: Call(__import__('os').system, f'touch {marker}'),
    'open': opens,
    'eval': lambda marker: Call(eval, f'open({str(marker)!r}, "w")'),
    'getattr': by_getattr,
    'a tensor of its own type': lambda marker: Call(
        torch._tensor._rebuild_from_type_v2, open, torch.Tensor, (str(marker), 'w'), None),
    'an array of objects': lambda marker: np.array([opens(marker)], dtype=object),
    'a command line': lambda marker: argparse.Namespace(lr=opens(marker)),
    'a history': history,
}
"""Objects that write the marker when they are unpickled."""


def saved(state, payload, file):
    torch.save(dict(state, x=payload), file)


def old_format(state, payload, file):
    torch.save(dict(state, x=payload), file, _use_new_zipfile_serialization=False)


def plain_pickle(state, payload, file):
    file.write_bytes(pickle.dumps(payload))


def instead_of_weights(state, payload, file):
    torch.save(payload, file)


def tar_format(state, payload, file):
    """As PyTorch wrote before version 0.2: an archive with three pickles, the first one a number of storages."""
    with tarfile.open(file, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            content = pickle.dumps(payload if name == 'storages' else 0)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


WRITERS = dict(saved=saved, old_format=old_format, plain_pickle=plain_pickle, instead_of_weights=instead_of_weights,
               tar_format=tar_format)

FILES = [*(('saved', payload) for payload in PAYLOADS), *((writer, 'open') for writer in WRITERS if writer != 'saved')]


def hostile(run, marker, writer, payload, file):
    state = torch.load(run / 'sdr.pth', weights_only=True)
    WRITERS[writer](state, PAYLOADS[payload](marker), file)
    return file


def mmengines_init(file):
    """Starts a network as any config of MMPretrain or MMDetection does."""

    class Network(BaseModule):

        def __init__(self):
            super().__init__(dict(type='Pretrained', checkpoint=str(file)))
            self.conv1 = torch.nn.Conv2d(3, 8, 7)

    Network().init_weights()


def our_init(file):
    init_cfg = dict(type='Pretrained', _scope_='sdr_mm', checkpoint=str(file))
    MODELS.build(dict(type='mmpretrain.ResNet', depth=18, init_cfg=init_cfg)).init_weights()


READERS = {
    'read_checkpoint': read_checkpoint,
    'sdr_mm.load': lambda file: sdr_mm.load(file, device='cpu'),
    'a candidate': lambda file: load_network(str(file)),
    'a candidate of torchvision': lambda file: load_network(f'torchvision:resnet18@{file}'),
    'a candidate of timm': lambda file: load_network(f'timm:resnet18@{file}'),
    'a candidate of MMPretrain': lambda file: load_network(f'mmpretrain:resnet18_8xb32_in1k@{file}'),
    "MMEngine's loader": lambda file: CheckpointLoader.load_checkpoint(str(file)),
    "MMEngine's load_checkpoint": lambda file: load_checkpoint(ResNet(18), str(file)),
    "MMEngine's Pretrained": mmengines_init,
    'our Pretrained': our_init,
}


def refuses(read, marker, match=None):
    """``read()`` ends in one line, and nothing has run."""
    with pytest.raises(InputError, match=match) as caught:
        read()
    assert not marker.exists()
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('writer, payload', FILES)
def test_the_payloads_would_work(writer, payload, run, marker, tmp_path):
    file = hostile(run, marker, writer, payload, tmp_path / 'x.pth')
    with contextlib.suppress(Exception):  # What comes after the payload does not matter.
        torch.load(file, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize('reader, writer, payload', [
    *((reader, *file) for reader in ('read_checkpoint', "MMEngine's loader") for file in FILES),
    *((reader, 'saved', 'open') for reader in READERS), ('sdr_mm.load', 'tar_format', 'open')])
def test_no_checkpoint_runs_code(reader, writer, payload, run, marker, tmp_path):
    file = hostile(run, marker, writer, payload, tmp_path / 'x.pth')
    refuses(lambda: READERS[reader](file), marker, r'x\.pth (holds a Python object|cannot be read as a checkpoint)')


@pytest.mark.parametrize('reader', [reader for reader in READERS if 'MMEngine' not in reader])
def test_a_pickle_called_safetensors_is_not_run(reader, run, marker, tmp_path):
    file = hostile(run, marker, 'saved', 'open', tmp_path / 'x.safetensors')
    refuses(lambda: READERS[reader](file), marker, 'give a whole .safetensors file')


def torchvision_file():
    return Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name


CACHED = {
    'torchvision:resnet18': torchvision_file,
    'mmpretrain:resnet18_8xb32_in1k': lambda: Path(ModelHub.get('resnet18_8xb32_in1k').weights).name,
    'timm:resnet18.a1_in1k': lambda: 'models--timm--resnet18.a1_in1k/snapshots/0/pytorch_model.bin',
    'https://example.org/some/x.pth?a=b': lambda: 'x.pth',
    'torchvision://resnet18.default': torchvision_file,
    'open-mmlab://detectron/resnet50_caffe': lambda: 'resnet50_caffe-788b5fa3.pth',
    'mmcls://vgg11': lambda: 'vgg11_batch256_imagenet_20210208-4271cd6c.pth',
}
"""Names of weights, and where the libraries keep them once they are downloaded."""


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches of downloads, and no network."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'huggingface'))
    for name in ('http_proxy', 'https_proxy', 'HTTPS_PROXY', 'HTTP_PROXY'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    return tmp_path


def plant(spec, caches, write):
    """Puts what ``write`` writes where the download of ``spec`` is kept."""
    if spec.startswith('timm:'):
        file = caches / 'huggingface' / CACHED[spec]()
        references = file.parents[2] / 'refs'
        references.mkdir(parents=True)
        (references / 'main').write_text('0')
    else:
        file = caches / 'torch/hub/checkpoints' / CACHED[spec]()
    file.parent.mkdir(parents=True)
    write(file)
    return file


@pytest.mark.parametrize('spec', CACHED)
def test_no_download_in_a_cache_runs_code(spec, run, marker, caches):
    file = plant(spec, caches, lambda file: hostile(run, marker, 'saved', 'open', file))
    if '://' not in spec:
        said = refuses(lambda: load_network(spec, '--candidates'), marker, f'^--candidates {spec}: ')
        assert file.name in said or 'weights_only' in said
        return
    for read in (lambda: CheckpointLoader.load_checkpoint(spec), lambda: our_init(spec), lambda: mmengines_init(spec)):
        refuses(read, marker, f'{file.name} holds a Python object that is no weight .*open')


def test_downloads_that_are_good_are_read(run, marker, caches):
    weights = torch.load(run / 'resnet18.pth', weights_only=True)
    for spec in ('torchvision:resnet18', 'timm:resnet18.a1_in1k'):
        plant(spec, caches, lambda file: torch.save(weights, file))
        assert torch.equal(load_network(spec).module.module.conv1.weight, weights['conv1.weight'])
    found = CheckpointLoader.load_checkpoint('torchvision://resnet18.default')
    assert torch.equal(found['fc.bias'], weights['fc.bias'])
    (caches / 'torch/hub/checkpoints' / CACHED['mmcls://vgg11']()).write_bytes((run / 'sdr.pth').read_bytes())
    assert 'conv1.weight' in CheckpointLoader.load_checkpoint('mmcls://vgg11')['state_dict']  # Without 'backbone.'.


def test_what_the_caches_lack_is_fetched_or_named(caches):
    for name in ('https://example.org/some/x.pth?a=b', 'torchvision://resnet18.default', 'torchvision://no_such'):
        with pytest.raises(InputError, match=f'{re.escape(name)} cannot be fetched'):
            CheckpointLoader.load_checkpoint(name)
    assert not [file for file in caches.rglob('*') if file.is_file()]


def with_config(run, file, text, **meta):
    torch.save(dict(torch.load(run / 'sdr.pth'), meta=dict(cfg=text, epoch=1, iter=1, **meta)), file)
    return file


def stored(run):
    return torch.load(run / 'sdr.pth')['meta']['cfg']


CONFIGS = {
    'a call': lambda text, code: f'x = {code}\n{text}',
    'a call in a value': lambda text, code: text.replace('depth=18', f'depth={code}'),
    'the backbone': lambda text, code: text.replace("type='SDRResNet'", "type='builtins.exec'"),
    'a norm': lambda text, code: text.replace('depth=18', f"depth=18, norm_cfg=dict(type='builtins.eval', x={code!r})"),
    'a registered norm': lambda text, code: text.replace('depth=18', "depth=18, norm_cfg=dict(type='GN')"),
    'a type that is a list': lambda text, code: text.replace('depth=18', "depth=18, norm_cfg=dict(type=['BN'])"),
    'an unknown argument': lambda text, code: text.replace('depth=18', f'depth=18, plugins={code!r}'),
    'numbers as words': lambda text, code: text.replace('depth=18', "depth='18'"),
    'all the memory there is': lambda text, code: text.replace('stem_channels=8', f'stem_channels={10**12}'),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_no_stored_config_runs_code(name, run, marker, tmp_path):
    code = f'open({str(marker)!r}, "w")'
    text = CONFIGS[name](stored(run), code)
    assert text != stored(run)
    file = with_config(run, tmp_path / 'x.pth', text)
    refuses(lambda: sdr_mm.load(file, device='cpu'), marker, 'x.pth')


class WithPart(SDRResNet):
    """Somebody's backbone that builds a part of itself from its config."""

    def __init__(self, part, **options):
        super().__init__(**options)
        self.part = MODELS.build(part)


def test_no_part_of_a_stored_backbone_is_any_function(run, marker, tmp_path):
    function = dict(type='os.makedirs', name=str(marker))
    MODELS.register_module(module=WithPart)
    try:
        for part in (function, [dict(x=dict(function, type='mmengine.mkdir_or_exist', dir_name=str(marker)))]):
            text = stored(run).replace('depth=18', f'depth=18, part={part!r}').replace("'SDRResNet'", "'WithPart'")
            file = with_config(run, tmp_path / 'x.pth', text)
            refuses(lambda file=file: sdr_mm.load(file, device='cpu'), marker, 'only registered ones are built')
        good = stored(run).replace('depth=18', "depth=18, part=dict(type='ReLU')").replace("'SDRResNet'", "'WithPart'")
        backbone = sdr_mm.load(with_config(run, tmp_path / 'x.pth', good), device='cpu').backbone
        assert type(backbone.part) is torch.nn.ReLU
    finally:
        MODELS._module_dict.pop('WithPart')
    MODELS.build(function)
    assert marker.exists()  # MMEngine itself calls it.


def test_a_pre_trained_file_in_a_stored_config_is_not_read(run, marker, tmp_path):
    other = hostile(run, marker, 'saved', 'open', tmp_path / 'other.pth')
    init = f"init_cfg=dict(type='Pretrained', checkpoint={str(other)!r})"
    file = with_config(run, tmp_path / 'x.pth', stored(run).replace('depth=18', f'depth=18, {init}'))
    assert len(sdr_mm.load(file, device='cpu').space) == 4
    assert not marker.exists()


def test_a_stored_config_that_is_executed_would_work(marker):
    Config.fromstring(f'x = open({str(marker)!r}, "w")\nx = 1', '.py')
    assert marker.exists()


DATA = {
    'a data set that unpickles': dict(type='CIFAR10'),
    'any function': dict(type='builtins.exec'),
    'MMEngine, which reads pickles': dict(type='BaseDataset', ann_file='list.pkl'),
    'a pickle as the list': dict(type='CustomDataset', ann_file='list.pkl'),
    'an address': dict(type='CustomDataset', ann_file='http://127.0.0.1:9/list.txt'),
    'an address of images': dict(type='CustomDataset', data_prefix='s3://bucket/'),
    'a name that is no text': dict(type='CustomDataset', data_prefix=3),
    'no part of ImageNet': dict(type='ImageNet', split='everything'),
}


@pytest.mark.parametrize('name', DATA)
def test_no_data_set_of_a_stored_config_runs_code(name, run, marker, tmp_path):
    (tmp_path / 'list.pkl').write_bytes(pickle.dumps(opens(marker)))
    text = stored(run)
    start = text.index("data_root='")
    old = text[start:text.index("type='ImageFolder'", start) + len("type='ImageFolder'")]
    new = ', '.join(f'{key}={value!r}' for key, value in dict(data_root=str(tmp_path), **DATA[name]).items())
    sdr = sdr_mm.load(with_config(run, tmp_path / 'x.pth', text.replace(old, new)), device='cpu')
    refuses(lambda: sdr.subnet(0, bn='all'), marker, 'pass --data FOLDER')
    refuses(lambda: sdr.route(run / 'task', bn='all', resize=32, size=32), marker, 'pass --data FOLDER')


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """Arguments of ``tools/train.py`` for a short training, and its checkpoint after one epoch of two."""
    root = tmp_path_factory.mktemp('training')
    (root / 'images').mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / f'images/{number}.png')
    arguments = [str(ROOT / 'configs/small/simsiam_resnet18_b64-15e_32px.py'), '--data', str(root / 'images')]
    options = ['train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False', 'log_level=ERROR',
               'default_hooks.checkpoint.interval=1', 'train_cfg.max_epochs=2']
    train(arguments, root / 'first', options)
    return root, arguments, options


def train(arguments, folder, options, *more):
    """Runs the tool in this process."""
    before, sys.argv = sys.argv, ['train.py', *arguments, '--work-dir', str(folder), *more, '--cfg-options', *options]
    try:
        load_tool('train').main()
    finally:
        sys.argv = before


@pytest.mark.parametrize('name', ['config', 'cfg'])
def test_resuming_does_not_run_the_text_in_a_checkpoint(name, training, marker, tmp_path):
    root, arguments, options = training
    content = read_checkpoint(root / 'first/epoch_1.pth')
    content['meta'][name] = f'x = open({str(marker)!r}, "w")\nx = 1'
    torch.save(content, tmp_path / 'x.pth')
    train(arguments, tmp_path / 'second', options, '--resume', str(tmp_path / 'x.pth'))
    assert (tmp_path / 'second/epoch_2.pth').exists() and not marker.exists()
    # The one that MMEngine finds itself.
    (tmp_path / 'third').mkdir()
    (tmp_path / 'x.pth').rename(tmp_path / 'third/epoch_1.pth')
    (tmp_path / 'third/last_checkpoint').write_text(str(tmp_path / 'third/epoch_1.pth'))
    train(arguments, tmp_path / 'third', options, '--resume')
    assert (tmp_path / 'third/epoch_2.pth').exists() and not marker.exists()


def test_no_training_starts_from_a_file_that_runs_code(training, marker, tmp_path):
    root, arguments, options = training
    torch.save(dict(read_checkpoint(root / 'first/epoch_1.pth'), x=opens(marker)), tmp_path / 'x.pth')
    init = 'model.backbone.init_cfg'
    for number, more in enumerate((['load_from={}'], [f'{init}.type=Pretrained', f'{init}.checkpoint={{}}'])):
        changed = [*options, *(option.format(tmp_path / 'x.pth') for option in more)]
        refuses(partial(train, arguments, tmp_path / str(number), changed), marker, 'x.pth')
    resume = '--resume', str(tmp_path / 'x.pth')
    refuses(lambda: train(arguments, tmp_path / 'resumed', options, *resume), marker, 'x.pth')


def test_a_ranking_cannot_name_a_task_that_is_python(run, marker, tmp_path):
    (tmp_path / 'task.py').write_text(f'open({str(marker)!r}, "w")\n')
    sdr = sdr_mm.load(run / 'sdr.pth', device='cpu')
    sdr.route(run / 'task', bn='task', resize=32, size=32).save(tmp_path / 'routing.json')
    content = json.loads((tmp_path / 'routing.json').read_text())
    content['settings']['task']['source'] = str(tmp_path / 'task.py')
    (tmp_path / 'routing.json').write_text(json.dumps(content))
    best = Ranking.load(tmp_path / 'routing.json').best
    refuses(lambda: sdr.subnet(best), marker, 'task.py, which is no folder: pass --task TASK')


def test_arrays_of_objects_are_not_unpickled(run, marker, tmp_path):
    array = np.array([opens(marker)] * 4, dtype=object)
    np.savez(tmp_path / 'clusters.npz', format=array, assignment=array)
    np.save(tmp_path / 'clusters.npy', array)
    for name in ('clusters.npz', 'clusters.npy'):
        refuses(partial(Clusters.load, tmp_path / name), marker, name)
    np.load(tmp_path / 'clusters.npz', allow_pickle=True)['format']
    assert marker.exists()
