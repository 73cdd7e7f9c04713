"""What must not cost the three seconds that importing torch takes."""

import subprocess
import sys

import pytest
from repository import ROOT

LIGHT = ('arguments', 'cli', 'errors', 'files', 'mmselfsup', 'records', 'registry', 'space', 'text_table',
         'zip_files')
HEAVY = ('torch', 'mmpretrain', 'sklearn', 'scipy', 'matplotlib', 'faiss')


def imported(code, *argv):
    """Those of ``HEAVY`` that a fresh process has imported after ``code``, and what it printed."""
    code += f'\nprint("\\nloaded", *(name for name in {HEAVY} if name in sys.modules))'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', 'import sys\n' + code, *map(str, argv)],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    output, _, names = done.stdout.rpartition('\nloaded')
    return names.split(), output


@pytest.mark.parametrize('module', ['sdr_mm', *(f'sdr_mm.{name}' for name in LIGHT)])
def test_the_ground_floor_is_cheap(module):
    assert imported(f'import {module}')[0] == []


@pytest.mark.slow
@pytest.mark.parametrize('tool', sorted((ROOT / 'tools').glob('*.py')), ids=lambda tool: tool.stem)
def test_help_of_a_tool_is_cheap(tool):
    names, output = imported("""
import runpy
try:
    runpy.run_path(sys.argv.pop(1), run_name='__main__')
except SystemExit as end:
    assert not end.code
else:
    raise AssertionError('it does not end after its help')
""", tool, '--help')
    assert names == []
    assert output.startswith('usage: ')
