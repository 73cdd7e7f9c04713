"""Each benchmark runs to its end and keeps its numbers, with as little work as it takes."""

import json
import os
import re
import subprocess
import sys

import pytest
from repository import ROOT
from routing_data import make_run, write

BENCHMARKS = ROOT / 'benchmarks'
SMALL_NETWORK = '--depth 18 --size 32 --batch-size 2'
CASES = {
    'subnet_step': f'{SMALL_NETWORK} --rounds 1',
    'training_time': f'{SMALL_NETWORK} --rounds 1 --subnets 4',
    'memory': SMALL_NETWORK,
    'knn': '--train 300 --test 40 --dimensions 16 --k 5 --rounds 1',
    'clustering': '--images 500 --dimensions 16 --clusters 8 --rounds 1 --assign posterior --min-size 20',
    'linear': '{root}/kinds --steps 20 --size 32 --base-channels 8',
    'prefix_sharing': '--task {root}/task --checkpoint {root}/sdr.pth --images 20 --size 32',
    'halving': '{root}/task --checkpoint {root}/sdr.pth --k 3 --splits 1 --settings 2:6',
    'loader': '--images 2 --rounds 1',
    'scale': '--images 3000 --num-groups 2 --num-blocks 2 --dimensions 8 --batch-size 2 --world-sizes 1 --seconds 0.2',
    'routing': '--depth 18 --size 32 --images 40 --classes 2 --finalists 2',
}
# Compiles for a minute; tests/engine/test_compiling.py compiles.
OTHERS = {'compiled'}
# What they have in common, and no benchmarks.
SHARED = {'networks', 'rounds', 'trainings'}


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_it_runs_to_its_end_and_keeps_its_numbers(tmp_path, name):
    if '{root}' in CASES[name]:
        make_run(tmp_path)
        write(tmp_path / 'kinds', ('a', 'b', 'rings'), 8, 0)
    arguments = [argument.format(root=tmp_path) for argument in CASES[name].split()]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(BENCHMARKS / f'{name}.py'), *arguments, '--threads', '1', '--json',
         str(tmp_path / 'numbers.json')], capture_output=True, text=True, cwd=ROOT, timeout=500,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stderr[-2000:]
    numbers = json.loads((tmp_path / 'numbers.json').read_text())
    assert numbers['device'] == '1 thread(s)' and numbers['conditions']
    for comparison in numbers.get('comparisons', []):
        # The table says of each whether its target is met.
        assert comparison['name'] in done.stdout
        assert comparison['met'] == (comparison['ratio'] <= comparison['target'])
    assert len(numbers) > 3


def test_scripts_run_all_benchmarks_and_only_those():
    used = {script for file in ('cpu.sh', 'gpu.sh')
            for script in re.findall(r'^bench \w+ (\w+)', (BENCHMARKS / file).read_text(), re.M)}
    assert used == {*CASES, *OTHERS} == {file.stem for file in BENCHMARKS.glob('*.py')} - SHARED
