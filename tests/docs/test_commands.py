"""What the pages tell people to type: each command is read by the program it is for, with what it names being there."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module, util

import pytest
from pages import PAGES, PROGRAMS, blocks, commands
from repository import ROOT, load_tool

import sdr_mm
from sdr_mm import registry
from sdr_mm.engine.configs import load_config
from sdr_mm.routing import Ranking

pytestmark = pytest.mark.site
COMMANDS = list(commands())
SHELL = {'.', '.venv/bin/python', 'cp', 'mkdir', 'sed', 'nvidia-smi', 'cat', 'sudo'}
"""What is the system's."""
OF_PAGES = {'my_run.py', 'sdr_barlow_twins.py', 'sdr_chain.py', 'configs/sdr_simsiam_batched.py', 'CONFIG'}
"""Configs that the pages themselves write, or that stand for any."""

NOT_RUN = {
    r'tools/dist_train\.sh|tools/slurm_train\.sh|^torchrun|^mim ': 'several GPUs, for days',
    r'^make (demo|test|bench|fuzz|docs|lint|coverage|dist-check|versions)|-m pytest':
        'it runs this test, or takes minutes: tests/projects/test_demo.py',
    r'^make \.venv|^pip |^\. \.venv': 'environments, which whoever runs this has',
    r'projects\.real_data': 'fetches packages: tests/projects/test_real_data.py runs it on small ones',
    r'projects\.demo': 'ten minutes: tests/projects/test_demo.py runs it on fewer images',
    r'projects\.study': 'hours: tests/projects/test_study.py runs a small study, and its tables',
    r'projects\.paper_tables': 'finished trainings: tests/projects/test_paper_tables.py, test_detection_table.py',
    r'projects\.figures': 'rankings of many tasks: tests/projects/test_figures.py',
    r'projects\.negative_transfer': 'WordNet and ImageNet: tests/projects/test_negative_transfer.py',
    r'benchmarks/': 'minutes: tests/test_benchmarks.py runs each on small sizes',
    r'route_detection\.py': 'a trained SDRNet and VOC: tests/detection/test_detection_routing.py',
    r'tools/prune\.py': 'a super-net of ImageNet: tests/models/test_pruning.py',
    r'--candidates timm:': 'downloads weights: tests/models/test_zoo.py',
    r'^python tools/(route|export_subnet)\.py (work_dirs/(sdr_simsiam|sdr)/epoch_200|sdr)\.pth ':
        'a training of days: the small one of docs/pretrain.md is run',
    r'^python tools/cluster\.py (work_dirs/)?features ': 'features of such a training, or of the mixed pool',
    r'^python tools/(extract_features|train)\.py .* --data mixed ': 'hours on the mixed pool',
    r'^python tools/(route|train)\.py .* ~/': "the reader's own folders: the same options are run on small ones",
    r'^(mkdir|cp) ': 'the mixed pool',
}
"""Commands that no test runs as they stand, and why. A command that is in no block marked as tested has to be one."""


class Read(Exception):
    """The command line was read."""


def name_of(command):
    return str(command)[:120]


def argv_of(words):
    """The program of a command and its arguments: a tool, a benchmark or a module."""
    words = [word for word in words if '…' not in word]
    if words[0] == 'torchrun':
        while words[1].startswith('-') and words[1] != '-m':
            del words[1:2 if '=' in words[1] else 3]
    while words[1:2] == ['-W']:
        del words[1:3]
    return words[1:]


def read(main, name, words, monkeypatch):
    """Lets the parser of a program read a command line; ends with what it found."""
    real = argparse.ArgumentParser.parse_args

    def parse(parser, argv=None, namespace=None):
        raise Read(real(parser, argv, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse)
    monkeypatch.setattr(sys, 'argv', [name, *words])
    with pytest.raises(Read) as found:
        main()
    return found.value.args[0]


def main_of(program, monkeypatch):
    """What a tool or a benchmark runs."""
    if program.startswith('tools/'):
        return load_tool(program.removeprefix('tools/').removesuffix('.py')).main
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    spec = util.spec_from_file_location('benchmark_of_a_page', ROOT / program)
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'benchmark_of_a_page', module)
    spec.loader.exec_module(module)
    return module.main


