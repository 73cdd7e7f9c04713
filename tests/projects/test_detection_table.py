"""The paper's Table 2 with numbers of our own: which runs are read, and what the table says of them."""

import csv
import json

import pytest

from projects.paper_tables import __main__ as tool
from projects.paper_tables import paper
from projects.paper_tables.detection import read_run, read_runs, tabulate
from projects.paper_tables.table import markdown
from sdr_mm.errors import InputError

VOC = "dict(ann_file='VOC2007/ImageSets/Main/test.txt', data_root='data/VOCdevkit/', type='sdr_mm.VOCFolder')"
SCORES = dict(AP=55.5, AP50=81.25, AP75=60.75)


def validation(scores):
    """A line of MMEngine's log after a validation, as tools/train.py leaves it: it names no iteration."""
    return {**{f'pascal_voc/{name}': value for name, value in scores.items()}, 'data_time': 0.1, 'time': 0.2, 'step': 0}


def training(iteration):
    return {'lr': 0.02, 'loss': 1.5, 'iter': iteration, 'step': iteration}


def log(folder, lines, part='20260101_000000', iterations=24000, dataset=VOC, config=None):
    """A part of a training, with the files and names that MMEngine gives it."""
    place = folder / part / 'vis_data'
    place.mkdir(parents=True)
    (place / 'scalars.json').write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    loop = f"dict(max_iters={iterations}, type='IterBasedTrainLoop', val_interval=3000)"
    (place / 'config.py').write_text(config if config is not None else
                                     f'train_cfg = {loop}\nval_dataloader = dict(\n    dataset={dataset})\n')
    return folder


def finished(folder, scores=SCORES, **options):
    last = options.get('iterations', 24000)
    return log(folder, [training(50), validation(dict.fromkeys(SCORES, 1.0)), training(last), validation(scores)],
               **options)


def table(*argv, out):
    tool.main(['--table', '2', *map(str, argv), '--out', str(out)])
    return json.loads((out / 'table.json').read_text())


# What is read


def test_a_run_has_the_scores_of_its_last_validation(tmp_path):
    run = read_run(str(finished(tmp_path / 'run')))
    assert run.scores == SCORES and run.iterations == 24000 and run.comparable


