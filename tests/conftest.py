"""What the tests share."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
# The tools are scripts, not a package; their tests import them by name.
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)
