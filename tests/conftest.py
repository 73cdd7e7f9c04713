"""What the tests share."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

ROOT = Path(__file__).parent.parent
# The tools are scripts, not a package; their tests import them by name.
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope='module')
def _default_scope_of_the_file():
    """A Runner sets the default scope of its process, which the tests of the next file must not inherit."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
