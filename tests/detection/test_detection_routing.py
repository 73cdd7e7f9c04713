"""Routing for detection: shortlists, the race inside the detector, kills, divergence."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detection_data import Square, voc_folder, write_image, write_lists
from PIL import Image
from repository import ROOT, load_tool
from routing_data import BACKBONE, MEAN, STD, make_run, network

from sdr_mm.clusters import Clusters
from sdr_mm.datasets.pool import Pool, load_pool
from sdr_mm.engine.configs import load_config
from sdr_mm.errors import InputError, NotFiniteError
from sdr_mm.images import ImageStore, Normalization, fingerprint
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.models.load_sdr import load_sdr
from sdr_mm.routing import BNImages, BNReset, Cost, RankedNetwork, Ranking, extract_subnet, reset_bn

pytestmark = pytest.mark.ops

CONFIGS = ROOT / 'configs/detection'
AERIAL = CONFIGS / 'faster-rcnn_resnet18_fpn_aerial_400px.py'
ITERS, STOPS = 8, (2, 8)
NORMALIZATION = Normalization(MEAN, STD)
LR, WARM_UP, MILESTONES = 0.02, 4, (5, 7)
# Pictures of 64 pixels, the layout of routing_data.py, all of the schedule within the iterations of the race.
CONFIG = f'''
_base_ = '{AERIAL}'
classes = ('red', 'blue')
model = dict(
    data_preprocessor=dict(mean={list(MEAN)}, std={list(STD)}),
    backbone=dict(stem_channels=8, base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64]),
    roi_head=dict(bbox_head=dict(num_classes=2, fc_out_channels=32)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20), rcnn=dict(sampler=dict(num=16))),
    # Anchors of the squares' size and detections of any score, so that AP is not 0 after two iterations.
    rpn_head=dict(anchor_generator=dict(scales=[5])),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100), rcnn=dict(score_thr=0.0)))
small = dict(type='Resize', scale=(128, 64), keep_ratio=True)
annotations = dict(type='LoadAnnotations', with_bbox=True)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(data_root='DATA', metainfo=dict(classes=classes), serialize_data=False, pipeline=[
        dict(type='LoadImageFromFile'), annotations, small, dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs')]))
val_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root='DATA', metainfo=dict(classes=classes), serialize_data=False, pipeline=[
        dict(type='LoadImageFromFile'), small, annotations,
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(logger=dict(interval=1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={WARM_UP}),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=300, milestones={list(MILESTONES)}, gamma=0.1)]
'''


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A run of pre-training, a set to detect on, and a config for both."""
    folder = make_run(tmp_path_factory.mktemp('detection_routing'))
    voc_folder(folder / 'voc')
    (folder / 'config.py').write_text(CONFIG.replace('DATA', f'{folder / "voc"}/'))
    return folder


def config(files, **options):
    return load_config(str(files / 'config.py'), {name.replace('__', '.'): value for name, value in options.items()})


def evaluator(files, work_dir, cfg=None, **options):
    from sdr_mm.detection import DetectionRoutingEvaluator
    defaults = dict(iters=ITERS, subnets=[0, 3], supernet=False, bn='task', resize=32, size=32, devices=['cpu'])
    return DetectionRoutingEvaluator(cfg or config(files), work_dir, **{**defaults, **options})


def route(files, work_dir, backbone=None, pool=None, **options):
    backbone = backbone or load_sdr(files / 'sdr.pth')[0]
    return evaluator(files, work_dir, **options).evaluate(backbone, normalization=NORMALIZATION, pool=pool)


def logged(folder):
    """What MMEngine logged of all networks, or of one; lines that are being written are left out."""
    lines = [line for file in Path(folder).rglob('vis_data/scalars.json') for line in file.read_text().split('\n')[:-1]]
    return [json.loads(line) for line in lines if line]


def records(folder):
    return {file.parent.name: json.loads(file.read_text()) for file in Path(folder).glob('*/record.json')}


