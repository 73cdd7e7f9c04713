"""The command that draws the paper's figures, from files as the tools leave them."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from rankings import ranking
from repository import ROOT
from routing_data import make_run

from projects.figures.__main__ import main
from projects.figures.scores import read_scores
from projects.paper_tables.paper import TABLE1
from projects.paper_tables.table import make_entry, make_row, make_table
from sdr_mm.errors import InputError
from sdr_mm.evaluation import Evaluation
from sdr_mm.models.checkpoints import weights_fingerprint
from sdr_mm.models.load_sdr import load_sdr

SETTINGS = dict(columns=['knn k=5'], classes=2, train=6, held_out=4, splits=1, size=32, resize=32, bn_reset='task',
                search='exact', k=[5], metric='accuracy', temperature=0.07)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A run, two rankings in its checkpoint, one of another and one without a baseline."""
    root = make_run(tmp_path_factory.mktemp('figures'))
    settings = dict(SETTINGS, checkpoint=weights_fingerprint(load_sdr(root / 'sdr.pth')[0]))
    ranking('pets & [cats]', [40, 60, 55, 52], **settings).save(root / 'pets.json')
    ranking('cars', [51, 48, 47, 49], **settings).save(root / 'cars.json')
    ranking('cars', [1, 2, 3, 4], **dict(settings, checkpoint='other')).save(root / 'other.json')
    ranking('cars', [1, 2, 3, 4], baseline=None, **settings).save(root / 'alone.json')
    # Rings are the first half of the pool, in the order of its names.
    names = sorted(file.name for file in (root / 'pool').iterdir())
    (root / 'labels.csv').write_text(''.join(f'{name},{"rings" if name.startswith("rings") else "stripes"}\n'
                                             for name in names))
    (root / 'table.json').write_text(json.dumps(table()))
    return root


def table():
    """By the writer of projects.paper_tables; the third network has only the paper's numbers."""
    scores = {'Subset-A': [51.9, 60.5], 'full': [51.3, None], 'SwAV': [None, None]}
    columns = [dict(name='fgvc_aircraft', title='Aircraft', error=None, metric='mean_per_class'),
               dict(name='sun397', title='SUN', error='gone', metric=None)]
    rows = [make_row(name, None, TABLE1, {column['name']: make_entry(score, 1.0 if name == 'SwAV' else None)
                                          for column, score in zip(columns, values)})
            for name, values in scores.items()]
    return make_table(TABLE1, 'Frozen networks.', columns, rows, [])


def evaluation(network, task, *scores, protocol='knn'):
    return Evaluation(network, task, 'accuracy', dict(protocol=protocol), {}, {'k = 5': list(scores)}, 2, 6, 4, 0, 1.0)


def test_scores_of_a_table_are_those_of_our_own(root):
    scores = read_scores([root / 'table.json'])
    assert (scores.networks, scores.tasks) == (['Subset-A', 'full'], ['Aircraft', 'SUN'])
    np.testing.assert_array_equal(scores.values, [[51.9, 60.5], [51.3, np.nan]])


def test_scores_of_evaluations_are_the_means_over_their_splits(tmp_path):
    for number, one in enumerate([evaluation('A', 'dtd', 40, 44), evaluation('B', 'dtd', 50),
                                  evaluation('B', 'pets', 70), evaluation('A', 'dtd', 1),
                                  evaluation('A', 'pets', 1, protocol='linear')]):
        one.save(tmp_path / f'{number}.json')
    files = [tmp_path / f'{number}.json' for number in range(5)]
    scores = read_scores(files[:3])
    assert (scores.networks, scores.tasks) == (['A', 'B'], ['dtd', 'pets'])
    np.testing.assert_array_equal(scores.values, [[42, np.nan], [50, 70]])
    with pytest.raises(InputError, match='3.json is the second evaluation of A on dtd'):
        read_scores(files[:4])
    with pytest.raises(InputError, match='4.json is an evaluation by linear and .*0.json one by knn'):
        read_scores([files[0], files[4]])


