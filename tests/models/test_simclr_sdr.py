"""The contrastive loss against NumPy, MMPretrain's SimCLR, and one process against two."""

import numpy as np
import pytest
import simclr_worker
import torch
from mmpretrain.models import SimCLR
from mmpretrain.structures import DataSample
from processes import run_ranks

from sdr_mm.models import SimCLRSDR
from sdr_mm.models.distillation import negative_cosine
from sdr_mm.models.simclr_sdr import similarities
from sdr_mm.models.sliced import subnet_state_dict
from sdr_mm.space import SUPERNET

NECK = dict(hid_channels=32, out_channels=24, num_layers=2, with_avg_pool=True)
HEAD = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2)


def algorithm(**options):
    torch.manual_seed(0)
    return SimCLRSDR(
        dict(type='SDRResNet', depth=18, base_channels=(5, 3), num_groups=2, stem_channels=8),
        dict(type='SDRNonLinearNeck', norm_cfg=dict(type='BN'), **NECK), HEAD, **options).train()


def info_nce(first, second, temperature):
    """Eq. (1) of SimCLR, pair by pair, in float64."""
    rows = np.concatenate([first, second]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count, losses = len(first), []
    for i in range(2 * count):
        scores = np.exp(rows @ rows[i] / temperature)
        losses.append(-np.log(scores[(i + count) % (2 * count)] / (scores.sum() - scores[i])))
    return np.mean(losses)


@pytest.mark.parametrize('temperature', [0.1, 0.5])
def test_loss_is_info_nce_by_definition(temperature):
    model = algorithm()
    model.head.temperature = temperature
    first, second = torch.randn(5, 24), torch.randn(5, 24)
    loss = model.head.loss(*similarities((first, second)))
    assert loss.item() == pytest.approx(info_nce(first.numpy(), second.numpy(), temperature), rel=1e-5)


def test_similarities_are_in_float32_whatever_autocast_and_the_projector_made():
    first, second = torch.randn(5, 24), torch.randn(5, 24)
    expected = similarities((first, second))
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(similarities((first, second)), expected, rtol=0, atol=0)
    large = torch.full((2, 24), 3e4, dtype=torch.float16)  # whose norm overflows in half precision
    torch.testing.assert_close(similarities((large, large))[0], torch.ones(4, 1))


@pytest.mark.parametrize('network', [2, 9])
def test_a_network_has_the_loss_of_mmpretrains_simclr(network):
    model = algorithm(distillation=None)
    reference = SimCLR(model.backbone.subnet_config(),
                       dict(type='NonLinearNeck', in_channels=64, norm_cfg=dict(type='BN1d'), **NECK), HEAD)
    reference.load_state_dict(subnet_state_dict(model, model.path(network)))
    reference.train()
    images = [torch.randn(6, 3, 32, 32), torch.randn(6, 3, 32, 32)]
    # Its views go through the network together, ours one after the other, so BN is to see the same: none.
    for module in (*model.modules(), *reference.modules()):
        if hasattr(module, 'running_mean'):
            module.eval()
    torch.testing.assert_close(model.network_loss(images, network)['loss_ssl'], reference.loss(images, None)['loss'])


def test_distillation_draws_a_projection_to_the_supernets_of_the_other_view():
    model = algorithm()
    images = [torch.randn(6, 3, 32, 32), torch.randn(6, 3, 32, 32)]
    losses = model.loss(images, [DataSample(metainfo=dict(network=5))] * 6)
    teacher = model.teach(images)
    own = [model.project(view, model.path(5)) for view in images]
    expected = (negative_cosine(own[0], teacher[1]) + negative_cosine(own[1], teacher[0])) / 2
    torch.testing.assert_close(losses['loss_kd'], expected)
    assert set(losses) == {'loss_ssl', 'loss_kd', 'network'}
    assert set(model.network_loss(images, SUPERNET)) == {'loss_ssl'}


def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path):
    run_ranks(simclr_worker, tmp_path, 2)
    loss, gradient = simclr_worker.step(0, 1)
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    torch.testing.assert_close((ranks[0][0] + ranks[1][0]) / 2, loss)
    for _, found in ranks:  # already the mean over ranks, as DDP makes it
        torch.testing.assert_close(found, gradient)
