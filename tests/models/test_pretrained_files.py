"""The checkpoints that ship, the command that makes them, and their names."""

import ast
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmpretrain.models import ResNet
from repository import ROOT, load_tool
from routing_data import BACKBONE, CLASSES, MEAN, STD, make_run, write

import sdr_mm
from projects.study.publish import BASELINE, LIMIT, SDR, main, publish, publish_both
from sdr_mm.engine.configs import use_init_from
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import load_resnet, read_checkpoint, stored_config
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.models.shipped import FOLDER, find_checkpoint, shipped_names
from sdr_mm.models.zoo import load_network

NAMES = ['pool-r18', 'pool-r18-baseline']


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A made-up training of an SDRNet, ``sdr.pth``, and one of a plain network, ``baseline.pth``."""
    root = make_run(tmp_path_factory.mktemp('run'))
    network = ResNet(depth=18, base_channels=8, stem_channels=8)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(0)) / 3)
    config = Config(dict(
        model=dict(type='SimSiam', backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8,
                                                 init_cfg=dict(type='Pretrained', checkpoint=str(root / 'x.pth')))),
        data_preprocessor=dict(mean=MEAN, std=STD), work_dir=str(root), evaluation=dict(resize=40, size=32, k=7)))
    state = {f'backbone.{key}': value for key, value in network.state_dict().items()}
    state['neck.fc0.weight'] = torch.ones(4, 4)
    torch.save(dict(state_dict=state, meta=dict(cfg=config.pretty_text, epoch=3), optimizer=dict(folder=str(root))),
               root / 'baseline.pth')
    return root


@pytest.fixture(scope='module')
def published(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp('published')
    publish_both(run / 'sdr.pth', run / 'baseline.pth', folder)
    return folder


@pytest.fixture(scope='module')
def shipped():
    return sdr_mm.load('pool-r18', device='cpu')


@pytest.fixture(scope='module')
def task(tmp_path_factory):
    return write(tmp_path_factory.mktemp('task'), CLASSES, 8, 2)


def contents(value):
    """Everything in nested dictionaries and lists that is none itself."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return [part for one in value for part in contents(one)]
    return [value]


@pytest.mark.parametrize('source, name', [('sdr.pth', SDR), ('baseline.pth', BASELINE)])
def test_published_weights_are_those_of_the_training_in_half_precision(run, published, source, name):
    trained = read_checkpoint(run / source)['state_dict']
    written = read_checkpoint(published / name)['state_dict']
    assert [*written] == [key for key in trained if key.startswith('backbone.')]
    rounded = 0
    for key, value in written.items():
        expected = trained[key].numpy()
        if expected.dtype == np.float32:
            half = expected.astype(np.float16)
            rounded += int((half != expected).sum())
            expected = half
        assert value.numpy().dtype == expected.dtype and np.array_equal(value.numpy(), expected), key
    assert rounded > 1000  # Or the weights would not tell whether they were rounded.


def test_published_sdr_is_the_network_of_the_training_and_knows_its_input(run, published):
    mine, theirs = (sdr_mm.load(file, device='cpu') for file in (published / SDR, run / 'sdr.pth'))
    assert mine.settings == theirs.settings and mine.space.paths == theirs.space.paths
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for path in mine.space.paths:
        expected = theirs.backbone(images, path)[-1]
        assert (mine.backbone(images, path)[-1] - expected).norm() < .01 * expected.norm()
    network, info = load_resnet(published / BASELINE)
    assert info['settings'] == load_resnet(run / 'baseline.pth')[1]['settings']
    assert info['settings'].normalization == (MEAN, STD) and (info['settings'].k, info['settings'].resize) == (7, 40)
    assert next(network.parameters()).dtype == torch.float32


@pytest.mark.parametrize('name', [SDR, BASELINE])
def test_a_published_file_has_plain_values_and_no_path(run, published, name):
    # Not our reader: the strict one of PyTorch with nothing allowed.
    content = torch.load(published / name, weights_only=True)
    assert {type(value) for value in contents(content)} <= {str, int, float, torch.Tensor, type(None)}
    assert (str(run) in (run / 'sdr.pth').read_bytes().decode('latin-1')) and '/' in str(run)
    data = (published / name).read_bytes()
    for path in (str(run), str(published), 'pool/', 'clusters.npz', '.pth', 'neck', 'optimizer'):
        assert path.encode() not in data, path
    config = stored_config(content)
    assert set(config) == {'model', 'evaluation', 'data_preprocessor'} and set(config['model']) == {'backbone'}
    assert content['meta']['training']['epochs'] == (1 if name == SDR else 3)


