"""What all tools do with input that cannot be used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import ROOT, load_tool
from routing_data import make_run

from sdr_mm.cli import progress, run
from sdr_mm.errors import InputError


@pytest.mark.parametrize('error, status, line', [
    (InputError('bad input: give good input'), 2, 'error: bad input: give good input'),
    (KeyboardInterrupt(), 130, 'interrupted'),
])
def test_an_error_has_a_line_of_its_own_even_beside_an_open_bar(error, status, line, capsys):
    with progress(range(3), desc='work') as bar, pytest.raises(SystemExit) as ended:
        def main() -> None:
            bar.update()
            raise error

        run(main)
    shown = capsys.readouterr().err
    assert ended.value.code == status
    assert 'work' in shown and line in re.split(r'[\r\n]', shown)


def test_only_the_last_line_of_a_workers_traceback_is_shown(capsys):
    def main() -> None:
        raise InputError('Caught InputError in DataLoader worker process 0.\n  File "x.py"\n'
                         'sdr_mm.errors.InputError: image a.png cannot be decoded: remove it')

    with pytest.raises(SystemExit):
        run(main)
    assert capsys.readouterr().err == 'error: image a.png cannot be decoded: remove it\n'


def run_script(tmp_path, body, stdout='pipe', stderr='pipe', encoding='utf-8'):
    """A tool that writes ``result`` after it has printed, in a process; ``stdout`` may be full, closed or unread."""
    script = tmp_path / 'tool.py'
    script.write_text('from pathlib import Path\nfrom sdr_mm.cli import progress, run, say\ndef main():\n'
                      + ''.join(f'    {line}\n' for line in [*body, "Path('result').write_text('done')"])
                      + 'run(main)\n', encoding='utf-8')
    redirect = {'pipe': '', 'full': '>/dev/full', 'closed': '>&-', 'unread': '| head -c 0'}
    command = f'{sys.executable} -W ignore tool.py {redirect[stderr].replace(">", "2>")} {redirect[stdout]}'
    done = subprocess.run(['bash', '-o', 'pipefail', '-c', command], cwd=tmp_path, capture_output=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONIOENCODING': encoding})
    return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding), (tmp_path / 'result').exists()


PRINTS = ["for part in progress(['─ … × ±', 'a\\udcff.png']):", '    print(part, flush=True)', "say('n ≥ 3')"]


@pytest.mark.parametrize('encoding, line', [
    ('utf-8', '─ … × ±'), ('latin-1', '- ... × ±'), ('ascii', '- ... x +-'), ('cp1252', '- … × ±')])
def test_a_terminal_shows_what_it_knows_and_the_work_goes_on(tmp_path, encoding, line):
    status, out, errors, wrote = run_script(tmp_path, PRINTS, encoding=encoding)
    assert (status, wrote) == (0, True)
    # The file's name is no UTF-8, so no terminal can show it as it is.
    assert out.splitlines() == [line, 'a\\udcff.png']
    assert errors.endswith('n ≥ 3\n' if encoding == 'utf-8' else 'n \\u2265 3\n') and 'Traceback' not in errors


@pytest.mark.parametrize('stdout', ['unread', 'closed'])
def test_output_that_nobody_reads_costs_nothing(tmp_path, stdout):
    status, out, errors, wrote = run_script(tmp_path, ["print('x' * 200_000)", *PRINTS], stdout)
    assert (status, out, wrote) == (0, '', True)
    assert errors.endswith('n ≥ 3\n') and 'Traceback' not in errors and 'rror' not in errors


def test_messages_that_nobody_reads_cost_nothing(tmp_path):
    status, out, errors, wrote = run_script(tmp_path, PRINTS, stderr='closed')
    assert (status, errors, wrote) == (0, '', True) and out.startswith('─ … × ±')


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='the device that is always full is Linux only')
def test_output_that_is_lost_is_said_after_the_work(tmp_path):
    status, _, errors, wrote = run_script(tmp_path, PRINTS, 'full')
    assert (status, wrote) == (2, True)
    assert errors.splitlines()[-1].startswith('error: no space left on the disk of the output')


@pytest.mark.parametrize('line, message', [
    ("open('nowhere/a.txt')", "error: nowhere/a.txt: No such file or directory"),
    ("open('.')", 'error: .: Is a directory'),
    ("open('tool.py/a')", 'error: tool.py/a: Not a directory'),
    ("open('x' * 300, 'w')", f'error: {"x" * 300}: File name too long'),
    ("import os; os.rename('none', 'new')", 'error: none and new: No such file or directory'),
    ("import socket; socket.create_connection(('127.0.0.1', 1), 1)", 'error: the system: Connection refused'),
])
def test_every_error_of_the_system_is_one_line(tmp_path, line, message):
    status, _, errors, wrote = run_script(tmp_path, [line])
    assert (status, errors, wrote) == (2, f'{message}\n', False)


@pytest.mark.slow
@pytest.mark.parametrize('redirect, encoding', [('| head -c 0', 'utf-8'), ('>&-', 'utf-8'), ('', 'latin-1')])
@pytest.mark.parametrize('command', ['route.py pool-r18', 'knn_eval.py pool-r18-baseline'])
def test_scores_are_kept_whoever_reads_what_is_printed(tmp_path, command, redirect, encoding):
    random = np.random.default_rng(0)
    for label, brightness in dict(dark=0, light=150).items():
        (tmp_path / 'task' / label).mkdir(parents=True)
        for number in range(6):
            pixels = brightness + random.integers(0, 100, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f'task/{label}/{number}.png')
    command += ' --task task --k 3 --out scores.json --device cpu' + ' --bn-reset task' * command.startswith('route')
    line = f'{sys.executable} -W ignore {ROOT}/tools/{command} {redirect}'
    done = subprocess.run(['bash', '-o', 'pipefail', '-c', line], cwd=tmp_path, capture_output=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONIOENCODING': encoding})
    assert done.returncode == 0 and b'Traceback' not in done.stderr
    assert json.loads((tmp_path / 'scores.json').read_text())
    assert (b'dark' in done.stdout or b'task' in done.stdout) == (encoding == 'latin-1')


@pytest.mark.slow
@pytest.mark.parametrize('tool', sorted((ROOT / 'tools').glob('*.py')), ids=lambda tool: tool.stem)
def test_each_tool_prints_to_any_terminal_and_to_none(tool):
    for redirect in ('', '| head -c 0', '2>&1 >/dev/null | head -c 0'):
        done = subprocess.run(['bash', '-o', 'pipefail', '-c', f'{sys.executable} -W ignore {tool} --help {redirect}'],
                              capture_output=True, text=True,
                              env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONIOENCODING': 'ascii'})
        assert (done.returncode, done.stderr) == (0, '')
        assert redirect or done.stdout.startswith('usage: ')


FILES = (  # Programs with an output, and inputs that are not there.
    'tools.cluster nowhere --out OUT',
    'tools.extract_features nowhere.pth --data nowhere --out OUT',
    'tools.extract_features nowhere.pth --config nowhere.py --out OUT',
    'tools.knn_eval nowhere.pth --task nowhere --out OUT',
    'tools.linear_eval nowhere.pth --task nowhere --out OUT',
    'tools.route nowhere.pth --task nowhere --baseline nowhere.pth --out OUT',
    'tools.route nowhere.pth --task nowhere --report OUT',
    'tools.routing_report nowhere.pth --routing nowhere.json --out OUT',
    'tools.export_subnet nowhere.pth --subnet 1 --out OUT',
    'tools.export_subnet nowhere.pth --routing nowhere.json --out OUT',
    'tools.export_subnet nowhere.pth --subnet 1 --format huggingface --out OUT',
    'tools.export_subnet nowhere.pth --subnet 1 --out new --card OUT',
    'tools.test nowhere.py nowhere.pth --out OUT',
    'tools.train ROOT/configs/small/simsiam_resnet18_b64-15e_32px.py --data nowhere --work-dir OUT',
    'projects.demo.__main__ --data nowhere --task nowhere --out OUT',
    'projects.paper_tables.__main__ --networks a=nowhere.pth --tasks nowhere --out OUT',
    'projects.paper_tables.__main__ --table 2 --networks a=nowhere --out OUT',
    'projects.real_data.__main__ animal_silhouettes --out OUT',
    'projects.study.publish --work-dir new --out OUT',
    'projects.study.__main__ nowhere.py --out new --page OUT',
)
FOLDERS = (  # The same, with an output that is a folder of whatever it may be.
    'tools.test nowhere.py nowhere.pth --work-dir OUT',
    'tools.train nowhere.py --data nowhere --clusters nowhere --init-from nowhere.pth --work-dir OUT',
    'tools.route_detection nowhere.pth --config nowhere.py --data-root nowhere --work-dir OUT',
    'projects.study.publish --out new --work-dir OUT',
    'projects.study.__main__ nowhere.py --out OUT --results new',
    'projects.study.__main__ nowhere.py --out new --results OUT',
)


def run_program(command, monkeypatch):
    name, *argv = command.split()
    monkeypatch.setattr(sys, 'argv', [name, *argv])
    for variable, value in dict(LOCAL_RANK='0', OMP_WAIT_POLICY='PASSIVE').items():
        monkeypatch.setenv(variable, value)  # Some set it, which must not outlive the test.
    (load_tool(name.removeprefix('tools.')) if name.startswith('tools.') else import_module(name)).main()


@pytest.mark.parametrize('command, out', [
    *((command, out) for command in FILES for out in ('file', 'file/new', 'full')),
    *((command, out) for command in FOLDERS for out in ('file', 'file/new'))])
def test_an_output_that_cannot_be_is_said_before_any_input_is_read(command, out, tmp_path, monkeypatch):
    def fetch(*arguments):
        raise InputError('nowhere: give a network')

    monkeypatch.setattr('projects.real_data.preparation.fetch', fetch)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    Path('file').write_text('of somebody')
    Path('full/animal_silhouettes').mkdir(parents=True)
    for name in ('epoch_1.pth', 'pool-r18.pth', 'features.npy'):
        Path('full', name).touch()
    with pytest.raises(InputError, match=f'^{out}\\b') as error:
        run_program(command.replace('OUT', out).replace('ROOT', str(ROOT)), monkeypatch)
    assert 'nowhere' not in str(error.value) and '\n' not in str(error.value)
    assert Path('file').read_text() == 'of somebody' and not Path('new').exists()


RESULTS = (  # Each may read what those before it have written.
    'tools.export_subnet sdr.pth --subnet 1 --bn-reset none --out subnet.pth',
    'tools.extract_features subnet.pth --data pool --resize 36 --size 32 --out features',
    # The other methods say how far they are, before there is anything to keep.
    'tools.cluster features --method random --num-groups 2 --num-blocks 1 --out new.npz',
    'tools.knn_eval subnet.pth --task official --resize 36 --size 32 --k 3 --out knn.json',
    'tools.linear_eval subnet.pth --task official --resize 36 --size 32 --l2 1 --out linear.json',
    'tools.route sdr.pth --task task --resize 36 --size 32 --k 3 --bn-images 8 --out routing.json',
    'tools.routing_report sdr.pth --routing routing.json --out routing.html',
)


def test_a_result_is_on_disk_before_anything_is_said_about_it(tmp_path, monkeypatch):
    make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in RESULTS:
        out, found = Path(command.split()[-1]), []

        def look(*words, out=out, found=found, **options):
            found.append(out.exists())

        monkeypatch.setattr('builtins.print', look)
        run_program(f'{command} --device cpu', monkeypatch)
        assert found and all(found), command


ENDING = """
import atexit, os, sys
import torch.distributed
from sdr_mm.cli import run
from sdr_mm.errors import InputError

class Last:
    def __del__(self):
        os.write(1, b'down ')

last = Last()
atexit.register(lambda: os.write(1, b'exit '))

def main():
    print('work', end=' ')
    if sys.argv[1] == '2':
        raise InputError('bad input: give good input')

run(main)
"""


@pytest.mark.parametrize('status', [0, 2])
@pytest.mark.parametrize('world, said', [('2', ['exit', 'work']), (None, ['down', 'exit', 'work'])])
def test_one_of_several_processes_ends_without_taking_python_down(world, said, status, tmp_path):
    """Threads of a process group that want Python's lock then would abort it."""
    environment = {key: value for key, value in os.environ.items() if key != 'WORLD_SIZE'}
    environment.update({'WORLD_SIZE': world} if world else {}, PYTHONPATH=str(ROOT))
    ended = subprocess.run([sys.executable, '-c', ENDING, str(status)], env=environment, capture_output=True, text=True)
    assert (ended.returncode, sorted(ended.stdout.split())) == (status, said)
    assert ended.stderr == ('error: bad input: give good input\n' if status else '')
