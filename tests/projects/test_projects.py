"""Projects use the library; the library does not know them."""

import ast
import re

from repository import ROOT
from setuptools import find_packages

FILES = sorted([*(ROOT / 'sdr_mm').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')])


def imported(source: str) -> set[str]:
    """The topmost packages that a module imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or '' for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split('.')[0] for name in names}


def test_library_and_tools_import_no_project():
    assert imported('import projects.demo as demo') == imported('from projects import demo') == {'projects'}
    assert len(FILES) > 50
    assert [file for file in FILES if 'projects' in imported(file.read_text(encoding='utf-8'))] == []


def test_projects_are_not_installed():
    wanted = re.search(r'^include = (\[.*\])$', (ROOT / 'pyproject.toml').read_text(encoding='utf-8'), re.MULTILINE)
    installed = find_packages(str(ROOT), include=ast.literal_eval(wanted[1]))
    assert 'sdr_mm.routing' in installed
    assert {name.split('.')[0] for name in installed} == {'sdr_mm'}


def test_page_of_the_projects_has_a_command_for_each():
    names = [file.parent.name for file in (ROOT / 'projects').glob('*/__main__.py')]
    page = (ROOT / 'projects' / 'README.md').read_text(encoding='utf-8')
    assert 'demo' in names
    assert [name for name in names if f'python -m projects.{name}' not in page] == []