def test_publishing_twice_gives_the_same_bytes_and_replaces_nothing_unasked(run, published, tmp_path):
    files = run / 'sdr.pth', run / 'baseline.pth', tmp_path
    publish_both(*files)
    for name in (SDR, BASELINE):
        assert (tmp_path / name).read_bytes() == (published / name).read_bytes()
    with pytest.raises(InputError, match=f'{SDR}'):
        publish_both(*files)
    publish_both(*files, overwrite=True)
    with pytest.raises(InputError, match='pool-r18.pth exists'):  # Before anything is fetched or trained.
        main(['--out', str(tmp_path), '--work-dir', str(tmp_path / 'work')])
    assert not (tmp_path / 'work').exists()


def test_what_cannot_ship_is_one_line_and_no_file(run, tmp_path, monkeypatch):
    def altered(**backbone):
        content = read_checkpoint(run / 'sdr.pth')
        config = Config(dict(model=dict(type='SimSiamSDR', backbone=dict(BACKBONE, **backbone))))
        content['meta']['cfg'] = config.pretty_text
        return content

    content, file = altered(), tmp_path / 'large.pth'
    content['state_dict']['backbone.bn1.running_var'][0] = 7e4
    torch.save(content, file)
    with pytest.raises(InputError, match=r'large\.pth: bn1\.running_var is beyond 65504'):
        publish(file, tmp_path / 'out.pth', load_sdr)
    torch.save(altered(norm_cfg=dict(type='BN', **{'/home/me': 1})), file)
    # The layers know no such entry, so the network is that of the other file.
    with pytest.raises(InputError, match=r"large\.pth: its backbone has '/home/me', which may be a path"):
        publish(file, tmp_path / 'out.pth', lambda path: load_sdr(run / 'sdr.pth'))
    torch.save(read_checkpoint(run / 'sdr.pth')['state_dict'], file)
    with pytest.raises(InputError, match='stores no config with a backbone'):
        publish(file, tmp_path / 'out.pth', lambda path: load_sdr(run / 'sdr.pth'))
    monkeypatch.setattr('projects.study.publish.LIMIT', 1000)
    with pytest.raises(InputError, match=r'out\.pth would have .* MB, and what ships has at most 0'):
        publish(run / 'sdr.pth', tmp_path / 'out.pth', load_sdr)
    assert not list(tmp_path.glob('*out*'))


def test_names_that_ship():
    assert shipped_names() == NAMES
    page = (FOLDER / 'README.md').read_text(encoding='utf-8')
    for name in NAMES:
        size = find_checkpoint(name).stat().st_size
        assert 0 < size < LIMIT == 8_000_000
        assert re.search(rf'^\| `{name}` \|.*\| {size / 1e6:.1f} MB \|$', page, re.MULTILINE)


@pytest.mark.parametrize('name', NAMES)
def test_a_shipped_file_has_plain_values_its_origin_and_no_path(name):
    content = torch.load(FOLDER / f'{name}.pth', weights_only=True)
    assert set(content) == {'state_dict', 'meta'}
    assert {type(value) for value in contents(content)} <= {str, int, float, torch.Tensor}
    assert {value.dtype for value in content['state_dict'].values()} == {torch.float16, torch.int64}
    data = (FOLDER / f'{name}.pth').read_bytes()
    meta = content['meta']
    for part in ('/tmp', '/work', 'root', '/home', 'work_dir', 'ann_file', 'solar'):
        assert not [text for text in contents(meta) if isinstance(text, str) and part in text]
        assert len(part) < 5 or part.encode() not in data
    for line in meta['cfg'].splitlines():
        ast.literal_eval(line.partition(' = ')[2])
    page = ' '.join((FOLDER / 'README.md').read_text(encoding='utf-8').split())
    for who in ('OpenMoji', 'Cal Henderson', 'Sina Mohammadi', 'Wesnoth', 'Emmanuel Puybaret / eTeks', 'Open Clip Art',
                'Twitter, Inc. and other contributors', 'Google'):
        assert who in meta['attribution'] and who in page
    assert meta['license'].startswith('Apache-2.0') and 'CC-BY-SA-4.0' in meta['license']
    assert meta['training']['epochs'] == 8 and meta['training']['seed'] == 0


def test_the_shipped_sdrnet_is_of_the_size_of_the_baseline(shipped):
    assert len(shipped.space) == 16
    settings = shipped.settings
    assert (settings.resize, settings.size, settings.k) == (32, 32, 20)
    assert settings.normalization == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    baseline = load_network('pool-r18-baseline')
    assert baseline.name == 'pool-r18-baseline' and baseline.settings == settings
    sub = shipped.subnet(15, bn='none').network.state_dict()
    assert {key: value.shape for key, value in baseline.module.state_dict().items()} == {
        key: value.shape for key, value in sub.items()}
    assert not torch.equal(baseline.module.state_dict()['conv1.weight'], sub['conv1.weight'])


