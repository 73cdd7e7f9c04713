"""Batched views against torchvision's transforms: geometry and color exactly, what is drawn by its distribution."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from mmpretrain.structures import DataSample
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from sdr_mm.errors import InputError
from sdr_mm.models import BatchedViews
from sdr_mm.models.batched_colors import to_gray
from sdr_mm.models.batched_views import resampling

COLOR = dict(brightness=0.4, contrast=0.3, saturation=0.5)


def pictures(count=6, height=20, width=28):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def batch(images, seeds):
    return dict(inputs=images, data_samples=[DataSample(metainfo=dict(seed=seed)) for seed in seeds])


@pytest.mark.parametrize('size', [8, 16, 40])
def test_a_crop_is_torchvisions(size):
    images = pictures(3).float()
    top, height, left, width = np.array([[0, 20, 0, 28], [3, 11, 5, 9], [19, 1, 26, 2]]).T
    rows = resampling(top, height, 20, size, images.device)
    columns = resampling(left, width, 28, size, images.device)
    for number, image in enumerate(images):
        expected = F.resized_crop(image, top[number], left[number], height[number], width[number], [size, size],
                                  antialias=True)
        torch.testing.assert_close(rows[number] @ image @ columns[number].T, expected, rtol=1e-4, atol=1e-3)


def test_changes_of_color_are_torchvisions_in_the_order_drawn():
    views = BatchedViews(20, **COLOR)
    images = pictures(60, 20, 20).float()
    draws = np.random.default_rng(1).random((60, 36))
    expected = []
    for image, numbers in zip(images / 255, draws):
        factors = 1 + (2 * numbers[28:31] - 1) * [0.4, 0.3, 0.5]
        for change in numbers[25:28].argsort():
            adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[change]
            image = adjust(image, factors[change])
        expected.append(image * 255)
    assert len({tuple(row) for row in draws[:, 25:28].argsort(1)}) == 6
    # torchvision's weights of a gray value have four digits, ours three.
    torch.testing.assert_close(views._recolor(images.clone(), draws, 0), torch.stack(expected), rtol=0, atol=0.1)


def test_gray_is_torchvisions():
    images = pictures().float()
    torch.testing.assert_close(to_gray(images), F.rgb_to_grayscale(images), rtol=0, atol=0.1)


@pytest.mark.parametrize('shape', [(32, 32), (24, 64)])
def test_crops_are_distributed_as_torchvisions(shape):
    images, count, scale, ratio = torch.empty(3, *shape), 4000, (0.1, 1.0), (3 / 4, 4 / 3)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(images, scale, ratio) for _ in range(count)])
    views = BatchedViews(32, crop_ratio_range=scale, aspect_ratio_range=ratio)
    (top, height), (left, width) = views._crops(np.random.default_rng(0).random((count, 31)), *shape)
    ours = np.stack([top, left, height, width], axis=1)
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 0.001
    assert ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 0.001
    assert ks_2samp(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2]).pvalue > 0.001


def test_where_no_crop_fits_the_largest_one_comes_from_the_middle():
    views = BatchedViews(8, crop_ratio_range=(1.0, 1.0), aspect_ratio_range=(3 / 4, 4 / 3))
    torch.manual_seed(0)
    expected = RandomResizedCrop.get_params(torch.empty(3, 10, 60), (1.0, 1.0), (3 / 4, 4 / 3))
    (top, height), (left, width) = views._crops(np.random.default_rng(0).random((5, 31)), 10, 60)
    assert {*zip(top, left, height, width)} == {expected} == {(0, 23, 10, 13)}


def test_a_view_is_a_function_of_its_image_and_seed():
    views, images, seeds = BatchedViews(16, gray_prob=0.3, **COLOR), pictures(), [5, 7, 2**62, 0, 1, 7]
    first, second = views(batch(images, seeds))['inputs']
    assert not torch.equal(first, second)
    for order in ([3, 0, 5], [4]):
        again = views(batch(images[order], [seeds[number] for number in order]))['inputs']
        torch.testing.assert_close(again, [first[order], second[order]], rtol=1e-5, atol=1e-3)
    assert not torch.allclose(first[1], views(batch(images, [9] * 6))['inputs'][0][1])


def test_images_are_flipped_and_gray_as_often_as_was_asked_for():
    ramp = torch.arange(32, dtype=torch.uint8).expand(2000, 3, 32, 32).clone()
    ramp[:, 0] += 100
    first, second = BatchedViews(32, flip_prob=0.3, gray_prob=0.2)(batch(ramp, range(2000)))['inputs']
    for view in (first, second):
        flipped = view[:, 1, 16, 0] > view[:, 1, 16, -1]
        gray = (view[:, 0] - view[:, 1]).abs().amax((1, 2)) < 1e-3
        assert abs(flipped.float().mean() - 0.3) < 0.05 and abs(gray.float().mean() - 0.2) < 0.05
    still = BatchedViews(32, crop_ratio_range=(1, 1), aspect_ratio_range=(1, 1), flip_prob=0)
    torch.testing.assert_close(still(batch(ramp, range(2000)))['inputs'][0], ramp.float())


def test_views_are_normalized_in_the_order_of_the_channels():
    views = BatchedViews(8, crop_ratio_range=(1, 1), aspect_ratio_range=(1, 1), flip_prob=0, mean=[1, 2, 3],
                         std=[4, 5, 6], to_rgb=True)
    bgr = torch.tensor([30, 20, 10], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    first, _ = views(batch(bgr, [1, 2]))['inputs']
    torch.testing.assert_close(first[0, :, 0, 0], torch.tensor([9 / 4, 18 / 5, 27 / 6]))


@pytest.mark.parametrize('options', [dict(size=0), dict(crop_ratio_range=(0, 1)), dict(crop_ratio_range=(0.5, 1.1)),
                                     dict(aspect_ratio_range=(2, 1)), dict(flip_prob=1.5), dict(contrast=-0.1)])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match='BatchedViews needs'):
        BatchedViews(**{'size': 8, **options})


def test_images_without_a_seed_are_refused():
    with pytest.raises(InputError, match="let train_dataloader.dataset be a 'ClusterDataset'"):
        BatchedViews(8)(dict(inputs=pictures(), data_samples=[DataSample()] * 6))