def test_a_resumed_training_is_read_over_all_its_parts(tmp_path):
    log(tmp_path, [training(3000), validation(SCORES), training(3050)], '20260101_000000')
    log(tmp_path, [training(3050), training(24000), validation(dict(SCORES, AP=40.0))], '20260102_000000')
    assert read_run(str(tmp_path)).scores['AP'] == 40.0
    # One that begins again in the same place has no result until it is at its end.
    log(tmp_path, [training(50), validation(SCORES)], '20260103_000000')
    with pytest.raises(InputError, match='no AP after iteration 24,000 and ends at 50: continue it with'):
        read_run(str(tmp_path))


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    log(tmp_path, [training(3000)], '20260101_000000')
    with open(tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json', 'a') as file:
        file.write('{"iter": 30')
    finished(tmp_path, part='20260102_000000')
    assert read_run(str(tmp_path)).scores == SCORES


def test_nan_in_the_loss_is_no_reason_to_refuse_the_scores(tmp_path):
    lines = [dict(training(24000), grad_norm=float('nan')), validation(SCORES)]
    assert read_run(str(log(tmp_path, lines))).scores == SCORES


def test_the_file_of_the_test_is_read_whatever_the_prefix(tmp_path):
    file = tmp_path / 'test.json'
    for prefix in ('pascal_voc/', ''):
        file.write_text(json.dumps({f'{prefix}{name}': value for name, value in SCORES.items()}))
        run = read_run(str(file))
        assert run.scores == SCORES and run.iterations is None and run.comparable


def test_a_config_that_lies_there_is_not_run(tmp_path):
    marker = tmp_path / 'ran'
    harmful = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ntrain_cfg = dict(max_iters=24000)\n"
    run = read_run(str(finished(tmp_path / 'run', config=harmful)))
    assert run.iterations == 24000 and not marker.exists()
    called = f'train_cfg = dict(max_iters=__import__("pathlib").Path({str(marker)!r}).touch())\n'
    with pytest.raises(InputError, match='does not say how many iterations'):
        read_run(str(finished(tmp_path / 'other', config=called)))
    assert not marker.exists()


@pytest.mark.parametrize('change, message', [
    (lambda lines: lines[:-1], 'no AP after iteration 24,000 and ends at 24,000'),
    (lambda lines: [*lines, training(23000)], 'ends at 23,000'),
    (lambda lines: [*lines[:2], validation(SCORES)], 'ends at 50'),
    (lambda lines: [], 'ends at 0'),
    (lambda lines: [*lines[:-1], {'coco/bbox_mAP': 0.4, 'step': 12}], r'has no AP, AP50 and AP75 .* \(it has no AP\)'),
    (lambda lines: [*lines[:-1], {'pascal_voc/mAP': 0.5, 'pascal_voc/AP50': 0.8}], 'it has no AP'),
    (lambda lines: [*lines[:-1], validation(dict(SCORES, AP75=float('nan')))], 'AP75 is null, not a finite number'),
    (lambda lines: [*lines[:-1], validation(dict(SCORES, AP75='60'))], 'AP75 is "60", not a finite number'),
    (lambda lines: [*lines[:-1], validation(dict(SCORES, AP50=100.5))], 'AP50 is 100.5, not per cent'),
    (lambda lines: [*lines[:-1], validation(dict(SCORES, AP50=-1))], 'AP50 is -1, not per cent'),
    (lambda lines: [dict(lines[0], iter='50'), *lines[1:]], r'\(line 1.iter is "50", not a whole number\)'),
    (lambda lines: [lines[0], [1], *lines[1:]], r'\(line 2 is \[1\], not a record\)'),
])
def test_what_is_no_finished_training_is_one_line(change, message, tmp_path):
    lines = [training(50), validation(SCORES), training(24000), validation(SCORES)]
    log(tmp_path, change(lines))
    with pytest.raises(InputError, match=message) as error:
        read_run(str(tmp_path))
    assert '\n' not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize('config', [
    '', 'train_cfg = dict(max_epochs=12)', 'train_cfg = 3', 'train_cfg = dict(max_iters=2.5)', 'train_cfg = (',
    'train_cfg = dict(max_iters=True)', '\0', '(' * 5000])
def test_a_config_without_iterations_is_one_line_that_says_what_to_do(config, tmp_path):
    with pytest.raises(InputError, match='does not say how many iterations .* score its checkpoint with tools/test.py'):
        read_run(str(finished(tmp_path, config=config)))


# What the table says


def test_means_deviations_and_differences_are_those_of_the_runs(tmp_path):
    several = [dict(AP=55.0, AP50=81.0, AP75=60.0), dict(AP=55.5, AP50=82.0, AP75=60.0),
               dict(AP=56.3, AP50=80.0, AP75=63.0)]
    for number, scores in enumerate(several):
        finished(tmp_path / f'sdr_{number}', scores)
    finished(tmp_path / 'own', SCORES)
    content = table('--networks', *(f'SDR (SimSiam)={tmp_path}/sdr_{number}' for number in range(3)),
                    f'mine={tmp_path}/own', out=tmp_path / 'out')
    sdr, mine = content['rows']
    for key, published in (('AP', 55.65), ('AP50', 81.16), ('AP75', 60.89)):
        values = [scores[key] for scores in several]
        mean = sum(values) / 3
        assert sdr['scores'][key] == pytest.approx(dict(
            ours=mean, deviation=(sum((value - mean)**2 for value in values) / 3)**0.5, paper=published,
            difference=mean - published))
        assert mine['scores'][key] == dict(ours=SCORES[key], deviation=None, paper=None, difference=None)
    assert [run['scores'] for run in sdr['source']] == several
    assert content['notes'] == ["The paper's Table 2 has no row mine.",
                                'SDR (SimSiam): mean ± standard deviation over 3 runs.']


def test_markdown_and_csv_have_the_numbers_of_the_json(tmp_path):
    finished(tmp_path / 'a', dict(AP=50.0, AP50=80.0, AP75=55.0))
    finished(tmp_path / 'b', dict(AP=51.006, AP50=79.0, AP75=56.0))
    content = table('--networks', f'SwAV={tmp_path}/a', f'mine={tmp_path}/b', out=tmp_path / 'out')
    lines = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in (tmp_path / 'out' / 'table.md').read_text().splitlines() if line.startswith('|')]
    assert [lines[0], *lines[2:]] == [
        ['network', '', 'AP', 'AP50', 'AP75'],
        ['SwAV', 'ours', '<u>50.00</u>', '**80.00**', '<u>55.00</u>'],
        ['', 'paper', '52.07', '81.50', '56.03'],
        ['', 'difference', '-2.07', '-1.50', '-1.03'],
        ['mine', 'ours', '**51.01**', '<u>79.00</u>', '**56.00**'],
    ]
    with open(tmp_path / 'out' / 'table.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        line, = (line for line in content['rows'] if line['network'] == row['network'])
        for key in ('ours', 'deviation', 'paper', 'difference'):
            number = line['scores'][row['column']][key]
            assert row[key] == '' if number is None else float(row[key]) == pytest.approx(number, abs=1e-4)


def test_all_rows_are_the_papers_seventeen_with_ours_among_them(tmp_path):
    finished(tmp_path / 'run')
    finished(tmp_path / 'own')
    content = table('--all-rows', '--networks', f'mine={tmp_path}/own', f'SimSiam={tmp_path}/run', out=tmp_path / 'out')
    assert [row['network'] for row in content['rows']] == [*paper.TABLE2.rows, 'mine']
    assert [row['network'] for row in content['rows'] if row['source']] == ['SimSiam', 'mine']
    for row in content['rows'][:-1]:
        assert {key: entry['paper'] for key, entry in row['scores'].items()} == paper.TABLE2.rows[row['network']].scores
    alone = table('--all-rows', out=tmp_path / 'alone')
    assert len(alone['rows']) == 17 and alone['notes'] == []


def test_what_was_scored_on_other_images_stands_without_the_papers_numbers(tmp_path):
    for number, (dataset, image_set) in enumerate((
            ("dict(ann_file='ImageSets/Main/test.txt', data_root='data/aerial')", 'ImageSets/Main/test.txt'),
            ("dict(ann_file='VOC2007/ImageSets/Main/val.txt', data_root='d/')", 'VOC2007/ImageSets/Main/val.txt'),
            (f'dict({VOC}, indices=10)', 'VOC2007/ImageSets/Main/test.txt with other indices'),
            (f"dict({VOC}, metainfo=dict(classes=('dog', )))", 'VOC2007/ImageSets/Main/test.txt with other metainfo'),
            ('3', 'None'))):
        finished(tmp_path / str(number), dataset=dataset)
        content = table('--networks', f'SimSiam={tmp_path}/{number}', out=tmp_path / 'out')
        assert not content['rows'][0]['compared'] and content['rows'][0]['scores']['AP']['ours'] == 55.5
        assert content['notes'] == [f'SimSiam: scored on {image_set}, so it is not compared with the paper.']
    root = "dict(ann_file='ImageSets/Main/test.txt', data_root='/data/VOC2007')"
    assert read_run(str(finished(tmp_path / 'root', dataset=root))).comparable


def test_other_lengths_and_files_that_do_not_say_are_named_below_the_table(tmp_path):
    finished(tmp_path / 'short', iterations=12000)
    (tmp_path / 'test.json').write_text(json.dumps(SCORES))
    runs = read_runs([f'SimSiam={tmp_path}/short', f'BYOL={tmp_path}/test.json'])
    content = tabulate([*runs], runs)
    assert content['notes'] == ['SimSiam: 12,000 iterations; the paper has 24,000.',
                                f'BYOL: {tmp_path}/test.json does not say what it was trained and scored on.']
    assert all(row['compared'] for row in content['rows'])


def test_the_supervised_network_takes_no_part_in_the_marks(tmp_path):
    for number, value in enumerate((90.0, 50.0, 40.0)):
        finished(tmp_path / str(number), dict.fromkeys(SCORES, value))
    runs = read_runs([f'Supervised={tmp_path}/0', f'SwAV={tmp_path}/1', f'BYOL={tmp_path}/2'])
    text = markdown(tabulate([*runs], runs))
    assert ' 90.00 |' in text and '**50.00**' in text and '<u>40.00</u>' in text
    assert 'Supervised apart' in text


# Bad input


@pytest.mark.parametrize('options, message', [
    (['--networks'], "no networks: give --networks 'NAME=RUN' …, or --all-rows"),
    (['--networks', 'run'], "--networks takes NAME=RUN, for example 'SimSiam=work_dirs/voc', got 'run'"),
    (['--networks', 'a=nowhere'], 'there is no file nowhere: give the work directory of a finished tools/train.py'),
    (['--networks', 'a=empty'], 'empty holds no log of a training'),
    (['--networks', 'a=run/20260101_000000/vis_data/config.py'], 'cannot be read as JSON'),
    (['--networks', 'a=run', 'b=run/../run'], "--networks has run/../run twice, for 'a' and for 'b'"),
    (['--networks', 'a=run', 'a=short'], "the runs of 'a' differ in their iterations, 300 and 24000"),
    (['--networks', 'a=run', 'a=other'], "the runs of 'a' differ in their images, ImageSets/Main/test.txt and VOC"),
    (['--weights', 'empty'], '--weights cannot be used with --table 2'),
    (['--tasks', 'empty', '--k', '5', '--on-error', 'skip'], '--on-error, --tasks, --k cannot be used with --table 2'),
    (['--protocol', 'knn'], '--protocol cannot be used with --table 2'),
    (['--table', '5'], 'invalid choice'),
    (['--out', 'run'], 'run has files in it that are no table'),
    (['--out', 'file'], 'file is no folder'),
])
def test_one_line_says_what_is_wrong_and_nothing_is_written(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished(tmp_path / 'run')
    finished(tmp_path / 'short', iterations=300)
    finished(tmp_path / 'other', dataset="dict(ann_file='ImageSets/Main/test.txt')")
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').touch()
    before = sorted(map(str, tmp_path.rglob('*')))
    with pytest.raises(InputError) as error:
        tool.main(['--table', '2', '--networks', 'a=run', '--out', 'out', *options])
    assert message in str(error.value) and '\n' not in str(error.value)
    assert sorted(map(str, tmp_path.rglob('*'))) == before


def test_a_table_replaces_a_table_and_nothing_else(tmp_path):
    finished(tmp_path / 'run')
    out = tmp_path / 'out'
    for name in ('a', 'b'):
        assert table('--networks', f'{name}={tmp_path}/run', out=out)['rows'][0]['network'] == name
    (out / 'notes.txt').touch()
    with pytest.raises(InputError, match='has files in it that are no table'):
        table('--networks', f'a={tmp_path}/run', out=out)
    assert json.loads((out / 'table.json').read_text())['rows'][0]['network'] == 'b'
