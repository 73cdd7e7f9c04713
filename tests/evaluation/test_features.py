"""Features of frozen networks: what networks may return, and the same from any number of processes."""

import features_worker
import numpy as np
import pytest
import torch
from processes import run_ranks
from routing_data import CLASSES, write
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.evaluation import Split, Task, pooled_features, task_features
from sdr_mm.images import ZERO_TO_ONE, ImageStore

OPTIONS = dict(normalization=ZERO_TO_ONE, resize=16, size=16, workers=1)


class Returns(nn.Module):
    """Returns what a function makes of the images."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


@pytest.mark.parametrize('function', [
    lambda images: images.half(), lambda images: (images[:, :1], images), lambda images: [images],
    lambda images: images.mean((2, 3))], ids=['one map', 'tuple of maps', 'list', 'features'])
def test_maps_and_features_are_taken(function):
    batches = [torch.rand(2, 3, 4, 5), torch.rand(1, 3, 4, 5)]
    found = pooled_features(Returns(function), batches)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.cat([batch.mean((2, 3)) for batch in batches]), rtol=0, atol=1e-3)


@pytest.mark.parametrize('function, what', [
    (lambda images: images.mean(3), r'\(2, 3, 4\)'), (lambda images: dict(x=images), 'dict'),
    (lambda images: (), 'tuple')])
def test_a_network_that_returns_something_else_is_refused(function, what):
    with pytest.raises(InputError, match=f'the network returns {what}, not feature maps'):
        pooled_features(Returns(function), [torch.rand(2, 3, 4, 5)])


def test_features_come_in_the_order_of_the_images_from_a_network_in_evaluation(tmp_path):
    task = Task.from_folder(write(tmp_path, CLASSES, 4, seed=1))
    network = features_worker.network()
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found, rest = task_features(network, task, batch_size=3, **OPTIONS)
    assert network.training and all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert rest.paths == task.paths and found.shape == (8, 64)
    network.eval()
    with torch.no_grad():
        for number, image in enumerate(ImageStore(task.paths, resize=16, size=16).get(np.arange(8))):
            alone = network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[-1].mean((2, 3))[0]
            torch.testing.assert_close(found[number], alone, rtol=1e-4, atol=1e-5)


def test_images_in_memory_have_features_too():
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (9, 9, 3), dtype=np.uint8) for _ in range(6)]
    task = Task('noise', ['a', 'b'], arrays, np.arange(6) % 2, [Split(np.arange(4), np.arange(4, 6))])
    found, _ = task_features(Returns(lambda images: images), task, **{**OPTIONS, 'resize': 9, 'size': 9})
    np.testing.assert_allclose(found, np.stack(arrays).mean((1, 2)) / 255, rtol=1e-5)
    with pytest.raises(InputError, match='a batch has at least one image, got batch_size=0'):
        task_features(Returns(lambda images: images), task, **{**OPTIONS, 'resize': 9, 'size': 9, 'batch_size': 0})


def test_what_is_used_once_is_kept_nowhere(root, monkeypatch):
    stores = []

    class Watched(ImageStore):

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            stores.append(self)
    monkeypatch.setattr('sdr_mm.evaluation.features.ImageStore', Watched)
    task_features(Returns(lambda images: images), Task.from_folder(root / 'sound'), **OPTIONS)
    (store, ) = stores
    assert store._kept is None and not store._ready.any()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('features')
    for name in ('sound', 'damaged'):
        write(root / name, CLASSES, 7, seed=3)
    # The whole second batch of four, and one image of the third.
    for number in (4, 5, 6):
        (root / 'damaged' / CLASSES[0] / f'{CLASSES[0]}{number:03d}.png').write_bytes(b'no image')
    for number in (0, 2):
        (root / 'damaged' / CLASSES[1] / f'{CLASSES[1]}{number:03d}.png').write_bytes(b'no image')
    return root


@pytest.mark.slow
def test_two_processes_find_what_one_finds_bit_for_bit(root):
    run_ranks(features_worker, root)
    both = [torch.load(root / f'rank{rank}.pt') for rank in range(2)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = features_worker.features(root)
    finally:
        torch.set_num_threads(threads)
    assert [values.shape for values in one['features']] == [(14, 64), (14, 64), (9, 64)]
    assert len(one['left']) == 9 and 'cannot be decoded' in one['message']
    for found in both:
        for values, expected in zip(found['features'], one['features']):
            assert values.numpy().tobytes() == expected.numpy().tobytes()
        assert found['left'] == one['left']
        # The error of one rank ends both.
        assert 'cannot be decoded' in found['message']
