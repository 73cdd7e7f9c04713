"""A compiled backbone: one graph for each kind of forward, and the training that it was."""

import copy
import sys

import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.structures import DataSample
from repository import load_tool
from small_runs import SDR, assert_same_training, small_config, write_clusters, write_images

import sdr_mm
from sdr_mm.engine.compiling import compile_backbones
from sdr_mm.engine.training import train
from sdr_mm.errors import InputError
from sdr_mm.models.checkpoints import load_resnet, read_checkpoint
from sdr_mm.registry import MODELS
from sdr_mm.space import SUPERNET

NORM = dict(type='BN')
BACKBONE = dict(type='SDRResNet', depth=18, base_channels=(3, 1), stem_channels=4, norm_cfg=NORM,
                zero_init_residual=False)
NECK = dict(type='SDRNonLinearNeck', hid_channels=16, out_channels=16, norm_cfg=NORM)
PREDICTOR = dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=dict(
    NECK, in_channels=16, with_avg_pool=False, with_last_bn=False))
NETWORKS = [SUPERNET, 0, 255, SUPERNET, 27, 128]


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()


class Counting:
    """A backend that runs each graph as it is."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, example_inputs):
        self.graphs += 1
        return graph.forward


def step(model, network, views):
    """Losses, gradients and running statistics of one step."""
    model.zero_grad()
    samples = [DataSample(metainfo=dict(network=network)) for _ in views[0]]
    losses = model.loss(views, samples)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return (losses, {name: parameter.grad for name, parameter in model.named_parameters()},
            {name: buffer.clone() for name, buffer in model.state_dict().items()})


@pytest.mark.slow
@pytest.mark.parametrize('algorithm, with_cp, kinds', [
    # Super-net, sub-net, teacher; for BYOL the target's super-net, which teaches, and the target's sub-net.
    ('SimSiamSDR', False, 3), ('SimSiamSDR', True, 3), ('BYOLSDR', False, 4)])
def test_all_paths_share_one_graph_for_each_kind_of_forward(algorithm, with_cp, kinds):
    MessageHub.get_current_instance().update_info('max_iters', 100)  # From which BYOL's average knows its momentum.
    model = MODELS.build(dict(type=algorithm, backbone=dict(BACKBONE, with_cp=with_cp), neck=NECK, head=PREDICTOR))
    model.train()
    eager, names, backend = copy.deepcopy(model), list(model.state_dict()), Counting()
    # An error at a graph break.
    compile_backbones(model, dict(backend=backend, fullgraph=True))
    backend.graphs = 0  # One was to see whether anything can be compiled.
    for number, network in enumerate(NETWORKS):
        generator = torch.Generator().manual_seed(number)
        views = [torch.randn(4, 3, 32, 32, generator=generator) for _ in range(2)]
        for found, expected in zip(step(model, network, views), step(eager, network, views)):
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                # The weights that a path takes are equal, so that only sums of gradients may round otherwise.
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert backend.graphs == kinds
    assert list(model.state_dict()) == names


@pytest.mark.slow
def test_a_compiled_training_is_the_eager_one_and_resumes_and_leaves_plain_checkpoints(tmp_path):
    images = write_images(tmp_path / 'images')
    clusters = write_clusters(tmp_path / 'clusters.npz', images)
    # At the usual rate an error of rounding grows ten thousandfold in an epoch, as it does between two processors.
    plain = dict(custom_hooks__0__supernet_prob=0.5, optim_wrapper__optimizer__lr=1e-5)
    options = dict(plain, compile__backend='aot_eager')
    train(small_config(images, tmp_path / 'eager', clusters, epochs=2, **plain))
    runner = train(small_config(images, tmp_path / 'whole', clusters, epochs=2, **options))
    assert runner.model.backbone._compiled_call_impl is not None
    assert runner.model.neck._compiled_call_impl is None and 'train_step' not in vars(runner.model)
    before, eager, compiled = (read_checkpoint(tmp_path / file)['state_dict'] for file in (
        'eager/epoch_1.pth', 'eager/epoch_2.pth', 'whole/epoch_2.pth'))
    assert list(compiled) == list(eager)
    changes = {name: ((tensor - before[name]).norm(), (tensor - compiled[name]).norm())
               for name, tensor in eager.items() if tensor.is_floating_point()}
    # The mean of what the predictor gets is always zero.
    del changes['head.predictor.bn0.running_mean']
    for name, (change, difference) in changes.items():
        assert difference < 0.03 * change, name

    train(small_config(images, tmp_path / 'parts', clusters, resume=tmp_path / 'whole/epoch_1.pth', **options))
    assert_same_training(tmp_path / 'whole/epoch_2.pth', tmp_path / 'parts/epoch_2.pth')

    sdr_mm.load(tmp_path / 'whole/epoch_2.pth').subnet((2, )).export(tmp_path / 'subnet.pth')
    network, _ = load_resnet(tmp_path / 'subnet.pth')
    assert network(torch.randn(1, 3, 32, 32))[-1].isfinite().all()


def test_the_baseline_compiles_too(tmp_path):
    cfg = small_config(write_images(tmp_path / 'images'), tmp_path / 'run', compile__backend='eager', epochs=1)
    runner = train(cfg)
    assert runner.model.backbone._compiled_call_impl is not None and 'train_step' not in vars(runner.model)


def test_what_cannot_be_compiled_is_one_line(tmp_path):
    model = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match='torch.compile does not work here .*nope.*train without --compile') as error:
        compile_backbones(model, dict(backend='nope'))
    assert '\n' not in str(error.value)

    def refuse(graph, example_inputs):
        raise OSError('no compiler')

    with pytest.raises(InputError, match='no compiler'):
        compile_backbones(model, dict(backend=refuse))


@pytest.mark.parametrize('words, expected', [
    ([], None), (['--compile'], True),
    (['--compile', '--cfg-options', 'compile.mode=max-autotune'], dict(mode='max-autotune'))])
def test_the_switch_keeps_the_options_of_the_config(words, expected, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', SDR, *words])
    tool = load_tool('train')
    assert tool.configure(tool.parse_args()).get('compile') == expected
