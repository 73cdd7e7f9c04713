"""The command that exports, read back by a shell and by the tool."""

import shlex

import pytest
from rankings import ranking
from repository import load_tool

from sdr_mm.routing.export_command import export_command

SETTINGS = dict(resize=36, size=32, seed=3, bn_images=7, batch_size=8)


@pytest.mark.parametrize('bn, options, expected', [
    ('cluster', dict(routing="a 'b'.json"), dict(routing="a 'b'.json", data=None, task=None)),
    ('task', dict(routing='r.json', data='x'), dict(routing='r.json', data=None, task=None)),
    ('cluster', dict(routing='r.json', data='my images', clusters='c.npz', task='t'),
     dict(data='my images', clusters='c.npz', task=None)),
    ('task', {}, dict(subnet=1, bn_reset='task', task='/my $task', resize=36, size=32, seed=3, bn_images=7,
                      batch_size=8)),
    ('task', dict(task='other'), dict(subnet=1, task='other')),
    ('all', dict(data='x'), dict(subnet=1, bn_reset='all', data='x', task=None))])
def test_a_shell_and_the_tool_read_what_was_meant(bn, options, expected):
    shown = ranking('pets', [48, 52, 51], **SETTINGS, bn_reset=bn)
    shown.settings['task'] = dict(source='/my $task')
    words = shlex.split(export_command(shown, 'my "sdr"; rm -r .pth', **options))
    assert words[:2] == ['python', 'tools/export_subnet.py']
    args = vars(load_tool('export_subnet').parser().parse_args(words[2:]))
    assert {name: args[name] for name in expected} == expected
    assert (args['checkpoint'], args['out']) == ('my "sdr"; rm -r .pth', 'sub-net_1.pth')
