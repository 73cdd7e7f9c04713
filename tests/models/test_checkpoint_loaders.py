"""Where MMEngine's names of checkpoints lead to."""

import functools
import http.server
import threading

import loader_worker
import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from processes import run_ranks

from sdr_mm.errors import InputError
from sdr_mm.models.checkpoint_loaders import cached_file, locate


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder, and the address that serves it. Nothing is in the cache."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(name, '*')
    folder = tmp_path / 'served'
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):

        def log_message(self, _, request, *others):
            with open(tmp_path / 'requests', 'a') as log:
                log.write(f'{request}\n')

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{serving.server_port}'
        serving.shutdown()


def test_a_url_is_downloaded_once_and_read_from_then_on(server):
    folder, address = server
    torch.save(dict(x=torch.arange(3), meta=dict(config='raise SystemExit', epoch=1)), folder / 'x.pth')
    url = f'{address}/x.pth?version=1'
    found = CheckpointLoader.load_checkpoint(url, map_location='cpu')
    assert found['x'].tolist() == [0, 1, 2] and found['meta'] == dict(epoch=1)
    (folder / 'x.pth').unlink()
    assert locate(url) == cached_file(url) and cached_file(url).name == 'x.pth'
    assert CheckpointLoader.load_checkpoint(url)['x'].tolist() == [0, 1, 2]
    with pytest.raises(InputError, match=r'y\.pth cannot be fetched \(HTTPError\): give a file'):
        CheckpointLoader.load_checkpoint(f'{address}/y.pth')
    assert not cached_file(f'{address}/y.pth').exists()


@pytest.mark.slow
def test_of_several_processes_one_downloads_and_an_error_is_one_of_all(server, tmp_path):
    folder, address = server
    torch.save(dict(x=torch.arange(3)), folder / 'x.pth')
    (tmp_path / 'address').write_text(address)
    run_ranks(loader_worker, tmp_path)
    for rank in range(2):
        weights, error = torch.load(tmp_path / f'rank{rank}.pt')
        assert weights.tolist() == [0, 1, 2] and error.endswith('gone.pth cannot be fetched (HTTPError): give a file')
    assert (tmp_path / 'requests').read_text().count('GET /x.pth') == 1


def test_names_of_model_zoos_are_those_of_mmengine(server, monkeypatch):
    folder, address = server
    torch.save(dict(state_dict={'backbone.a': torch.ones(1), 'head.b': torch.ones(1)}), folder / 'x.pth')
    tables = dict(get_torchvision_models='torchvision', get_external_models='open-mmlab', get_mmcls_models='mmcls')
    for function, scheme in tables.items():
        url = next(iter(getattr(mmengine_checkpoint, function)().values()))
        name = next(iter(getattr(mmengine_checkpoint, function)()))
        cached_file(url).parent.mkdir(parents=True, exist_ok=True)
        cached_file(url).write_bytes((folder / 'x.pth').read_bytes())
        assert locate(f'{scheme}://{name}') == cached_file(url)
        # Only the last one is cut to the backbone.
        found = CheckpointLoader.load_checkpoint(f'{scheme}://{name}')['state_dict']
        assert list(found) == (['a'] if scheme == 'mmcls' else ['backbone.a', 'head.b'])


def test_other_names_are_files_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(dict(x=torch.ones(1)), tmp_path / 'x.pth')
    assert 'x' in CheckpointLoader.load_checkpoint('~/x.pth')
    with pytest.raises(InputError, match='there is no file gone.pth'):
        CheckpointLoader.load_checkpoint('gone.pth')
    for name, message in (('torchvision://resnet19', 'torchvision:// has no such name'),
                          (f'file://{tmp_path}/x.pth', 'file:// is unknown')):
        with pytest.raises(InputError, match=message):
            CheckpointLoader.load_checkpoint(name)
