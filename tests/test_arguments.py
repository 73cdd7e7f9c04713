"""Arguments of the tools: what they take, and one line for all else."""

import argparse
from pathlib import Path

import pytest
from repository import ROOT, load_tool

from sdr_mm import arguments
from sdr_mm.arguments import Parser, config_arguments, positive, whole
from sdr_mm.errors import InputError
from sdr_mm.evaluation.metrics import METRICS
from sdr_mm.export import FORMATS
from sdr_mm.routing.bn_reset import BN_RESETS
from sdr_mm.routing.evaluator import SEARCHES
from sdr_mm.routing.scores import SCORES


def test_the_choices_are_those_of_the_library():
    """They are repeated, so that ``--help`` does not import it."""
    for name, there in (('METRICS', METRICS), ('SEARCHES', SEARCHES), ('SCORES', SCORES), ('BN_RESETS', BN_RESETS),
                        ('FORMATS', FORMATS)):
        assert getattr(arguments, name) == tuple(there), name


@pytest.mark.parametrize('kind, text, value', [
    (whole(1), '1', 1), (whole(0), '0', 0), (whole(0), '2147483647', 2147483647), (whole(-2, 3), '-2', -2),
    (positive, '0.07', 0.07), (positive, '1e-9', 1e-9), (positive, '3', 3.0)])
def test_numbers_in_range_are_taken(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize('kind, text, message', [
    (whole(1), '0', "a whole number of at least 1, got '0'"), (whole(0), '-1', 'of at least 0'),
    (whole(1), '2.5', "a whole number of at least 1, got '2.5'"), (whole(1), 'many', "got 'many'"),
    (whole(1), '', "got ''"), (whole(1, 9), '10', 'from 1 to 9'), (whole(0), '1' * 30, 'got'),
    (whole(0), '1' * 5000, 'got'),
    (positive, '0', 'a finite number above 0'), (positive, '-1', 'above 0'), (positive, 'nan', 'above 0'),
    (positive, 'inf', 'above 0'), (positive, '1e999', 'above 0'), (positive, 'hot', "got 'hot'")])
def test_other_numbers_are_refused(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message) as error:
        kind(text)
    assert len(str(error.value)) < 120


TOOLS = sorted(file.stem for file in (ROOT / 'tools').glob('*.py'))
MAY_BE_NONE = {
    'cluster': {'--num-blocks', '--min-size', '--epochs'}, 'export_subnet': {'--subnet'},
    'route': {'--top', '--bottom'}, 'route_detection': {'--subnets'}}
"""Options that may be 0, beside those of every tool: a seed, workers of the loader, the rank of a process."""


@pytest.mark.parametrize('tool', TOOLS)
def test_a_tool_refuses_a_number_that_cannot_be_in_one_line(tool, monkeypatch):
    """Each option with a number, on the command line of the real parser: a batch of 0 images, a seed of -1."""
    class Found(Exception):
        pass

    def stop(parser, argv=None):
        raise Found(parser)

    with monkeypatch.context() as patch, pytest.raises(Found) as found:
        patch.setattr(Parser, 'parse_args', stop)
        patch.setattr('sys.argv', [tool])
        load_tool(tool).main()
    parser = found.value.args[0]
    options = {'/'.join(action.option_strings): action.option_strings[0] for action in parser._actions
               if action.option_strings and action.type not in (None, str, Path)}
    none = MAY_BE_NONE.get(tool, set()) | {'--seed', '--workers', '--local_rank'}
    for named, option in options.items():
        wrong = ['-4', 'many', '', 'nan', '1e400', *(() if option in none else ('0', ))]
        for text in wrong:
            with pytest.raises(InputError, match=f'^argument {named}: it is a ') as error:
                parser.parse_args([option, text])
            assert '\n' not in str(error.value)


@pytest.mark.parametrize('words, message', [
    ([], 'the following arguments are required: name'), (['x', '--size', '0'], 'argument --size: it is a whole number'),
    (['x', '--sise', '3'], 'unrecognized arguments: --sise 3'), (['x', '--size'], 'expected one argument'),
    (['x', '--kind', 'c'], "argument --kind: invalid choice: 'c'")])
def test_an_error_of_the_command_line_is_one_line(words, message):
    parser = Parser('What it does.\n\n    example', prog='tool.py')
    parser.add_argument('name')
    parser.add_argument('--size', type=whole(1))
    parser.add_argument('--kind', choices=('a', 'b'))
    with pytest.raises(InputError, match=message) as error:
        parser.parse_args(words)
    assert str(error.value).endswith('(see tool.py --help)') and '\n' not in str(error.value)
    assert '    example' in parser.format_help()


def test_changes_of_a_config_are_read_as_mmengine_reads_them():
    parser = Parser('', parents=[config_arguments()])
    given = parser.parse_args(['--cfg-options', 'a.b=3', 'c=[1,(2,x)]', 'd=1e-3', 'e=None', 'f=true', 'g=x=y',
                               'h=/my photos/new', '--cfg-options', 'i="two words"'])
    assert given.cfg_options == {'a.b': 3, 'c': [1, (2, 'x')], 'd': 1e-3, 'e': None, 'f': True, 'g': 'x=y',
                                 'h': '/my photos/new', 'i': 'two words'}
    assert parser.parse_args([]).cfg_options is None, 'nothing is left from before'


@pytest.mark.parametrize('text', ['a', '=3', 'a..b=3', '.a=3', 'a.=3', ' =1', 'a=[1,2', 'a=(1,[2)]'])
def test_a_change_of_a_config_that_is_written_otherwise_is_one_line(text):
    with pytest.raises(InputError, match='argument --cfg-options: ') as error:
        Parser('', parents=[config_arguments()]).parse_args(['--cfg-options', text])
    assert repr(text) in str(error.value) and '\n' not in str(error.value)
