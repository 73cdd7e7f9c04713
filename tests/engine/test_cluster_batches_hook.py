"""One network on batches of one cluster, in real runs."""

import numpy as np
import pytest
from mmengine.hooks import Hook
from repository import ROOT
from small_runs import TINY, assert_same_training, small_config, write_clusters, write_images

from sdr_mm.engine.cluster_batches_hook import ClusterBatchesHook
from sdr_mm.engine.configs import load_config, use_clusters, use_epochs, use_folder, use_on_error
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.registry import HOOKS

CONFIG = str(ROOT / 'configs/small/simclr_cluster-batches_resnet18_b128-10e_32px.py')
NARROW = {'model.neck.hid_channels': 16, 'model.neck.out_channels': 16, **TINY}


@HOOKS.register_module(force=True)
class ImagesHook(Hook):
    """Remembers which images each batch had."""

    batches: list = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append([int(sample.img_path[-6:-4]) for sample in data_batch['data_samples']])


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('data') / 'images')


def config(images, work_dir, clusters=None, epochs=4):
    cfg = load_config(CONFIG, NARROW)
    use_folder(cfg, str(images))
    use_epochs(cfg, epochs)
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.clusters = None
    if clusters:
        use_clusters(cfg, str(clusters))
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='ImagesHook')]
    return cfg


def test_a_batch_has_images_of_one_cluster_and_all_clusters_have_their_turn(images, tmp_path):
    ImagesHook.batches.clear()
    train(config(images, tmp_path / 'run', write_clusters(tmp_path / 'clusters.npz', images)))
    clusters = [{number // 6 for number in batch} for batch in ImagesHook.batches]
    assert len(clusters) == 24 and all(len(found) == 1 for found in clusters)
    counts = np.bincount([found.pop() for found in clusters], minlength=4)
    assert (counts >= 2).all()


def test_batches_are_those_of_sdr_with_the_same_options(images, tmp_path):
    clusters = write_clusters(tmp_path / 'clusters.npz', images)
    hook, drawn = dict(type='ImagesHook'), {}
    for name, cfg, share in (('algorithm 1', config(images, tmp_path / 'phases', clusters, epochs=6), None),
                             ('half', config(images, tmp_path / 'half', clusters, epochs=6), 0.5),
                             ('sdr', small_config(images, tmp_path / 'sdr', clusters, hooks=[hook], epochs=6), '')):
        if share != '':
            cfg.custom_hooks[0].supernet_prob = share
        ImagesHook.batches.clear()
        train(cfg)
        drawn[name] = list(ImagesHook.batches)
    assert drawn['algorithm 1'] == drawn['sdr'] and len(drawn['sdr']) == 36
    mixed = {name: [len({number // 6 for number in batch}) > 1 for batch in batches]
             for name, batches in drawn.items()}
    # Four of 24 images at random are of one cluster in 60 of 10,626 cases. In the second phase one network of five is
    # the super-net.
    assert sum(mixed['sdr'][:18]) >= 17 and sum(mixed['sdr'][18:]) <= 9
    assert 9 <= sum(mixed['half']) <= 27
    with pytest.raises(InputError, match='supernet_prob of ClusterBatchesHook is a probability from 0 to 1, got 2'):
        ClusterBatchesHook(supernet_prob=2)


def test_a_resumed_run_ends_like_one_that_was_not_interrupted(images, tmp_path):
    clusters = write_clusters(tmp_path / 'clusters.npz', images)
    train(config(images, tmp_path / 'whole', clusters))
    cfg = config(images, tmp_path / 'rest', clusters)
    cfg.resume, cfg.load_from = True, str(tmp_path / 'whole/epoch_2.pth')
    train(cfg)
    assert_same_training(tmp_path / 'whole/epoch_4.pth', tmp_path / 'rest/epoch_4.pth')


def test_an_image_that_cannot_be_decoded_is_skipped_though_another_transform_loads_it(tmp_path):
    images = write_images(tmp_path / 'images')
    (images / '07.png').write_bytes(b'no image')
    cfg = config(images, tmp_path / 'run', write_clusters(tmp_path / 'clusters.npz', images))
    ImagesHook.batches.clear()
    with pytest.raises(InputError, match='07.png'):
        train(cfg)
    use_on_error(cfg, 'skip')
    cfg.work_dir = str(tmp_path / 'skip')
    train(cfg)
    drawn = [number for batch in ImagesHook.batches for number in batch]
    assert 7 not in drawn and set(drawn) == set(range(24)) - {7}


def test_without_clusters_and_with_too_small_ones_it_is_refused(images, tmp_path):
    with pytest.raises(InputError, match='one cluster to draw from: give train_dataloader.dataset.clusters'):
        train(config(images, tmp_path / 'one'))
    cfg = config(images, tmp_path / 'small', write_clusters(tmp_path / 'clusters.npz', images))
    cfg.train_dataloader.batch_size = 8
    with pytest.raises(InputError, match='6 images'):
        train(cfg)
