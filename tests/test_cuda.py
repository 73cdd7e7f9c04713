"""A GPU gives what a CPU gives. Skipped where there is no GPU; ``benchmarks/gpu.sh`` runs it."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmpretrain.engine.optimizers import LARS
from PIL import Image
from routing_data import NORMALIZATION, evaluator, make_run, network
from sklearn.datasets import load_sample_images
from small_runs import small_config, write_clusters, write_images

from sdr_mm.clustering.feature_matrix import FeatureMatrix
from sdr_mm.clustering.sinkhorn import sinkhorn_clustering
from sdr_mm.engine.configs import use_amp
from sdr_mm.engine.subnet_optim_wrapper import confined, selection_of
from sdr_mm.engine.training import train
from sdr_mm.evaluation import knn_predict, linear_probe, stratified_splits
from sdr_mm.images.crops import Box, EncodedCrops, cut, plain_jpeg
from sdr_mm.images.dali import DaliCrops
from sdr_mm.models import BatchedViews, SDRResNet
from sdr_mm.models.checkpoints import read_checkpoint
from sdr_mm.models.sliced import _sync_batch_norm

DEVICE = 'cuda'

pytestmark = [
    pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')]


@pytest.fixture(autouse=True)
def _no_tf32():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    torch.backends.cuda.matmul.allow_tf32 = before


def on_both(module):
    """The module, and a copy of it on the GPU."""
    return module, copy.deepcopy(module).to(DEVICE)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('path', [None, (0, 3, 1, 2), torch.tensor([0, 3, 1, 2])], ids=['super-net', 'tuple', 'tensor'])
def test_networks_and_their_gradients_are_those_of_a_cpu(path, channels_last):
    model = SDRResNet(18, (5, 3), stem_channels=8, zero_init_residual=False).double().train()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    image = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    results = []
    for copied in on_both(model):
        device = next(copied.parameters()).device
        out = copied(image.to(device), path.to(device) if isinstance(path, torch.Tensor) else path)[-1]
        out.square().mean().backward()
        results.append([out, *(parameter.grad for parameter in copied.parameters()), *copied.buffers()])
    for expected, found in zip(*results, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            assert found.device.type == DEVICE
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('optimizer', [
    lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01, fused=True),
    lambda parameters: LARS(parameters, lr=0.5, momentum=0.9, weight_decay=0.01),
    lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)], ids=['SGD', 'fused', 'LARS', 'AdamW'])
def test_steps_confined_to_subnets_are_those_of_a_cpu(optimizer):
    results = []
    for model in on_both(SDRResNet(18, (5, 3), stem_channels=8, zero_init_residual=False).double().train()):
        device = next(model.parameters()).device
        steps = optimizer(model.parameters())
        for path in ((0, 3, 1, 2), (1, 0, 0, 0), (0, 3, 1, 2)):
            image = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(path[0]))
            model.zero_grad()
            model(image.to(device), path)[-1].square().mean().backward()
            with confined(steps, selection_of(model, path)):
                steps.step()
        results.append(list(model.parameters()))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-8)


def test_synchronized_norm_of_one_process_under_nccl_is_a_plain_one(tmp_path):
    """The fused function under ``nn.SyncBatchNorm``, which no CPU has."""
    dist.init_process_group('nccl', init_method=f'file://{tmp_path}/nccl', rank=0, world_size=1)
    try:
        results = []
        for norm in (_sync_batch_norm, torch.nn.functional.batch_norm):
            torch.manual_seed(0)
            image, weight, bias = (torch.randn(shape, device=DEVICE, requires_grad=True)
                                   for shape in ((6, 5, 3, 3), 5, 5))
            mean, var = torch.zeros(5, device=DEVICE), torch.ones(5, device=DEVICE)
            out = (norm(image, weight, bias, mean, var, 1e-5, 0.1) if norm is _sync_batch_norm else
                   norm(image, mean, var, weight, bias, True, 0.1, 1e-5))
            out.square().mul(torch.arange(9., device=DEVICE).view(3, 3)).sum().backward()
            results.append([out, image.grad, weight.grad, bias.grad, mean, var])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize('precision', ['float32', 'float16', 'bfloat16'])
def test_trains_in_mixed_precision_and_resumes(tmp_path, precision):
    images = write_images(tmp_path / 'images')
    clusters = write_clusters(tmp_path / 'clusters.npz', images)

    def run(epochs, resume):
        cfg = small_config(images, tmp_path / 'run', clusters, epochs=epochs, resume=resume)
        if precision != 'float32':
            cfg.optim_wrapper.dtype = precision
            use_amp(cfg)
        return train(cfg)

    runner = run(2, False)
    assert next(runner.model.parameters()).device.type == DEVICE
    runner = run(3, True)
    assert runner.iter == 18
    checkpoint = read_checkpoint(tmp_path / 'run/epoch_3.pth')
    losses = checkpoint['message_hub']['log_scalars']['train/loss'].data[0]
    assert len(losses) == 18 and np.isfinite(losses).all()
    assert losses[-6:].mean() < losses[:6].mean()
    assert all(value.dtype == torch.float32 for name, value in checkpoint['state_dict'].items()
               if value.is_floating_point()), 'master weights stay in full precision'


def test_neighbors_are_those_of_a_cpu_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    train_features, test = (torch.randn(count, 96, generator=generator) for count in (3000, 700))
    labels = torch.randint(0, 10, (3000, ), generator=generator)
    expected = knn_predict(train_features, labels, test, k=(5, 200))
    found = knn_predict(train_features.to(DEVICE), labels.to(DEVICE), test.to(DEVICE), k=(5, 200))
    for k, votes in expected.items():
        np.testing.assert_array_equal(found[k].argmax(1), votes.argmax(1))
        np.testing.assert_allclose(found[k], votes, rtol=1e-12, atol=1e-15)


def test_linear_probe_is_that_of_a_cpu():
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(600) % 4
    features = torch.randn(600, 24, generator=generator)
    features[np.arange(600), labels] += 1.5
    split = stratified_splits(labels)[0]
    on_cpu, on_gpu = (linear_probe(values, labels, split) for values in (features, features.to(DEVICE)))
    assert on_gpu.l2 == on_cpu.l2 and on_gpu.score == pytest.approx(on_cpu.score, abs=100 / 120)


def test_clusters_are_those_of_a_cpu():
    random = np.random.default_rng(0)
    centers = random.normal(size=(8, 32))
    features = (centers[np.arange(4000) % 8] + 0.5 * random.normal(size=(4000, 32))).astype(np.float32)
    on_cpu, on_gpu = (sinkhorn_clustering(FeatureMatrix(features, device=device), 8, epochs=3, seed=0)
                      for device in ('cpu', DEVICE))
    assert (on_cpu.assignment == on_gpu.assignment).mean() > 0.999


def test_views_of_a_seed_are_those_of_a_cpu():
    views = BatchedViews(24, brightness=0.4, contrast=0.4, saturation=0.4, jitter_prob=0.8, gray_prob=0.2,
                         mean=(120, 120, 120), std=(60, 60, 60))
    images = torch.randint(0, 256, (16, 3, 40, 32), generator=torch.Generator().manual_seed(0)).float()
    for number in range(2):
        expected = views.view(images, np.arange(16), number)
        found = views.to(DEVICE).view(images.to(DEVICE), np.arange(16), number)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=2e-2)
        views.to('cpu')


def test_crops_of_dali_are_pillows(tmp_path, monkeypatch):
    pytest.importorskip('nvidia.dali')
    monkeypatch.delattr(EncodedCrops, 'decode')  # Nothing stands in for DALI where it fails.
    photo = Image.fromarray(load_sample_images().images[0])
    photo.save(tmp_path / 'photo.jpg', quality=92)
    crops = [EncodedCrops('', plain_jpeg(str(tmp_path / 'photo.jpg'), 1 << 20)[0], boxes, 64, 'bilinear')
             for boxes in ([Box(10, 20, 300, 400), Box(0, 0, 427, 640)], [Box(100, 50, 80, 90), Box(7, 9, 64, 64)])]
    found = DaliCrops(torch.device(DEVICE))(crops)  # without a number, as a model's
    assert all(view.is_cuda and view.shape == (2, 3, 64, 64) for view in found)
    for number, image in enumerate(crops):
        for view, box in zip(found, image.boxes):
            pillow = cut(Image.open(tmp_path / 'photo.jpg'), box, 64, 'bilinear')
            difference = np.abs(view[number].permute(1, 2, 0).cpu().numpy().astype(int) - pillow)
            # A GPU has its own decoder of JPEGs and enlarges their colors otherwise.
            assert difference.mean() < 1.5 and np.percentile(difference, 99) <= 10


def test_routing_scores_are_those_of_a_cpu(tmp_path):
    root = make_run(tmp_path)
    rankings = []
    for backbone in on_both(network().eval()):
        routing = evaluator(root / 'task', bn_reset='task', k=5, size=32, resize=32)
        rankings.append(routing.evaluate(backbone, normalization=NORMALIZATION))
    on_cpu, on_gpu = rankings
    for subnet in on_cpu.subnets:
        # The task has 4 test images; a score may move by one of them where neighbors are nearly equally far.
        assert math.isclose(on_gpu.network(subnet.name).score, subnet.score, abs_tol=25.01)
    assert np.mean([on_gpu.network(subnet.name).score == subnet.score for subnet in on_cpu.subnets]) >= 0.75
