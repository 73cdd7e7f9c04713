"""No library reads a pickle, whatever it asks ``torch.load`` for and whatever the environment says."""

import os
import pickle

import pytest
import torch
import torchvision
from mmengine.runner import CheckpointLoader

from sdr_mm.cli import run
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoint_loaders import guard_mmengine
from sdr_mm.only_weights import FORBID, FORCE, only_weights


class Payload:

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), 'w')


@pytest.fixture
def hostile(tmp_path):
    torch.save(dict(x=Payload(tmp_path / 'ran')), tmp_path / 'x.pth')
    return tmp_path / 'x.pth'


@pytest.mark.parametrize('before', [{}, {FORBID: '1'}, {FORCE: '0'}, {FORCE: '1', FORBID: '1'}], ids=str)
def test_inside_it_pickles_are_refused_and_outside_all_is_as_before(before, hostile, monkeypatch):
    for name in (FORCE, FORBID):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(pickle.UnpicklingError), only_weights(), only_weights():
        torch.load(hostile, weights_only=False)
    assert not (hostile.parent / 'ran').exists()
    assert {name: os.environ[name] for name in (FORCE, FORBID) if name in os.environ} == before


def test_without_it_they_are_not(hostile):
    torch.load(hostile, weights_only=False)
    assert (hostile.parent / 'ran').exists()


def test_a_tool_runs_inside(hostile):
    with pytest.raises(pickle.UnpicklingError):
        run(lambda: torch.load(hostile, weights_only=False))
    assert not (hostile.parent / 'ran').exists()


def test_torchvision_and_torch_hub_do_not_run_what_is_in_their_cache(hostile, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(hostile.parent))
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    cached = hostile.parent / 'checkpoints' / weights.url.rpartition('/')[2]
    cached.parent.mkdir()
    hostile.rename(cached)
    for load in (lambda: torchvision.models.resnet18(weights=weights),
                 lambda: torch.hub.load_state_dict_from_url(weights.url)):
        with pytest.raises(pickle.UnpicklingError), only_weights():
            load()
    assert not (hostile.parent / 'ran').exists()
    torch.hub.load_state_dict_from_url(weights.url)
    assert (hostile.parent / 'ran').exists()


def test_buckets_of_mmengine_load_inside(hostile, monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    CheckpointLoader.register_scheme('bucket://', lambda name, map_location: torch.load(hostile, weights_only=False))
    guard_mmengine()
    with pytest.raises(InputError, match='^bucket://x cannot be read as a checkpoint .UnpicklingError.: give a file$'):
        CheckpointLoader.load_checkpoint('bucket://x')
    assert not (hostile.parent / 'ran').exists()
