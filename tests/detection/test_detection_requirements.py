"""The messages without the full environment. Runs in both environments."""

from __future__ import annotations

import subprocess
import sys

import pytest
from repository import ROOT

# None in sys.modules makes an import fail as if the compiled operators were not there, which in the light
# environment they are not.
BLOCKED = "import sys; sys.modules['mmcv._ext'] = None; sys.path[:0] = [{root!r}, {tools!r}]; "


def python(code):
    code = BLOCKED.format(root=str(ROOT), tools=str(ROOT / 'tools')) + code
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_detection_without_operators_ends_the_tool_with_one_line():
    config = ROOT / 'configs/detection/faster-rcnn_resnet18_fpn_aerial_400px.py'
    result = python(f"sys.argv = ['train.py', {str(config)!r}]; import train; train.run(train.main)")
    assert result.returncode == 2
    line, = [line for line in result.stderr.splitlines() if line.startswith('error:')]
    assert "'make .venv-full/.installed'" in line
    assert 'Traceback' not in result.stderr


@pytest.mark.slow
def test_package_says_which_part_is_missing():
    result = python('''
from sdr_mm.errors import InputError
try:
    import sdr_mm.detection
except InputError as error:
    print(error)
''')
    assert result.stdout.splitlines()[-1].startswith('detection needs mmcv with its compiled operators')
