"""Which checkpoint a run continues from: the newest whole one of its folder, and none of something else."""

import shutil

import pytest
import torch
from fuzz.mutations import Payload
from small_runs import assert_same_training, small_config, write_images

from sdr_mm.engine.resuming import checkpoint_folder, newest_whole, remove_half_written
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import read_checkpoint


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('data') / 'images')


@pytest.fixture(scope='module')
def done(images, tmp_path_factory):
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp('done') / 'run'
    train(small_config(images, folder), guard=True)
    return folder


@pytest.mark.parametrize('zipped', [True, False])
def test_a_checkpoint_that_would_run_code_is_passed_over_unasked(zipped, images, done, tmp_path, monkeypatch):
    """The newest one of the work directory, whichever that is; the environment asks for pickles."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    folder, marker = shutil.copytree(done, tmp_path / 'run'), tmp_path / 'ran'
    checkpoint = read_checkpoint(folder / 'epoch_2.pth')
    checkpoint['meta']['more'] = Payload(marker)
    torch.save(checkpoint, folder / 'epoch_2.pth', _use_new_zipfile_serialization=zipped)
    train(small_config(images, folder, resume=True), guard=True)
    assert_same_training(folder / 'epoch_2.pth', done / 'epoch_2.pth')
    assert not marker.exists()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-2000])


def flip_a_bit(file):
    """Of a running mean, so that only the sum which the archive has of each member tells."""
    data = bytearray(file.read_bytes())
    mean = read_checkpoint(file)['state_dict']['backbone.layer3.0.bn1.running_mean'].numpy().tobytes()
    assert data.count(mean) == 1
    data[data.index(mean) + len(mean) // 2] ^= 1
    file.write_bytes(data)


def change(**entries):
    def apply(file):
        checkpoint = read_checkpoint(file)
        for name, value in entries.items():
            value(checkpoint) if callable(value) else checkpoint.pop(name)
        torch.save(checkpoint, file)
    return apply


def set_meta(name, value):
    return change(meta=lambda checkpoint: checkpoint['meta'].update({name: value}))


def poison(checkpoint):
    weight = next(iter(checkpoint['state_dict'].values()))
    weight[(0, ) * weight.dim()] = float('nan')


FAULTS = {
    'cut short': (truncate, 'epoch_2.pth'),
    'empty': (lambda file: file.write_bytes(b''), 'epoch_2.pth'),
    'one bit altered': (flip_a_bit, 'epoch_2.pth'),
    'no optimizer': (change(optimizer=None), 'no optimizer'),
    'no hub': (change(message_hub=None), 'no message_hub'),
    'negative iteration': (set_meta('iter', -5), 'its iter is -5'),
    'epoch of another kind': (set_meta('epoch', 'one'), 'its epoch is one'),
    'not finite': (change(state=poison), 'weights are not finite'),
}


@pytest.mark.parametrize('name', FAULTS)
def test_newest_checkpoint_that_is_not_whole_is_passed_over_in_one_line(name, done, tmp_path):
    folder = shutil.copytree(done, tmp_path / 'run')
    damage, expected = FAULTS[name]
    damage(folder / 'epoch_2.pth')
    said = []
    assert newest_whole(folder, said.append) == folder / 'epoch_1.pth'
    assert len(said) == 1 and 'epoch_2.pth' in said[0] and expected in said[0] and '\n' not in said[0]
    damage(folder / 'epoch_1.pth')
    before = {file: file.read_bytes() for file in folder.glob('*.pth')}
    with pytest.raises(InputError, match=r'no whole checkpoint to resume from \(epoch_1.pth, epoch_2.pth\)'):
        newest_whole(folder, said.append)
    assert before == {file: file.read_bytes() for file in folder.glob('*.pth')}


def test_age_is_what_is_in_a_file_and_half_written_ones_are_none(done, tmp_path):
    folder = shutil.copytree(done, tmp_path / 'run')
    (folder / 'epoch_2.pth').rename(folder / 'a.pth')
    (folder / '.epoch_3-k4_ab9xz.pth').write_bytes(b'half')
    (folder / 'last_checkpoint').write_text(str(done / 'epoch_1.pth'))
    assert newest_whole(folder, pytest.fail) == folder / 'a.pth'
    assert newest_whole(tmp_path, pytest.fail) is None
    # Somebody went back to the first epoch and has gone on from there: the second one was given up.
    checkpoint = read_checkpoint(folder / 'epoch_1.pth')
    checkpoint['meta'].update(iter=8, time='29991231_000000')
    torch.save(checkpoint, folder / 'interrupted.pth')
    assert newest_whole(folder, pytest.fail) == folder / 'interrupted.pth'
    remove_half_written(folder)
    assert sorted(file.name for file in folder.glob('*.pth')) == ['a.pth', 'epoch_1.pth', 'interrupted.pth']


def test_out_dir_of_the_hook_is_where_the_checkpoints_are(images, tmp_path):
    options = dict(default_hooks__checkpoint__out_dir=str(tmp_path / 'out'), epochs=1)
    cfg = small_config(images, tmp_path / 'run', **options)
    assert checkpoint_folder(cfg) == tmp_path / 'out/run'
    train(cfg, guard=True)
    assert newest_whole(checkpoint_folder(cfg), pytest.fail) == tmp_path / 'out/run/epoch_1.pth'
    with pytest.raises(InputError, match='pass --resume'):
        train(small_config(images, tmp_path / 'run', **options), guard=True)


@pytest.mark.parametrize('damage', [truncate, flip_a_bit])
def test_copied_folder_resumes_from_its_own_files(damage, images, done, tmp_path):
    """Its newest one is cut short or altered, and ``last_checkpoint`` names that of the original."""
    folder = shutil.copytree(done, tmp_path / 'copy')
    damage(folder / 'epoch_2.pth')
    train(small_config(images, folder, resume=True), guard=True)
    assert_same_training(folder / 'epoch_2.pth', done / 'epoch_2.pth')


def other_shape(checkpoint):
    state = checkpoint['optimizer']['state'][0]
    state['momentum_buffer'] = state['momentum_buffer'].flatten()


def other_groups(checkpoint):
    groups = checkpoint['optimizer']['param_groups']
    groups[0]['params'] = groups[0]['params'][1:]


def test_a_finished_run_that_is_resumed_stays_as_it_is(images, done, tmp_path):
    folder = shutil.copytree(done, tmp_path / 'run')
    before = {file: file.read_bytes() for file in folder.glob('*.pth')}
    train(small_config(images, folder, resume=True), guard=True)
    assert before == {file: file.read_bytes() for file in folder.glob('*.pth')}


def set_state(*names, value):
    """A change of one entry of a checkpoint, by a call of what was there or to a value. It may be of an old version."""
    def apply(checkpoint):
        del checkpoint['meta']['optimizer_tensors']
        for name in names[:-1]:
            checkpoint = checkpoint[name]
        checkpoint[names[-1]] = value(checkpoint[names[-1]]) if callable(value) else value
    return change(entry=apply)


def forget_half(checkpoint):
    state = checkpoint['optimizer']
    state['state'] = {number: kept for number, kept in state['state'].items() if number % 2}


def swap_two(groups):
    groups[0]['params'], groups[1]['params'] = groups[1]['params'], groups[0]['params']
    return groups


MISFITS = {
    'half a state': (change(state=forget_half), r'was written with \d+ tensors in the state .* and \d+ are there'),
    'whole numbers': (set_state('optimizer', 'state', 3, 'momentum_buffer', value=torch.Tensor.int), 'of torch.int32'),
    'another name of a state': (set_state('optimizer', 'state', 3, value=lambda own: {'m': own['momentum_buffer']}),
                                'different entries for different parameters .m, momentum_buffer'),
    'number for groups': (set_state('optimizer', 'param_groups', value=3), 'holds no state of an optimizer'),
    'number for states': (set_state('optimizer', 'state', value=3), 'holds no state of an optimizer'),
    'number for parameters': (set_state('optimizer', 'param_groups', 0, 'params', value=3),
                              'groups of other parameters'),
    'gradient ascent': (set_state('optimizer', 'param_groups', 5, 'maximize', value=True),
                        'the maximize of its optimizer is True, and of this training False'),
    'text as momentum': (set_state('optimizer', 'state', 3, 'momentum_buffer', value='x'), "momentum_buffer .* is 'x'"),
    'text as a state': (set_state('optimizer', 'state', 3, value='x'), "state of a parameter is 'x'"),
    'lists for parameters': (set_state('optimizer', 'param_groups', 0, 'params', value=lambda own: [[n] for n in own]),
                             'does not number its'),
    'parameters in another order': (set_state('optimizer', 'param_groups', value=swap_two), 'does not number its'),
    'other first rates': (set_state('param_schedulers', 0, 'base_values', value=lambda own: [0.0] * len(own)),
                          r'the base_values of its CosineAnnealingLR is .\[0.0'),
    'fewer rates': (set_state('param_schedulers', 0, '_last_value', value=lambda own: own[1:]), 'the _last_value of'),
    'text as a step': (set_state('param_schedulers', 0, 'last_step', value='x'), 'the last_step of its .* is .x'),
    'number as a flag': (set_state('param_schedulers', 0, 'by_epoch', value=3), 'the by_epoch of its .* is .3'),
    'number as a run': (set_meta('run', 3), 'its run is .3'),
    'list as a run': (set_meta('run', [1]), 'its run is .*1'),
    'no scalars': (set_state('message_hub', value={}), 'no log_scalars in its message_hub'),
    'number as scalars': (set_state('message_hub', 'log_scalars', value=3), 'no log_scalars in its message_hub'),
    'number as information': (set_state('message_hub', 'runtime_info', value=3), 'no runtime_info in its message_hub'),
    'odd scalars': (set_state('message_hub', 'log_scalars', value={3: 4, (1, ): {}}), None),
    'odd list of checkpoints': (set_state('message_hub', 'runtime_info', 'keep_ckpt_ids', value=3),
                                'cannot be resumed'),
    'odd generator': (set_meta('seed', 1 << 70), 'cannot be resumed'),
    'optimizer of another shape': (change(optimizer=other_shape), 'momentum_buffer of a parameter has the shape'),
    'other groups': (change(optimizer=other_groups), 'groups of other parameters'),
    'no learning rate': (change(lr=lambda c: c['optimizer']['param_groups'][0].pop('lr')), 'lr .* is None'),
    'no schedulers': (change(param_schedulers=None), 'other param_schedulers than the 1 '),
    'other scheduler': (change(s=lambda c: c['param_schedulers'][0].update(gamma=1)), 'other param_schedulers'),
    'beyond the end': (change(m=lambda c: c['meta'].update(iter=60, epoch=10)), 'this training ends at 12 '),
    'iteration of another epoch': (set_meta('iter', 2), 'iteration 2 in epoch 1, where an epoch .* has 6'),
    'no optimizer': (change(optimizer=None), 'holds no optimizer'),
    'not finite': (change(state=poison), 'weights are not finite'),
}


@pytest.mark.parametrize('name', MISFITS)
def test_checkpoint_that_does_not_fit_is_one_line(name, images, done, tmp_path):
    file = tmp_path / 'epoch_1.pth'
    shutil.copy(done / 'epoch_1.pth', file)
    damage, expected = MISFITS[name]
    damage(file)
    cfg = small_config(images, tmp_path / 'run', resume=file)
    if expected is None:
        train(cfg, guard=True)
        assert_same_training(tmp_path / 'run/epoch_2.pth', done / 'epoch_2.pth')
        return
    with pytest.raises(InputError, match=expected) as error:
        train(cfg, guard=True)
    assert 'epoch_1.pth' in str(error.value) and '\n' not in str(error.value)
    assert not list((tmp_path / 'run').glob('*.pth'))
