"""The configuration reference and the API reference have everything that there is."""

import inspect
import re
import sys
from importlib import import_module

import pytest
from mmengine.runner import Runner
from repository import ROOT

import sdr_mm
from sdr_mm import registry
from sdr_mm.engine.configs import ENTRIES, SETTINGS
from sdr_mm.evaluation import TaskConfig
from sdr_mm.routing import SEARCHES, BNReset, Scorer

PACKAGES = ('models', 'datasets', 'clustering', 'engine', 'routing', 'evaluation', 'visualization', 'images')
BY_HAND = {'WholeCheckpointHook'}
"""Their arguments are MMEngine's, which the page names in a sentence."""


@pytest.fixture(scope='module')
def sections():
    """The configuration reference as it is on the site, by heading."""
    pytest.importorskip('griffe')
    sys.path.insert(0, str(ROOT / 'docs/hooks'))
    try:
        generated = import_module('generated')
    finally:
        sys.path.pop(0)
    page = generated.expand((ROOT / 'docs/reference/configuration.md').read_text(encoding='utf-8'))
    parts = re.split(r'^##+ (.+)\n', page, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def components():
    """What configs can name: the classes that this package registers, but those of detection, by name."""
    for name in ('models', 'datasets', 'engine', 'routing'):
        import_module(f'sdr_mm.{name}')
    found = {}
    for one in vars(registry).values():
        if isinstance(one, registry.FallbackRegistry):
            found.update({key: kind for key, kind in one.module_dict.items() if kind.__module__.startswith('sdr_mm.')
                          and not kind.__module__.startswith('sdr_mm.detection')})
    return found


def arguments(kind):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, parameter in inspect.signature(kind).parameters.items() if parameter.kind not in kinds]


@pytest.mark.site
def test_every_argument_of_every_component_is_on_the_page(sections):
    found = components()
    assert {'SDRResNet', 'ProgressiveTrainingHook', 'RoutingEvaluator', 'Pretrained'} <= set(found)
    whole = ''.join(sections.values())
    for name, kind in found.items():
        if not arguments(kind):
            assert f'`{name}`' in whole or name in whole, name
            continue
        section = sections[name]
        for argument in arguments(kind):
            mark = f'`{argument}`' if name in BY_HAND else f'| `{argument}` |'
            assert mark in section, f'{name}.{argument}'


@pytest.mark.site
def test_what_routing_and_tasks_take_is_on_the_page(sections):
    for kind, section in (*((search, 'Searches') for search in SEARCHES.values()), (BNReset, 'BNReset'),
                          (Scorer, 'Scorer'), (TaskConfig, 'Tasks')):
        for argument in arguments(kind):
            assert f'| `{argument}` |' in sections[section], f'{kind.__name__}.{argument}'
    from projects.study.plan import Run
    for argument in arguments(Run):
        assert f'| `{argument}` |' in sections['Studies'], argument


@pytest.mark.site
def test_every_entry_that_something_reads_is_on_the_page(sections):
    table = sections['Entries at the top']
    for entry in SETTINGS - {'self'}:
        assert f'`{entry}`' in table, entry
    for section, entries in ENTRIES.items():
        (row, ) = [row for row in table.splitlines() if row.startswith(f'| `{section}` ')]
        assert all(re.search(rf'\b{entry}\b', row) for entry in entries), section
    assert set(inspect.signature(Runner).parameters) <= SETTINGS


@pytest.mark.site
def test_a_default_on_the_page_is_that_of_the_code(sections):
    row = next(row for row in sections['SDRResNet'].splitlines() if row.startswith('| `base_channels` |'))
    assert row.split(' | ')[2] == f'`{inspect.signature(sdr_mm.models.SDRResNet).parameters["base_channels"].default}`'
    row = next(row for row in sections['NonFiniteHook'].splitlines() if row.startswith('| `max_skips` |'))
    assert '`10`' in row


def test_every_public_name_has_an_entry_in_the_reference():
    entries = set()
    for page in (ROOT / 'docs/reference/api').glob('*.md'):
        entries |= set(re.findall(r'^::: (\S+)', page.read_text(encoding='utf-8'), re.M))
    constants = {'METHODS', 'METRICS', 'SCORES', 'SEARCHES', 'IMAGENET', 'ZERO_TO_ONE', 'ImageSource'}
    for package in PACKAGES:
        module = import_module(f'sdr_mm.{package}')
        missing = {name for name in module.__all__ if f'sdr_mm.{package}.{name}' not in entries} - constants
        assert missing == set(), package
    assert {'sdr_mm.load', 'sdr_mm.SDR', 'sdr_mm.Subnet', 'sdr_mm.space.SubnetSpace',
            'sdr_mm.clusters.Clusters'} <= entries
    detection = (ROOT / 'sdr_mm/detection/__init__.py').read_text(encoding='utf-8')
    named = re.search(r'__all__ = \[(.*?)\]', detection, re.S)
    assert {f'sdr_mm.detection.{name}' for name in re.findall(r"'(\w+)'", named[1])} <= entries