def check_python(words, monkeypatch, complete):
    if words[:2] == ['-m', 'cProfile']:
        words = words[2:]
    program, *rest = words
    if program == '-c':
        return ast.parse(rest[0])
    if program == '-m':
        name = rest[0]
        module = import_module(f'{name}.__main__' if (ROOT / name.replace('.', '/')).is_dir() else name)
        return read(module.main, name, rest[1:], monkeypatch) if complete and rest[1:] else module.main
    assert (ROOT / program).is_file() or program == 'route_chain.py', f'there is no {program}'
    if not complete:  # `tools/knn_eval.py` in a sentence: its options exist.
        return check_options(program, rest, monkeypatch)
    found = read(main_of(program, monkeypatch), program, rest, monkeypatch)
    if program == 'tools/train.py':
        check_config(found.config, found.cfg_options)
    return found


def check_options(program, words, monkeypatch):
    """The options of a command that the page does not give in full."""
    found = []
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', lambda parser, *_: found.append(parser) or end())
    monkeypatch.setattr(sys, 'argv', [program])
    with pytest.raises(Read):
        main_of(program, monkeypatch)()
    known = {option for action in found[0]._actions for option in action.option_strings}
    assert {word for word in words if word.startswith('--')} <= known


def end():
    raise Read


def check_config(config, options=None):
    if config in OF_PAGES:
        return
    assert (ROOT / config).is_file(), f'there is no config {config}'
    if config.startswith('configs/detection/') and util.find_spec('mmdet') is None:
        return  # Its bases are MMDetection's.
    load_config(str(ROOT / config), options)


def check_script(words, monkeypatch):
    script, *rest = words
    assert (ROOT / script).is_file(), f'there is no {script}'
    if script == 'tools/dist_train.sh':
        config, gpus, *rest = rest
        assert gpus.isdigit() or gpus == 'GPUS'
    elif script == 'tools/slurm_train.sh':
        _, _, config, _, *rest = [word for word in rest if word != '--requeue']
    else:
        return
    check_python(['tools/train.py', config, '--launcher', 'pytorch', *(word for word in rest if word != '…')],
                 monkeypatch, True)