def test_scores_of_a_study_are_the_means_over_its_seeds(tmp_path):
    def keep(name, run, **others):
        (tmp_path / f'{name}.json').write_text(json.dumps(dict(run=run, **others)))

    def both(a, b):
        return dict(dtd=dict(knn=a, linear=1), pets=dict(knn=b, linear=2))

    keep('references', 'references', tasks=dict(dtd=[1, 1], pets=[1, 1]), scores={'raw pixels': both(7, 7)})
    for seed, a in enumerate((40, 44)):
        keep(f'all-{seed}', 'all', seed=seed, scores=dict(task=both(a, 60), own=both(3, 3)))
    keep('only_cats-0', 'only_cats', seed=0, scores=dict(task=both(30, 70), own=both(3, 3)))
    scores = read_scores([tmp_path])
    assert (scores.networks, scores.tasks) == (['all', 'only_cats'], ['dtd', 'pets'])
    np.testing.assert_array_equal(scores.values, [[42, 60], [30, 70]])
    main(['bars', str(tmp_path), '--out', str(tmp_path / 'bars.png')])
    assert (tmp_path / 'bars.png').stat().st_size > 5000
    with pytest.raises(InputError, match='a study is a picture by itself'):
        read_scores([tmp_path, tmp_path / 'all-0.json'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='empty has no results of a study'):
        read_scores([tmp_path / 'empty'])


@pytest.mark.parametrize('change, message', [
    (lambda t: t.update(format='x'), 'cannot be read as an evaluation'),
    (lambda t: t.pop('rows'), 'is no table .it has no rows.'),
    (lambda t: t['rows'][0]['scores'].pop('sun397'), 'Subset-A has other tasks than the table'),
    (lambda t: t['rows'][0]['scores']['sun397'].update(ours='60'), 'is no table'),
    (lambda t: t['rows'][1].update(network='Subset-A'), 'has a network or a task twice'),
    (lambda t: t.update(rows=t['rows'][2:]), 'has no scores of our own'),
    (lambda t: t.update(rows=[], columns=[]), 'has no scores of our own')])
def test_a_file_that_is_no_table_is_one_line(change, message, tmp_path):
    content, file = table(), tmp_path / 'table.json'
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_scores([file])
    assert '\n' not in str(caught.value)


def test_each_figure_is_a_command(root, tmp_path, capsys):
    rankings, pool = [str(root / 'pets.json'), str(root / 'cars.json')], ['--checkpoint', str(root / 'sdr.pth')]
    for command in (['bars', str(root / 'table.json'), '--networks', 'full', 'Subset-A'],
                    ['gains', *rankings, '--sort'],
                    ['tasks', *rankings, *pool, '--labels', str(root / 'labels.csv'), '--count', '5'],
                    ['tasks', *rankings, '--over', 'super-net'], ['clusters', *rankings, *pool],
                    ['clusters', *rankings, '--data', str(root / 'pool'), '--clusters', str(root / 'clusters.npz')]):
        file = tmp_path / 'picture.png'
        main([*command, '--out', str(file), '--overwrite'])
        with Image.open(file) as image:
            assert image.format == 'PNG'
        assert capsys.readouterr().out == f'wrote {file}\n'
        file.unlink()


def test_one_command_draws_all_of_them_on_a_page(root, tmp_path, capsys):
    out = tmp_path / 'figures'
    command = ['all', str(root / 'pets.json'), str(root / 'cars.json'), '--checkpoint', str(root / 'sdr.pth'),
               '--labels', str(root / 'labels.csv'), '--table', str(root / 'table.json'), '--out', str(out)]
    main(command)
    page = (out / 'figures.md').read_text(encoding='utf-8')
    shown = re.findall(r'!\[.*\]\((.*)\)', page)
    assert shown == ['bars.png', 'gains.png', 'clusters.png', 'task_01_pets-cats.png', 'task_02_cars.png']
    assert sorted(file.name for file in out.iterdir()) == sorted([*shown, 'figures.md'])
    assert 'Best on so many of 1 tasks: Subset-A 1, full 0.' in page
    # Sub-net 1 is that of cluster 2, which has every fourth image: 3 of the 12 rings and 3 of the 12 stripes.
    assert '## pets \\& \\[cats\\]\n\nRouted to sub-net 1: +10.00 points over baseline. 3 of 4 sub-nets are above ' \
           'it, the mean gains +1.75. Its cluster 2 has 6 images: rings 50 %, stripes 50 %.' in page
    with pytest.raises(InputError, match='exists already'):
        main(command)
    (out / 'old.png').write_bytes(b'')
    main([*command, '--overwrite'])
    assert not (out / 'old.png').exists()
    assert [file.name for file in tmp_path.iterdir()] == ['figures']


@pytest.mark.parametrize('arguments, message', [
    ('gains alone.json', 'the routing on cars has no baseline to compare with'),
    ('all alone.json', 'the routing on cars has no baseline to compare with'),
    ('gains pets.json other.json', 'are of different checkpoints'),
    ('clusters other.json --checkpoint sdr.pth', 'the ranking on cars is of another checkpoint than'),
    ('clusters pets.json', 'need --checkpoint FILE, or --data FOLDER and --clusters FILE'),
    ('clusters pets.json --data pool', 'need both --data FOLDER and --clusters FILE'),
    ('clusters pets.json --data gone --clusters clusters.npz', 'there is no folder'),
    ('clusters pets.json --data task --clusters clusters.npz', 'made from another image list'),
    ('clusters pets.json --checkpoint sdr.pth --clusters gone.npz', 'no file .*gone.npz: pass --clusters FILE$'),
    ('tasks pets.json --checkpoint sdr.pth --labels folders', 'lies in no class folder below'),
    ('tasks pets.json --labels folders', 'the class mix of a cluster needs --checkpoint FILE'),
    ('bars table.json pets.json', 'a table is a picture by itself'),
    ('bars pets.json', 'cannot be read as an evaluation'),
    ('bars table.json --networks B', "there is no network 'B', only Subset-A, full"),
    ('tasks table.json', 'is no result of routing')])
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(arguments, message, root, tmp_path):
    figure, *others = arguments.split()
    files = [str(root / part) if (root / part).exists() or part.startswith('gone') else part for part in others]
    with pytest.raises(InputError, match=message) as caught:
        main([figure, *files, '--out', str(tmp_path / 'out')])
    assert '\n' not in str(caught.value) and 'bn-reset' not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_pool_of_a_checkpoint_whose_images_are_gone_is_one_line(root, tmp_path):
    (root / 'pool').rename(root / 'moved')
    try:
        with pytest.raises(InputError, match='a picture needs the images .* there is no folder .* names: pass --data '
                                             'FOLDER$'):
            main(['clusters', str(root / 'pets.json'), '--checkpoint', str(root / 'sdr.pth'), '--out',
                  str(tmp_path / 'out.png')])
    finally:
        (root / 'moved').rename(root / 'pool')


def test_help_does_not_wait_for_torch():
    code = 'import sys\nfrom projects.figures.__main__ import parse_args\nparse_args(["gains", "a", "--out", "b"])\n' \
           'print("torch" in sys.modules, "matplotlib" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 'False False\n', done.stderr