def test_shipped_checkpoints_route_and_export_with_the_images_of_the_task_alone(shipped, task, tmp_path):
    ranking = shipped.route(task, bn='task', k=3, baseline='pool-r18-baseline', workers=1)
    assert len(ranking.subnets) == 16 and ranking.network('baseline').bn == 'task'
    net = shipped.subnet(5, bn='task', task=task, workers=1)
    net.export(tmp_path / 'backbone.pth')
    # Read by MMPretrain as in any config of it.
    stock = ResNet(depth=18, base_channels=16, stem_channels=16,
                   init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth')))
    stock.init_weights()
    stock.eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stock(images)[-1], net(images)[-1])
    # In the statistics of the task, and no longer in the super-net's.
    mixture = shipped.subnet(5, bn='none').network.state_dict()
    assert not torch.equal(stock.state_dict()['bn1.running_mean'], mixture['bn1.running_mean'])
    assert read_checkpoint(tmp_path / 'backbone.pth')['meta']['sdr_checkpoint'] == 'pool-r18'


def test_without_the_images_of_pre_training_one_line_says_what_to_pass(shipped, task):
    for ask in (lambda: shipped.route(task, workers=1), lambda: shipped.subnet(0),
                lambda: shipped.route(task, search='label_free', bn='task', workers=1)):
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value) == (
            "pool-r18 comes without the images of pre-training: pass --bn-reset task (in Python bn='task'), with which "
            'any search but label_free does without them, or --data FOLDER and --clusters FILE')
    with pytest.raises(InputError, match='or --data FOLDER$'):
        shipped.subnet(0, bn='all')
    with pytest.raises(InputError, match='needs the clusters, but pool-r18 names no clusters'):
        shipped.route(task, data=task, workers=1)


def test_tools_and_trainings_take_the_names(task, tmp_path, capsys):
    common = ['--task', str(task), '--bn-reset', 'task', '--device', 'cpu', '--workers', '1']
    load_tool('route').main(['pool-r18', '--k', '3', '--baseline', 'pool-r18-baseline',
                             '--out', str(tmp_path / 'routing.json'), *common])
    load_tool('export_subnet').main(['pool-r18', '--routing', str(tmp_path / 'routing.json'),
                                     '--out', str(tmp_path / 'backbone.pth'), *common])
    assert 'export_subnet.py pool-r18 --routing' in capsys.readouterr().out
    assert load_resnet(tmp_path / 'backbone.pth')[1]['config']['base_channels'] == 16
    weights = CheckpointLoader.load_checkpoint('pool-r18-baseline', map_location='cpu')['state_dict']
    assert torch.equal(weights['backbone.conv1.weight'].float(), load_resnet('pool-r18-baseline')[0].conv1.weight)
    cfg = Config.fromfile(ROOT / 'configs/small/sdr_simclr_resnet18_b128-10e_32px.py')
    use_init_from(cfg, 'pool-r18-baseline')
    assert cfg.model.init_cfg.checkpoint == 'pool-r18-baseline'
    with pytest.raises(InputError, match='there is no file pool-r81, and no checkpoint of this name'):
        use_init_from(cfg, 'pool-r81')


def test_an_unknown_name_is_told_which_there_are_and_a_file_is_not():
    for ask in (sdr_mm.load, load_network, load_resnet, read_checkpoint):
        with pytest.raises(InputError) as caught:
            ask('pool-r81')
        assert str(caught.value) == ('there is no file pool-r81, and no checkpoint of this name ships with sdr_mm: '
                                     'give a file, or one of pool-r18, pool-r18-baseline')
        for file in ('./pool-r18', 'pool-r18.pth', 'somewhere/pool-r18', r'somewhere\pool-r18', 'zoo:pool-r18', ''):
            with pytest.raises(InputError, match=f'^there is no file {re.escape(file)}: give a checkpoint$'):
                ask(file)


def test_a_file_of_the_name_comes_first_and_a_folder_does_not(run, tmp_path, monkeypatch, shipped):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pool-r18').mkdir()
    assert sdr_mm.load('pool-r18', device='cpu').fingerprint == shipped.fingerprint
    (tmp_path / 'pool-r18').rmdir()
    (tmp_path / 'pool-r18').write_bytes((run / 'sdr.pth').read_bytes())
    assert len(sdr_mm.load('pool-r18', device='cpu').space) == 4


def test_the_package_has_them():
    wanted = re.search(r'^sdr_mm = (\[.*?^\])$', (ROOT / 'pyproject.toml').read_text(encoding='utf-8'), re.M | re.S)
    package = {file.name for pattern in ast.literal_eval(wanted[1]) for file in (ROOT / 'sdr_mm').glob(pattern)}
    assert {*(file.name for file in FOLDER.iterdir())} <= package and FOLDER.parent == ROOT / 'sdr_mm'
