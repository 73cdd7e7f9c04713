"""What the tests share."""

import pytest
import torch
from mmengine.registry import DefaultScope


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
