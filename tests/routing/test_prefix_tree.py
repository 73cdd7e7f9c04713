"""The tree of prefixes gives what running the sub-nets one by one gives."""

from collections import Counter

import pytest
import torch
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.evaluation import pooled_features
from sdr_mm.models import SDRResNet
from sdr_mm.routing import extract_subnet, reset_bn
from sdr_mm.routing.prefix_tree import PrefixTree
from sdr_mm.routing.subnet import load_subnet


def network(**options):
    """An SDRResNet whose sub-nets differ in weights and statistics."""
    torch.manual_seed(0)
    options = {**dict(depth=18, base_channels=(5, 3), stem_channels=8), **options}
    backbone = SDRResNet(**options)
    for name, value in backbone.state_dict().items():
        if 'running_var' in name or value.dim() == 1 and name.endswith('weight'):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(0, 0.2)
    return backbone.eval()


def batches(*sizes):
    torch.manual_seed(1)
    return [torch.randn(size, 3, 32, 32) + i for i, size in enumerate(sizes)]


@pytest.mark.parametrize('reset', [False, True])
def test_all_256_sub_nets_have_the_features_they_have_one_by_one(reset):
    backbone, images, own = network(), batches(4, 3), batches(5, 2)
    tree, paths = PrefixTree(backbone), backbone.space.paths
    if reset:
        tree.reset_bn(own, paths)
    together = tree.features(images, paths)
    assert len(together) == 256
    alone = extract_subnet(backbone, paths[0])
    for path in paths:
        load_subnet(alone, backbone, path)
        if reset:
            reset_bn(alone, own)
        expected = pooled_features(alone, images)
        assert expected.std() > 0.01
        torch.testing.assert_close(together[path], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize('options', [
    dict(depth=50, base_channels=(2, 1), num_groups=2, routed_blocks=(0, 2)),
    dict(depth=18, num_groups=2, routed_blocks=(3, )),
    dict(depth=18, routed_blocks=()),
    dict(depth=50, base_channels=(2, 2), num_groups=2, style='caffe', dilations=(1, 1, 2, 2), strides=(1, 2, 1, 1)),
])
def test_any_sdr_resnet_makes_a_tree(options):
    backbone, images = network(**options), batches(3)
    together = PrefixTree(backbone).features(images, backbone.space.paths)
    assert list(together) == backbone.space.paths
    for path, features in together.items():
        torch.testing.assert_close(features, pooled_features(extract_subnet(backbone, path), images))


def test_each_node_runs_once_a_batch_and_only_where_a_path_needs_it():
    backbone = network(num_groups=2)
    tree = PrefixTree(backbone)
    paths = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 1, 0)]
    assert Counter(map(len, tree.nodes(paths))) == {0: 1, 1: 1, 2: 2, 3: 2, 4: 3}
    ran = []
    run = nn.Sequential.forward

    def counted(self, x):
        ran.append(self)
        return run(self, x)

    nn.Sequential.forward = counted
    try:
        tree.features(batches(2, 2), paths)
    finally:
        nn.Sequential.forward = run
    segments = {id(segment) for segment, *_ in tree._segments.values()}
    assert sum(id(module) in segments for module in ran) == 2 * 9


def test_statistics_of_one_part_do_not_leak_into_another():
    backbone, images = network(num_groups=2, routed_blocks=(2, 3)), batches(4)
    tree = PrefixTree(backbone)
    before = tree.features(images, [(1, 0)])[1, 0]
    # Sub-net (0, 0) shares modules of the last stage with none of (1, 0), sub-net (1, 1) those of stage 3.
    tree.reset_bn(batches(6), [(0, 0)])
    tree.features(images, [(0, 0)])
    root_is_shared = tree.features(images, [(1, 0)])[1, 0]
    assert not torch.equal(before, root_is_shared)  # the stem is a node of both
    tree.reset_bn(batches(6), [(1, 1)])
    again = tree.features(images, [(1, 0)])[1, 0]
    assert not torch.equal(root_is_shared, again)  # and so is the prefix (1,)
    fresh = PrefixTree(backbone)
    fresh.reset_bn(batches(6), [(1, 1)])
    torch.testing.assert_close(fresh.features(images, [(1, 0)])[1, 0], again)


def test_the_backbone_is_left_alone():
    backbone = network(num_groups=2, routed_blocks=(2, 3))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    tree = PrefixTree(backbone)
    tree.reset_bn(batches(4), backbone.space.paths)
    tree.features(batches(4), backbone.space.paths)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_a_walk_over_256_resnet50_costs_a_third_of_one_by_one():
    backbone = SDRResNet()
    tree = PrefixTree(backbone)
    # Multiply-accumulates of a ResNet-50 at 224 px by stage, as protocol and literature have them.
    assert [round(macs / 1e9, 2) for macs in tree.level_macs(224)] == [0.12, 0.67, 1.03, 1.46, 0.81]
    assert 256 / tree.passes(backbone.space.paths, 224) == pytest.approx(3.27, abs=0.01)
    assert tree.passes([(1, 2, 3, 0)], 224) == pytest.approx(1)


def test_macs_are_those_of_all_convolutions_of_the_extracted_sub_net():
    backbone = network(depth=50, base_channels=(4, 4))
    subnet = extract_subnet(backbone, (0, 0, 0, 0))
    macs = 0

    def count(layer, _, out):
        nonlocal macs
        macs += out.shape[2] * out.shape[3] * layer.weight.numel()

    for layer in subnet.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    subnet(torch.zeros(1, 3, 64, 64))
    assert sum(PrefixTree(backbone).level_macs(64)) == macs


def test_parts_hold_each_path_once_fit_the_memory_and_serve_all_ranks():
    backbone = network()
    tree, paths = PrefixTree(backbone), backbone.space.paths
    each = 4 * 100 * backbone.out_layout.active
    cases = ((256, 1, 1), (256, 3, 4), (200, 1, 2), (64, 1, 4), (7, 1, 64), (3, 1, 86), (0, 1, 256))
    for fitting, at_least, number in cases:
        parts = tree.parts(paths, 100, at_least, fitting * each)
        assert len(parts) == number and sorted(sum(parts, [])) == paths
    assert 16 * tree.passes(tree.parts(paths, 1, 16)[0], 64) < 1.15 * tree.passes(paths, 64)


def test_no_images_for_the_statistics_is_one_line():
    backbone = network(num_groups=2)
    with pytest.raises(InputError, match='no images'):
        PrefixTree(backbone).reset_bn([], backbone.space.paths)
