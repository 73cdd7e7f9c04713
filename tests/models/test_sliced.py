"""Sliced layers: selection, batch norm, synchronization over ranks."""

import numpy as np
import pytest
import sync_worker
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import run_ranks
from torch import nn

from sdr_mm.models.sliced import (
    ChannelLayout,
    SlicedBatchNorm,
    SlicedConv2d,
    SlicedLinear,
    put,
    rectangles,
    subnet_state_dict,
    take,
)

ROUTED = ChannelLayout(shared=3, individual=2, num_groups=4, block=0)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))
def test_layout_gives_each_group_its_channels_and_all_the_shared_ones(shared, individual, num_groups, factor):
    layout = ChannelLayout(shared, individual, num_groups, block=0).scaled(factor)
    table = layout.table()
    assert table.shape == (num_groups, layout.active)
    assert (table[:, :shared * factor] == torch.arange(shared * factor)).all()
    own = table[:, shared * factor:].flatten()
    assert torch.equal(own, torch.arange(shared * factor, layout.total))


def test_layer_without_routing_has_all_channels_in_every_network():
    layout = ChannelLayout(7)
    assert layout.table() is None and layout.active == layout.total == 7


@st.composite
def selections(draw):
    """A tensor of up to four dimensions, in either memory format, and runs in its first two."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    slices = []
    for size in shape[:2]:
        cuts = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=4, unique=True)))
        runs = tuple(zip(cuts[::2], cuts[1::2]))
        slices.append(draw(st.sampled_from([None, runs])))
    tensor = torch.arange(float(torch.Size(shape).numel())).view(shape)
    if len(shape) == 4 and draw(st.booleans()):
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor, tuple(slices)


@given(selections())
def test_runs_are_what_numpy_selects_with_their_numbers(selection):
    tensor, slices = selection
    numbers = [np.arange(size) if runs is None else np.concatenate([np.arange(*run) for run in runs])
               for runs, size in zip(slices, tensor.shape)]
    numbers += [np.arange(size) for size in tensor.shape[len(slices):]]
    where = np.ix_(*numbers)
    tensor.requires_grad_()
    taken = take(tensor, slices)
    assert np.array_equal(taken.detach(), tensor.detach().numpy()[where])
    weights = torch.randn(taken.shape)
    (taken * weights).sum().backward()
    expected = np.zeros(tensor.shape, dtype=np.float32)
    expected[where] = weights
    assert np.array_equal(tensor.grad, expected) and tensor.grad.stride() == tensor.stride()
    written, expected = tensor.detach().clone(), tensor.detach().numpy().copy()
    put(written, slices, weights)
    expected[where] = weights
    assert np.array_equal(written, expected)
    # Rectangle by rectangle it is the same, in place.
    counts = torch.zeros(tensor.shape)
    for ours, theirs in rectangles(slices):
        assert torch.equal(tensor[ours], taken[theirs])
        counts[ours] += 1
    assert counts.sum() == taken.numel() and counts.max() == 1


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6))
def test_runs_of_a_group_are_its_row_of_the_table(shared, individual, num_groups):
    layout = ChannelLayout(shared, individual, num_groups, block=0)
    for group, row in enumerate(layout.table()):
        runs = layout.runs(group)
        assert [channel for run in runs for channel in range(*run)] == row.tolist()
        assert len(runs) == (1 if group == 0 else 2), 'as few as can be'


@pytest.mark.parametrize('group', (0, 2))
def test_weight_of_a_channels_last_convolution_stays_so(group):
    conv = SlicedConv2d(ROUTED, ROUTED, 3).to(memory_format=torch.channels_last)
    weight = take(conv.weight, conv.slices((group, ))['weight'])
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert take(SlicedConv2d(ROUTED, ROUTED, 3).weight, conv.slices((group, ))['weight']).is_contiguous()


def test_linear_and_convolution_use_the_rows_and_columns_of_the_path():
    linear = SlicedLinear(ROUTED, ChannelLayout(2, 1, 2, block=1))
    x = torch.randn(5, 5)
    rows, columns = torch.tensor([0, 1, 3]), torch.tensor([0, 1, 2, 5, 6])
    expected = x @ linear.weight[rows][:, columns].T + linear.bias[rows]
    torch.testing.assert_close(linear(x, (1, 1)), expected)
    conv = SlicedConv2d(ROUTED, ROUTED, 3, padding=1)
    image = torch.randn(2, 5, 4, 4)
    expected = nn.functional.conv2d(image, conv.weight[columns][:, columns], padding=1)
    torch.testing.assert_close(conv(image, (1, )), expected)


def test_subnet_state_dict_copies_so_that_changing_it_leaves_the_supernet():
    layer = SlicedBatchNorm(ROUTED)
    for path in [(2, ), None]:
        state = subnet_state_dict(layer, path)
        state['weight'].zero_()
        state['num_batches_tracked'].add_(5)
    assert layer.weight.all() and layer.num_batches_tracked == 0


def test_two_ranks_with_sync_give_what_one_gives(tmp_path):
    run_ranks(sync_worker, tmp_path)
    whole = sync_worker.train(0, 1)
    parts = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    for i in range(2):  # outputs and input gradients, interleaved as they were dealt out
        dealt = torch.stack([parts[0][i], parts[1][i]], dim=1).flatten(0, 1)
        torch.testing.assert_close(dealt, whole[i], rtol=1e-4, atol=1e-5)
    for i in range(2, 5):
        torch.testing.assert_close(parts[0][i], whole[i], rtol=1e-4, atol=1e-5)
    # And the one rank is plain batch norm.
    reference = nn.BatchNorm2d(11)
    reference(torch.randn(6, 11, 3, 3, generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(whole[4], reference.running_var)


def test_sync_batch_norm_conversion_leaves_the_layer_alone():
    layer = nn.Sequential(SlicedBatchNorm(ROUTED))
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(layer)[0], SlicedBatchNorm)


@pytest.mark.parametrize('shape', [(4, 11, 3), (4, )])
def test_batch_norm_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match='2-D or 4-D'):
        SlicedBatchNorm(ROUTED)(torch.zeros(shape))