@pytest.fixture(scope='module')
def whole(files):
    """A race that nobody disturbed: its folder, its result and what it said."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        result = route(files, files / 'whole')
    return files / 'whole', result, said.getvalue()


COMMAND = ['--iters', str(ITERS), '--subnets', '0', '3', '--no-supernet', '--bn-reset', 'task', '--resize', '32',
           '--size', '32', '--devices', 'cpu']


def command(files, work_dir):
    return [str(files / 'sdr.pth'), '--config', str(files / 'config.py'), '--work-dir', str(work_dir), *COMMAND]


@pytest.mark.slow
def test_killed_race_ends_in_the_ranking_of_an_undisturbed_one(files, whole, tmp_path):
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', str(ROOT / 'tools/route_detection.py'), *command(files, tmp_path)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300

    def in_the_last_part():
        """Both have their first score, and the better one has trained since."""
        scored = [record for record in records(tmp_path).values() if record['scores']]
        steps = [line['step'] for line in logged(tmp_path) if 'loss' in line]
        return len(scored) == 2 and max(steps, default=0) > STOPS[0] + 1

    while not in_the_last_part():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(list(record['scores']) == [str(STOPS[0])] for record in records(tmp_path).values())
    assert {file.name for file in tmp_path.glob('*/iter_*.pth')} == {f'iter_{STOPS[0]}.pth'}

    folder, expected, _ = whole
    result = route(files, tmp_path)
    assert [(network.name, network.scores, network.others, network.eliminated) for network in result.networks] == [
        (network.name, network.scores, network.others, network.eliminated) for network in expected.networks]
    ours, theirs = (read_checkpoint(place / expected.best.name.replace(' ', '_') / f'iter_{ITERS}.pth')
                    for place in (tmp_path, folder))
    assert ours['meta']['iter'] == theirs['meta']['iter'] == ITERS
    for name, tensor in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][name], tensor), name


def test_checkpoint_that_was_not_noted_is_not_resumed_from(files, whole, tmp_path):
    """As after a kill between the two: the part is repeated from its beginning."""
    folder = tmp_path / 'race'
    shutil.copytree(whole[0], folder)
    name = whole[1].best.name.replace(' ', '_')
    record = json.loads((folder / name / 'record.json').read_text())
    record.update(done=0, scores={})
    (folder / name / 'record.json').write_text(json.dumps(record))
    (folder / name / f'iter_{ITERS}.pth').write_bytes(b'cut short')
    result = route(files, folder)
    assert result.best == whole[1].best
    assert read_checkpoint(folder / name / f'iter_{ITERS}.pth')['meta']['iter'] == ITERS


def test_race_halves_by_ap_and_keeps_its_records(whole):
    from sdr_mm.detection import DetectionRanking
    folder, result, said = whole
    scores = {name: {int(stop): values['AP'] for stop, values in record['scores'].items()}
              for name, record in records(folder).items()}
    first = {name: by_stop[STOPS[0]] for name, by_stop in scores.items()}
    assert set(first) == {'sub-net_0', 'sub-net_3'} and len(set(first.values())) == 2
    winner = max(first, key=first.get)
    assert [network.name for network in result.networks] == [
        name.replace('_', ' ') for name in sorted(first, key=first.get)[::-1]]
    assert list(scores[winner]) == list(STOPS)
    assert result.best.scores == [scores[winner][ITERS]] and result.best.others['iterations'] == [ITERS]
    loser = result.networks[1]
    assert loser.eliminated == 1 and loser.scores == [min(first.values())]
    assert loser.others['iterations'] == [STOPS[0]]
    # Only who may go on keeps the weights of its detector, and those of its last part.
    assert [(file.parent.name, file.name) for file in folder.glob('*/*.pth') if file.name != 'backbone.pth'] == [
        (winner, f'iter_{ITERS}.pth')]
    assert DetectionRanking.load(folder / 'routing.json') == result
    assert f'{result.best.score:.4g}' in Ranking.load(folder / 'routing.json').table()
    assert re.search(r'2 to iteration 2, 1 to iteration 8\).* 10 iterations of 2 images', said)
    assert re.search(rf'{result.best.name} at iteration {ITERS}: AP {result.best.score:.2f}', said)
    assert re.search(r'fine-tuning:.*10/10', said)


def test_learning_rate_is_that_of_the_full_schedule(whole):
    folder, result, _ = whole
    lines = logged(folder / result.best.name.replace(' ', '_'))
    rates = {line['step']: line['lr'] for line in lines if 'loss' in line}
    assert sorted(rates) == list(range(1, ITERS + 1))
    for step, rate in rates.items():
        done = step - 1
        warm = min(1, 0.001 + 0.999 * done / (WARM_UP - 1))
        # MMEngine logs the rate with six digits.
        assert rate == pytest.approx(LR * warm * 0.1**sum(done >= stone for stone in MILESTONES), rel=1e-4, abs=1e-7)


def test_finished_race_is_printed_without_being_run(files, whole, capsys):
    folder, result, _ = whole
    before = {file: file.stat().st_mtime_ns for file in folder.glob('*/record.json')}
    load_tool('route_detection').main(command(files, folder))
    assert before == {file: file.stat().st_mtime_ns for file in folder.glob('*/record.json')}
    text = capsys.readouterr().out
    assert re.search(rf'^ +1  {result.best.name}  .* {result.best.score:.2f} .* {ITERS}$', text, re.M)
    assert re.search(rf'^ +2  {result.networks[1].name}  .* {STOPS[0]}$', text, re.M)
    assert 'candidates were halved: 2 to iteration 2, 1 to iteration 8' in text
    assert re.search(r'^Cost: 10 iterations, 26 images through a network', text, re.M)


def test_printed_command_resumes_the_full_run(files, whole, capsys, tmp_path, monkeypatch):
    folder, _, _ = whole
    load_tool('route_detection').main(command(files, folder))
    text = capsys.readouterr().out
    words = shlex.split(re.search('^full run:  (.*)$', text, re.M)[1])
    resume = shlex.split(re.search('add  (.*)$', text, re.M)[1])
    assert words[:2] == ['python', 'tools/train.py']
    words[words.index('--work-dir') + 1] = str(tmp_path)
    start = [*words[1:], 'train_cfg.max_iters=9', 'default_hooks.checkpoint.interval=9', *resume]
    monkeypatch.setattr(sys, 'argv', start)
    load_tool('train').main()
    assert read_checkpoint(tmp_path / 'iter_9.pth')['meta']['iter'] == 9


def overflowing(group):
    """An SDRNet whose activations overflow in the first routed stage of one group."""
    backbone = network()
    with torch.no_grad():
        channels = slice(24 + 8 * group, 32 + 8 * group)
        backbone.layer3[0].conv1.weight[channels] = 1e30
    return backbone


@pytest.mark.slow
def test_candidate_that_diverges_is_named_and_ranked_last(files, tmp_path, capsys):
    backbone = overflowing(1)
    sick, sound = (backbone.space.index(path) for path in ((1, 0), (0, 0)))
    result = route(files, tmp_path, backbone, subnets=[sick, sound], iters=4, bn='none')
    assert [network.subnet for network in result.networks] == [sound, sick]
    assert result.networks[0].others['iterations'] == [4] and not result.networks[1].scores
    reason = result.settings['diverged'][f'sub-net {sick}']
    assert re.search('not finite|loss (nan|inf)', reason)
    assert f'sub-net {sick} has diverged ({reason})' in capsys.readouterr().err
    assert f'sub-net {sick} was skipped, it has diverged: {reason}' in result.table()
    # What diverged is not tried again.
    again = route(files, tmp_path, backbone, subnets=[sick, sound], iters=4, bn='none')
    assert again.networks == result.networks


def test_diverging_training_leaves_one_line(files, tmp_path):
    cfg = config(files, optim_wrapper__optimizer__lr=1e30, optim_wrapper__clip_grad=None)
    with pytest.raises(InputError, match='^all 1 candidates have diverged, .*sub-net 0.*: lower optim_') as error:
        route(files, tmp_path, cfg=cfg, subnets=[0], iters=12, halving=False)
    assert '\n' not in str(error.value)
    assert re.match(r'at iteration \d+: .*loss', records(tmp_path)['sub-net_0']['diverged'])


def test_a_checkpoint_that_is_not_finite_is_no_training_that_diverges(files, tmp_path):
    """Nor one that is done: nothing is known of the training, and nothing is written."""
    from sdr_mm.detection.fine_tuning import FineTuning, Part
    cfg = config(files, model__backbone__init_cfg=None)
    Part('net', tmp_path, cfg, stop=1, images=2, evaluates=False).run()
    checkpoint = read_checkpoint(tmp_path / 'iter_1.pth')
    next(iter(checkpoint['state_dict'].values())).fill_(float('nan'))
    torch.save(checkpoint, tmp_path / 'iter_1.pth')
    with pytest.raises(NotFiniteError, match='iter_1.pth: the weights are not finite'):
        Part('net', tmp_path, cfg, stop=2, images=2, evaluates=False).run()
    record = FineTuning.load(tmp_path)
    assert (record.done, record.diverged) == (1, '')
    assert [file.name for file in tmp_path.glob('*.pth')] == ['iter_1.pth']


def test_backbone_that_cannot_be_written_has_diverged(tmp_path):
    from sdr_mm.detection.routing import write_backbone
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    store = BNImages(ImageStore(list(images), resize=32, size=32), np.arange(4))
    settings = EvalSettings(NORMALIZATION, 32, 32)
    backbone = overflowing(0)
    sick, sound = (backbone.space.index(path) for path in ((0, 1), (1, 1)))
    assert write_backbone(backbone, sound, tmp_path / 'sound.pth', BNReset('task'), store, settings) == 'task'
    assert EvalSettings.of(read_checkpoint(tmp_path / 'sound.pth')['meta']['settings']) == settings
    with pytest.raises(NotFiniteError, match='activations at BN layer layer3.* are not finite'):
        write_backbone(backbone, sick, tmp_path / 'sick.pth', BNReset('task'), store, settings)
    assert not (tmp_path / 'sick.pth').exists()


@pytest.mark.slow
def test_supernet_and_baselines_are_compared_with(files, tmp_path):
    """The four networks run in two processes."""
    from sdr_mm.routing import export_subnet
    backbone = load_sdr(files / 'sdr.pth')[0]
    baseline = tmp_path / 'other.pth'
    export_subnet(extract_subnet(network(1), (0, 0)), baseline, config=backbone.subnet_config())
    result = route(files, tmp_path / 'run', subnets=[0], iters=1, halving=False, supernet=True,
                   baselines=[str(baseline), 'random'], devices=['cpu', 'cpu'])
    processes = {re.search(r'_(\d+)_\d+_\d+_\d+$', read_checkpoint(file)['meta']['experiment_name'])[1]
                 for file in (tmp_path / 'run').glob('*/iter_1.pth')}
    assert len(processes) == 2 and str(os.getpid()) not in processes
    assert {network.name for network in result.networks} == {'sub-net 0', 'super-net', 'baseline', 'random'}
    assert {network.name: network.bn for network in result.networks} == {
        'sub-net 0': 'task', 'super-net': 'task', 'baseline': 'own', 'random': 'own'}
    best = result.best
    assert best.gain_supernet == pytest.approx(best.score - result.network('super-net').score)
    assert best.gain_baseline == pytest.approx(best.score - result.network('baseline').score)
    # After one warm-up step of lr 2e-5 the weights are still those that each started from.
    trained = read_checkpoint(tmp_path / 'run/super-net/iter_1.pth')['state_dict']
    wide = backbone.layer3[0].conv1.weight
    assert trained['backbone.layer3.0.conv1.weight'].shape == wide.shape
    torch.testing.assert_close(trained['backbone.layer3.0.conv1.weight'], wide, atol=1e-2, rtol=0)
    started = {name: read_checkpoint(tmp_path / f'run/{name}/iter_1.pth')['state_dict']['backbone.conv1.weight']
               for name in ('sub-net_0', 'baseline', 'random')}
    torch.testing.assert_close(started['sub-net_0'], backbone.conv1.weight, atol=1e-2, rtol=0)
    torch.testing.assert_close(started['baseline'], network(1).conv1.weight, atol=1e-2, rtol=0)
    heads = [read_checkpoint(tmp_path / f'run/{name}/iter_1.pth')['state_dict']['roi_head.bbox_head.fc_cls.weight']
             for name in ('sub-net_0', 'baseline')]
    torch.testing.assert_close(*heads, atol=1e-3, rtol=0)
    assert heads[0].std() > 5e-3
    assert (started['random'] - backbone.conv1.weight).abs().max() > 0.1


@pytest.mark.slow
def test_all_networks_see_the_same_images_in_the_same_part(files, tmp_path, monkeypatch):
    """Whatever their size; and other images in the next part."""
    from sdr_mm.detection.fine_tuning import PartialTrainLoop
    seen = {}

    def run_iter(self, batch):
        names = [(sample.img_id, sample.flip, float(image.float().mean()))
                 for sample, image in zip(batch['data_samples'], batch['inputs'])]
        seen.setdefault(Path(self.runner.work_dir).name, []).append(names)
        original(self, batch)

    original = PartialTrainLoop.run_iter
    monkeypatch.setattr(PartialTrainLoop, 'run_iter', run_iter)
    result = route(files, tmp_path, iters=12, supernet=True, baselines=['random'])
    winner, loser = (network.name.replace(' ', '_') for network in result.subnets)
    assert len(seen[winner]) == 12 and len(seen[loser]) == 3
    assert seen[winner] == seen['super-net'] == seen['baseline']
    assert seen[loser] == seen[winner][:3]
    assert seen[winner][3:6] != seen[winner][:3]
    assert {flip for batch in seen[winner] for _, flip, _ in batch} == {True, False}


@pytest.mark.parametrize('candidates, iters, halving, expected, iterations', [
    (8, 1000, True, [(8, 250), (4, 500), (2, 1000)], 4000),
    (3, 10, True, [(3, 3), (2, 5), (1, 10)], 18),
    (2, 16, True, [(2, 4), (1, 16)], 20),
    (1, 1000, True, [(1, 1000)], 1000),
    (5, 100, False, [(5, 100)], 500),
])
def test_steps_of_the_race(candidates, iters, halving, expected, iterations):
    from sdr_mm.detection.race import race_iterations, race_steps
    steps = race_steps(candidates, iters, halving)
    assert [(step.candidates, step.stop) for step in steps] == expected
    assert race_iterations(steps) == iterations


def dataset(folder, classes=('red', 'blue')):
    from sdr_mm.detection import VOCFolder
    voc = VOCFolder(data_root=str(folder), ann_file='ImageSets/Main/trainval.txt', metainfo=dict(classes=classes),
                    pipeline=[])
    voc.full_init()
    return voc


def test_crops_show_the_annotated_objects(tmp_path):
    from sdr_mm.detection.shortlist import crops_task
    task = crops_task(dataset(voc_folder(tmp_path)), 'squares', resize=16, size=16)
    assert task.classes == ['red', 'blue'] and task.labels.tolist() == [0, 1] * 6
    for crop, label in zip(task.paths, task.labels):
        center = crop[6:10, 6:10].reshape(-1, 3).mean(0)
        assert center.argmax() == (2 if label else 0) and center.max() > 180
    assert len(crops_task(dataset(tmp_path), 'squares', resize=16, size=16, most=2).labels) == 4


def test_crops_of_a_class_from_one_image_stay_together(tmp_path):
    from sdr_mm.detection.shortlist import crops_task
    for number in range(6):
        write_image(tmp_path, f'i{number}', [
            Square(name, (left, top, left + 15, top + 15)) for name, top in (('red', 5), ('blue', 35))
            for left in (3, 23, 43)])
    write_lists(tmp_path, trainval=[f'i{number}' for number in range(6)])
    task = crops_task(dataset(tmp_path), 'squares', resize=16, size=16)
    split, = task.splits
    assert len(task.labels) == 36 and len(split.test) == 12
    for label in (0, 1):
        sides = [{int(task.groups[row]) for row in part if task.labels[row] == label}
                 for part in (split.train, split.test)]
        assert not sides[0] & sides[1]


def test_one_class_gets_a_background_that_overlaps_no_box(tmp_path):
    from sdr_mm.detection.shortlist import crops_task
    for number in range(4):
        write_image(tmp_path, f'i{number}', [Square('red', (1, 1, 30, 30)), Square('red', (40, 5, 60, 20), 1)])
    write_lists(tmp_path, trainval=[f'i{number}' for number in range(4)])
    task = crops_task(dataset(tmp_path, ('red', )), 'squares', resize=29, size=29)
    assert task.classes == ['red', 'background'] and task.labels.tolist() == [0, 1] * 4  # not the difficult one
    for crop, label in zip(task.paths, task.labels):
        # Noise of the background is below 160, red above 200.
        assert (crop[..., 0].max() > 190) == (label == 0)


def test_crops_of_one_class_without_room_for_a_background_are_refused(tmp_path):
    from sdr_mm.detection.shortlist import crops_task
    for number in range(2):
        write_image(tmp_path, f'i{number}', [Square('red', (1, 1, 60, 60))])
    write_lists(tmp_path, trainval=['i0', 'i1'])
    with pytest.raises(InputError, match='two classes with two crops each, .* 2 of red, 0 of background: choose '
                                         '--shortlist label_free'):
        crops_task(dataset(tmp_path, ('red', )), 'squares')


def shortlist(backbone, voc, mode, pool=None):
    from sdr_mm.detection import Shortlist
    return Shortlist(mode, candidates=1).rank(
        backbone, voc, 'squares', images=dict(resize=32, size=32, on_error='stop', workers=1),
        bn=BNReset(num_images=100, batch_size=8), pool=pool, normalization=NORMALIZATION)


def test_knn_on_crops_puts_the_sub_nets_that_see_first(tmp_path):
    """Channels of the last stage carry nothing, but for those of one individual group."""
    backbone = network()
    with torch.no_grad():
        for norm in (backbone.layer4[0].bn2, backbone.layer4[0].downsample[1], backbone.layer4[1].bn2):
            for tensor in (norm.weight, norm.bias):
                tensor[:48] = 0  # shared
                tensor[48:64] = 0  # group 0
    result = shortlist(backbone, dataset(voc_folder(tmp_path)), 'knn_crops')
    seeing = {backbone.space.index((first, 1)) for first in (0, 1)}
    assert {network.subnet for network in result.subnets[:2]} == seeing
    assert min(network.score for network in result.subnets[:2]) > max(network.score for network in result.subnets[2:])


def test_label_free_puts_the_cluster_that_looks_like_the_images_first(tmp_path):
    colors = [(40, 160, 40), (230, 230, 230), (200, 30, 30), (20, 20, 160)]
    random = np.random.default_rng(0)

    def plain(color, size=40):
        return np.clip(np.array(color) + random.normal(0, 12, (size, size, 3)), 0, 255).astype(np.uint8)

    paths = []
    (tmp_path / 'pool').mkdir()
    for number in range(24):
        paths.append(str(tmp_path / f'pool/{number}.png'))
        Image.fromarray(plain(colors[number % 4])).save(paths[-1])
    backbone = network()
    order = [2, 0, 3, 1]
    clusters = Clusters(
        assignment=np.arange(24) % 4, centroids=np.eye(4, dtype=np.float32),
        paths=np.array([backbone.space.path(index) for index in order]), num_groups=2, fingerprint=fingerprint(paths),
        method='random')
    for number in range(3):
        write_image(tmp_path / 'voc', f'i{number}', [Square('red', (5, 5, 20, 20))], suffix='.png')
        Image.fromarray(plain(colors[2], 64)).save(tmp_path / f'voc/JPEGImages/i{number}.png')
    write_lists(tmp_path / 'voc', trainval=['i0', 'i1', 'i2'])
    result = shortlist(backbone, dataset(tmp_path / 'voc'), 'label_free', Pool(paths, clusters))
    assert result.best.subnet == order[2]


def test_shortlist_leaves_the_first_to_the_race(files, tmp_path):
    from sdr_mm.detection import Shortlist
    backbone, training = load_sdr(files / 'sdr.pth')
    pool = load_pool(training, backbone.space)
    result = route(files, tmp_path, subnets=None, iters=1, halving=False, bn='cluster', pool=pool,
                   shortlist=Shortlist('label_free', candidates=1))
    listed = Ranking.load(tmp_path / 'shortlist_label_free.json')
    assert [network.subnet for network in result.subnets] == [network.subnet for network in listed.subnets]
    assert [network.others['shortlist'] for network in result.subnets] == [
        [network.screening] for network in listed.subnets]
    assert [bool(network.scores) for network in result.subnets] == [True, False, False, False]
    # Cluster c has path 3 - c.
    assert result.best.bn == f'cluster {3 - result.best.subnet}'
    # The file is the exported sub-net, with statistics of its cluster.
    expected = extract_subnet(backbone, result.best.path)
    images = BNImages(pool=pool, pool_store=ImageStore(pool.paths, resize=32, size=32))
    _, store, chosen = BNReset('cluster').choose(images, result.best.subnet)
    reset_bn(expected, store.batches(chosen, 200, mean=MEAN, std=STD))
    exported = read_checkpoint(tmp_path / result.best.name.replace(' ', '_') / 'backbone.pth')
    assert set(exported['state_dict']) == set(expected.state_dict())
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(exported['state_dict'][name], tensor, msg=name)
    assert exported['meta']['backbone']['base_channels'] == sum(BACKBONE['base_channels'])


def test_batch_of_a_candidate_is_the_one_the_learning_rate_is_for(tmp_path):
    """8 GPUs × 2 images in the config, 16 on the one GPU of a candidate."""
    from sdr_mm.detection import DetectionRoutingEvaluator
    cfg = load_config(str(CONFIGS / 'faster-rcnn_sdr_fpn_24k_voc0712.py'))
    whole, half = (DetectionRoutingEvaluator(cfg, tmp_path, images=images) for images in (None, 8))
    assert (whole.images, whole.config.optim_wrapper.optimizer.lr) == (16, 0.02)
    assert (half.images, half.config.optim_wrapper.optimizer.lr) == (8, 0.01)


def test_every_part_that_starts_from_the_backbone_gets_the_candidate():
    from sdr_mm.detection.detector_config import with_backbone
    c4 = load_config(str(CONFIGS / 'faster-rcnn_sdr_c4_24k_voc0712.py'))
    for file in ('x.pth', None):
        model = with_backbone(c4, file).model
        for part in (model.backbone, model.roi_head.shared_head):
            assert (part.init_cfg.checkpoint if file else part.init_cfg) == file
    fixed = load_config(str(CONFIGS / 'faster-rcnn_sdr-path_fpn_24k_voc0712.py'))
    backbone = with_backbone(fixed, 'x.pth', (1, 2, 3, 0)).model.backbone
    assert backbone.path == (1, 2, 3, 0) and backbone.init_cfg.checkpoint == 'x.pth'
    assert c4.model.backbone.init_cfg.checkpoint == 'backbone.pth'


@pytest.mark.parametrize('options, message', [
    (dict(iters=301), '--iters 301 is more than the 300 iterations of .*: pass fewer, or raise train_cfg.max_iters'),
    (dict(iters=3), 'a race with halving needs --iters of at least 4, got 3'),
    (dict(subnets=[4]), r'.*4 is outside the space.*'),
    (dict(subnets=[1, 1]), '--subnets are different numbers, got 1 1'),
    (dict(baselines=['none.pth']), 'there is no file none.pth: give a checkpoint'),
    (dict(images=0), 'need --images >= 1, got 0'),
    (dict(devices=['cuda:99']), "there is no device 'cuda:99' here: give 'cpu', or 'cuda:0' .*"),
    (dict(bn='cluster'), 'BN reset by cluster and the shortlist .* need the images of pre-training .*'),
])
def test_options_that_cannot_be_used_end_in_one_line(files, tmp_path, options, message):
    with pytest.raises(InputError, match=f'^{message}$'):
        route(files, tmp_path, **options)


@pytest.mark.parametrize('changes, message', [
    (dict(model__backbone__base_channels=16), 'a sub-net of the checkpoint is a ResNet with depth=18, stem_channels=8, '
     'base_channels=8, but the backbone of .* has depth=18, stem_channels=8, base_channels=16: set these .*'),
    (dict(model__data_preprocessor__mean=[0, 0, 0]), 'the checkpoint was pre-trained on RGB with .*: set them, .*'),
    (dict(val_evaluator__type='VOCMetric'), 'val_evaluator of .* does not give AP, AP50 and AP75 of VOC: make it .*'),
    (dict(train_cfg__type='EpochBasedTrainLoop'), '.* trains by epochs, and a race needs iterations: give .*'),
    (dict(model__backbone__init_cfg=None), 'the backbone of .* takes no checkpoint: give it init_cfg=.*'),
])
def test_configs_that_cannot_be_raced_end_in_one_line(files, tmp_path, changes, message):
    with pytest.raises(InputError, match=f'^{message}$'):
        route(files, tmp_path, cfg=config(files, **changes))


def test_folder_of_another_routing_is_refused(files, whole):
    with pytest.raises(InputError, match=r'whole holds another routing, with optim_wrapper\.optimizer\.lr = 0.02 where '
                                         r'this one has 0.1: pass another --work-dir'):
        route(files, whole[0], cfg=config(files, optim_wrapper__optimizer__lr=0.1))


def test_state_beyond_the_end_of_a_shorter_race_is_refused(files, whole):
    winner = whole[1].best.subnet
    with pytest.raises(InputError, match='has been trained to iteration 8, further than to 6, where .* more --iters'):
        route(files, whole[0], subnets=[winner], iters=6)


def test_supernet_needs_a_neck_that_can_be_widened(files, tmp_path):
    cfg = config(files)
    cfg.model.pop('neck')
    with pytest.raises(InputError, match='has no neck whose in_channels could follow: pass --no-supernet'):
        route(files, tmp_path, cfg=cfg, supernet=True)


def test_tool_refuses_torchrun_and_data_without_voc_format(files, tmp_path, monkeypatch):
    coco = str(CONFIGS / 'mask-rcnn_sdr_fpn_1x_coco.py')
    with pytest.raises(InputError, match='--data-root x has no use: .* not trained on a folder of VOC format'):
        load_tool('route_detection').main(['x.pth', '--config', coco, '--data-root', 'x', '--work-dir', str(tmp_path)])
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(InputError, match='run it with python, not with torchrun'):
        load_tool('route_detection').main(command(files, tmp_path))


def test_a_ranking_and_a_record_in_which_something_cannot_be_are_refused(tmp_path):
    from sdr_mm.detection.fine_tuning import FineTuning
    from sdr_mm.detection.ranking import DetectionRanking
    others = {'AP50': [1.], 'AP75': [.5], 'iterations': [8.]}
    networks = [RankedNetwork('sub-net 0', 0, [0, 0], 'task', [3.], others),
                RankedNetwork('super-net', None, None, 'own', [2.], others),
                RankedNetwork('sub-net 3', 3, [1, 1], '', [], {'shortlist': [.2]}, 1, .2)]
    settings = dict(resize=32, size=32, columns=['AP', 'AP50', 'AP75'], iters=8, max_iters=80, shortlist='label_free',
                    candidates=2, batch=2, images=9, train=9, held_out=3, classes=0, search='race', splits=1,
                    tested=False, iterations=16, subnets=4, baselines=[], diverged={}, bn_reset='task')
    result, file = DetectionRanking.of('voc', networks, settings, Cost(10, 20, 1.)), tmp_path / 'routing.json'
    result.save(file)
    assert DetectionRanking.load(file) == result and DetectionRanking.load(file).table() == result.table()
    whole = file.read_text()
    for old, new, message in (('"label_free"', '"other"', 'the shortlist is other'),
                              ('"AP75": [', '"AP76": [', 'no AP50'),
                              ('"iters": 8', '"iters": "8"', 'iters is "8", not a whole number')):
        assert old in whole
        file.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match=message):
            DetectionRanking.load(file)
    record = FineTuning('task', {4: dict(AP=1., AP50=2., AP75=.1)}, 4, 1.)
    record.save(tmp_path)
    assert FineTuning.load(tmp_path) == record
    (tmp_path / 'record.json').write_text('{"scores": {"4": {"AP": 1}}}')
    with pytest.raises(InputError, match='is no record of a fine-tuning .*: remove '):
        FineTuning.load(tmp_path)