@pytest.mark.parametrize('command', COMMANDS, ids=name_of)
def test_a_command_of_a_page_is_one_that_its_program_reads(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *rest = command.words
    part = command.inline and rest[1:2] and rest[1].startswith('-')
    complete = not part and not any('…' in word for word in command.words)
    for word in rest:
        if re.fullmatch(r'(configs|tools|benchmarks|projects|requirements)/[\w./-]+', word) and word not in OF_PAGES:
            assert (ROOT / word).exists(), f'there is no {word}'
    if program in ('python', 'torchrun'):
        check_python(argv_of(command.words), monkeypatch, complete)
    elif program == 'bash':
        check_script(rest, monkeypatch)
    elif program == 'make':
        done = subprocess.run(['make', '--dry-run', *rest], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif program == 'pip':
        project = (ROOT / 'pyproject.toml').read_text(encoding='utf-8').partition('[project.optional-dependencies]')[2]
        extras = re.findall(r'^([\w-]+) = \[', project.partition('\n[')[0], re.M)
        for group in re.findall(r'\[(\w+(?:,\w+)*)\]', ' '.join(rest)):
            assert set(group.split(',')) <= set(extras)
    else:
        assert program in SHELL | {'mim'}, f'nothing here knows {program}'


def test_each_command_is_run_by_a_test_or_has_a_reason_why_not():
    used = Counter()
    for command in COMMANDS:
        if command.tested or command.inline:
            continue
        text = ' '.join(word for word in command.words if '…' not in word) + ' '
        reasons = [pattern for pattern in NOT_RUN if re.search(pattern, text)]
        assert reasons, f'{command}\nis run by no test: mark its block as tested, or say in NOT_RUN why it cannot be'
        used.update(reasons[:1])
    assert {pattern for pattern in NOT_RUN if not used[pattern]} == set(), 'reasons for commands that are on no page'
    assert sum(command.tested for command in COMMANDS) > 15


def test_no_command_stands_in_a_block_of_another_kind():
    for block in blocks():
        assert block.language in ('', 'bash', 'bibtex', 'python', 'text'), block
        if block.language in ('', 'text'):
            assert not [line for line in block.text.splitlines() if line.strip().partition(' ')[0] in PROGRAMS], block
    assert len(PAGES) > 25


PYTHON = [block for block in blocks() if block.language == 'python']


@pytest.mark.parametrize('block', PYTHON, ids=lambda block: f'{block.page}-{block.title or block.text[:30]!r}')
def test_python_of_a_page_compiles_and_what_it_calls_takes_these_arguments(block):
    tree = ast.parse(block.text)
    known = dict(sdr_mm=sdr_mm, sdr=sdr_mm.SDR, net=sdr_mm.Subnet, ranking=Ranking)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith('sdr_mm'):
            module = import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            owner = known[node.value.id]
            fields = getattr(owner, '__dataclass_fields__', {})
            assert hasattr(owner, node.attr) or node.attr in fields, ast.unparse(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and \
                isinstance(node.func.value, ast.Name) and node.func.value.id in known:
            owner = known[node.func.value.id]
            method = getattr(owner, node.func.attr)
            arguments = [None] * (len(node.args) + inspect.isclass(owner))
            inspect.signature(method).bind(*arguments, **{keyword.arg: None for keyword in node.keywords})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
            check_component({keyword.arg: keyword.value for keyword in node.keywords})


def check_component(entries):
    """``dict(type=NAME, …)`` of a config: the class of this package takes these arguments."""
    kind = entries.pop('type', None)
    if not isinstance(kind, ast.Constant):
        return
    for one in vars(registry).values():
        if isinstance(one, registry.FallbackRegistry) and (found := one.get(kind.value.removeprefix('sdr_mm.'))):
            if found.__module__.startswith('sdr_mm.'):
                inspect.signature(found).bind_partial(**{key: None for key in entries if not key.startswith('_')})
            return


def test_the_recipe_of_the_configuration_page_is_a_config(tmp_path):
    (block, ) = [block for block in PYTHON if '# my_sdr.py' in block.text]
    for part in (ROOT / 'configs').iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / 'my_sdr.py').write_text(block.text)
    cfg = load_config(str(tmp_path / 'my_sdr.py'))
    assert cfg.model.backbone.base_channels == (24, 8) and cfg.model.backbone.depth == 18
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer.lr) == (128, 0.1)


def test_the_recipe_whose_loader_only_crops_is_made_as_the_page_says(tmp_path):
    (line, ) = {' '.join(command.words[:-2]): command for command in COMMANDS if command.words[0] == 'sed'
                and command.page == 'docs/pretrain.md'}.values()
    done = subprocess.run(['sed', *line.words[1:3]], cwd=ROOT, capture_output=True, text=True, check=True)
    for part in (ROOT / 'configs').iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / 'batched.py').write_text(done.stdout)
    cfg = load_config(str(tmp_path / 'batched.py'))
    assert cfg.data_preprocessor.type == 'sdr_mm.BatchedColors' and cfg.model.type == 'SimSiamSDR'


def test_check_tasks_runs_as_it_stands_on_the_pages(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['tools/check_tasks.py'])
    try:
        load_tool('check_tasks').main()
    except SystemExit as end:
        assert end.code in (0, 1)
    assert 'dtd' in capsys.readouterr().out
