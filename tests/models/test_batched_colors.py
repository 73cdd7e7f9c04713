"""Colors of whole batches against torchvision, OpenCV, Pillow and mmcv, and all views against MMPretrain's pipeline."""

import re
import shlex
import subprocess
from functools import cache

import cv2
import mmcv
import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from PIL import Image, ImageFilter
from repository import ROOT
from scipy import ndimage
from scipy.stats import ks_2samp
from sklearn.datasets import load_sample_images

from sdr_mm.datasets.cluster_dataset import seeded
from sdr_mm.errors import InputError
from sdr_mm.models import BatchedColors, BatchedViews, batched_colors
from sdr_mm.registry import MODELS, TRANSFORMS

DATASETS = ROOT / 'configs' / '_base_' / 'datasets'
NAMES = ['imagenet_224px', 'imagenet_224px_byol']


def pictures(count=4, height=40, width=36):
    """Parts of two real photos, ``(N, 3, H, W)``, float."""
    photos = load_sample_images().images
    random = np.random.default_rng(0)
    parts = []
    for number in range(count):
        top, left = random.integers(0, 300, 2)
        parts.append(photos[number % 2][top:top + height, left:left + width])
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float()


def batch(images, seeds):
    return dict(inputs=[images, images.clone()],
                data_samples=[DataSample(metainfo=dict(seed=seed)) for seed in seeds])


def test_hue_is_torchvisions():
    for images in (pictures(8), torch.randint(0, 256, (8, 3, 20, 20)).float(), torch.full((8, 3, 2, 2), 77.0)):
        shifts = torch.tensor([-0.5, -0.3, -0.1, 0.0, 0.04, 0.1, 0.4, 0.5])
        expected = torch.stack([F.adjust_hue(one / 255, float(shift)) * 255 for one, shift in zip(images, shifts)])
        batched_colors.shift_hue(images, shifts)
        torch.testing.assert_close(images, expected, rtol=0, atol=0.01)


def test_blur_is_pillows_but_for_rounding_on_any_device():
    sigmas = torch.tensor([0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.3, 1.7, 2.0, 3.1])
    images = pictures(len(sigmas))
    pillow = [np.array(Image.fromarray(image.permute(1, 2, 0).contiguous().byte().numpy()).filter(
        ImageFilter.GaussianBlur(sigma))) for image, sigma in zip(images, sigmas.tolist())]
    pillow = torch.from_numpy(np.stack(pillow)).permute(0, 3, 1, 2).float()
    kernels = [batched_colors.blur_kernel(sigma) for sigma in sigmas.tolist()]
    there = batched_colors._blur_as_convolution(images, kernels)
    batched_colors.blur(images, sigmas)
    torch.testing.assert_close(there, images, rtol=0, atol=0.01)
    # At the rim Pillow continues the image anew before each of its three boxes.
    inner = (images - pillow)[..., 9:-9, 9:-9].abs()
    assert inner.max() <= 2 and inner.mean() < 0.5 and (images - pillow).abs().mean() < 0.6
    for sigma, kernel in zip(sigmas.tolist(), kernels):
        places = np.arange(len(kernel)) - len(kernel) // 2
        assert abs(kernel.sum() - 1) < 1e-9 and abs((kernel * places**2).sum() - sigma**2) < 1e-6


def test_solarized_pixels_are_mmcvs():
    levels = torch.arange(256.0).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    expected = mmcv.solarize(levels.numpy(), thr=128)
    batched_colors._solarize(levels)
    assert np.array_equal(levels.numpy(), expected)


def test_steps_come_in_mmpretrains_order_with_the_factors_drawn():
    options = dict(brightness=0.4, contrast=0.3, saturation=0.5, hue=0.1, gray_prob=0.3, blur_prob=(0.5, 0.9),
                   solarize_prob=(0.0, 0.6))
    images, draws = pictures(60), np.random.default_rng(1).random((60, 36))
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for number in range(2):
        expected = []
        for image, numbers in zip(images / 255, draws):
            factors = [1, 1, 1, 0] + (2 * numbers[[28, 29, 30, 32]] - 1) * [0.4, 0.3, 0.5, 0.1]
            for change in numbers[[25, 26, 27, 31]].argsort():
                image = adjust[change](image, float(factors[change]))
            if numbers[24] < 0.3:
                image = F.rgb_to_grayscale(image, 3)
            if numbers[33] < (0.5, 0.9)[number]:
                sigma = 0.1 + 1.9 * numbers[34]
                for axis in (1, 2):
                    image = torch.from_numpy(ndimage.convolve1d(
                        image.numpy(), batched_colors.blur_kernel(sigma), axis, mode='nearest'))
            if numbers[35] < (0.0, 0.6)[number]:
                image = torch.where(image * 255 < 127.5, image, 1 - image)
            expected.append(image * 255)
        found = BatchedColors(**options)._recolor(images.clone(), draws, number)
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=0.5)


OPTIONS = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter_prob=0.8, gray_prob=0.2, blur_prob=0.5,
               solarize_prob=0.2)


def test_a_view_is_a_function_of_its_image_and_seed():
    views, images, seeds = BatchedColors(**OPTIONS), pictures(6).byte(), [5, 7, 2**62, 0, 1, 7]
    first, second = views(batch(images, seeds))['inputs']
    assert all(not torch.equal(*pair) for pair in zip(first, second))
    for order in ([3, 0, 5], [4]):
        again = views(batch(images[order], [seeds[number] for number in order]))['inputs']
        torch.testing.assert_close(again, [first[order], second[order]], rtol=1e-5, atol=1e-3)
    assert not torch.allclose(first[1], views(batch(images, [9] * 6))['inputs'][0][1])


def test_mixed_precision_does_not_change_a_view():
    images, samples = pictures(8).byte(), batch(pictures(8), range(8))['data_samples']
    for views, inputs in ((BatchedColors(**OPTIONS), [images] * 2), (BatchedViews(20, **OPTIONS), images)):
        expected = views(dict(inputs=inputs, data_samples=samples))['inputs']
        with torch.autocast('cpu', torch.bfloat16):
            found = views(dict(inputs=inputs, data_samples=samples))['inputs']
        assert all(torch.equal(*pair) for pair in zip(found, expected))


def test_views_are_flipped_and_normalized():
    ramp = torch.arange(32, dtype=torch.uint8).expand(2000, 3, 2, 32).clone()
    ramp[:, 0] += 100
    options = dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)
    found = BatchedColors(flip_prob=0.3, **options)(batch(ramp, range(2000)))['inputs']
    flipped = [view[:, 1, 0, 0] > view[:, 1, 0, -1] for view in found]
    assert all(abs(one.float().mean() - 0.3) < 0.04 for one in flipped)
    assert abs((flipped[0] & flipped[1]).float().mean() - 0.09) < 0.03, 'independent'
    still = BatchedColors(flip_prob=0, **options)(batch(ramp, range(2000)))['inputs'][0]
    mean, std = (torch.tensor(options[name]).view(3, 1, 1) for name in ('mean', 'std'))
    expected = (ramp.flip(1).float() - mean) / std
    torch.testing.assert_close(still, expected)


@pytest.mark.parametrize('options', [dict(hue=0.6), dict(blur_prob=(0.1, 0.2, 0.3)), dict(solarize_prob=1.1),
                                     dict(blur_sigma=(0, 1)), dict(blur_sigma=(2, 1))])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match='BatchedColors needs probabilities'):
        BatchedColors(**options)


def test_what_are_no_two_crops_with_a_seed_is_refused():
    with pytest.raises(InputError, match="let train_dataloader.dataset be a 'ClusterDataset'"):
        BatchedColors()(dict(inputs=[pictures()] * 2, data_samples=[DataSample()] * 4))
    with pytest.raises(InputError, match="let the pipeline be 'CropViews'"):
        BatchedColors()({**batch(pictures(), range(4)), 'inputs': pictures()})


def make_views(name, files, first_seed, **changes):
    """Two views (N, H, W, 3) of each file by a config's pipeline and preprocessor, RGB, 0 to 255."""
    init_default_scope('sdr_mm')
    cfg = Config.fromfile(DATASETS / f'{name}.py')
    cfg.data_preprocessor.update(mean=[0, 0, 0], std=[1, 1, 1], **changes)
    pipeline = Compose([TRANSFORMS.build(step) for step in cfg.train_pipeline])
    loaded = []
    for seed, file in enumerate(files, first_seed):
        with seeded(seed):
            loaded.append(pipeline(dict(img_path=str(file))))
        loaded[-1]['data_samples'].set_metainfo(dict(seed=seed))
    views = MODELS.build(cfg.data_preprocessor)(default_collate(loaded), True)['inputs']
    return [view.permute(0, 2, 3, 1).numpy() for view in views]


def statistics(views):
    """Statistics of each view: (N,) by name."""
    gray = views.mean(-1)
    sums = -4 * gray[:, 1:-1, 1:-1] + gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:]
    found = {'blur': sums.var((1, 2)), 'sides': np.subtract(*(half.mean((1, 2)) for half in np.split(gray, 2, axis=2))),
             'gray': (np.ptp(views, axis=-1).max((1, 2)) < 0.5).astype(float)}
    for channel, color in enumerate(('red', 'green', 'blue')):
        found[f'{color} mean'], found[f'{color} std'] = (getattr(views[..., channel], name)((1, 2))
                                                         for name in ('mean', 'std'))
    hsv = np.stack([cv2.cvtColor(np.float32(view / 255), cv2.COLOR_RGB2HSV) for view in views])
    found['saturation'] = hsv[..., 1].mean((1, 2))
    # Brightness and contrast change both alike, so this is the saturation.
    found['color by contrast'] = np.ptp(views, axis=-1).mean((1, 2)) / gray.std((1, 2))
    for sector in range(6):
        # Around red, yellow, ...: hues of 8 bits have much on the boundaries themselves.
        inside = ((hsv[..., 0] + 30) // 60 % 6 == sector) & (hsv[..., 1] > 0.1)
        found[f'hue {60 * sector}'] = inside.mean((1, 2))
    return found


ROUNDING = dict(blur=100.0, sides=3.0, gray=0.0, mean=3.0, std=3.0, saturation=0.005, hue=0.02, contrast=0.01)


def least_p(ours, theirs):
    """The least p-value of two-sample Kolmogorov-Smirnov tests, and of which statistic.

    MMPretrain rounds all levels and hues to 8 bits in each step, mostly down, so statistics that many views share
    would be some tenths of a level apart. Noise of a few levels on both sides covers that.
    """
    random = np.random.default_rng(0)

    def rounded(name, values):
        width = ROUNDING.get(name.split()[-1]) or ROUNDING[name.split()[0]]
        return values + random.uniform(-width, width, len(values))

    return min((ks_2samp(rounded(name, ours[name]), rounded(name, theirs[name])).pvalue, name) for name in theirs)


COUNT = 1500


def small_image():
    """A part of a real photo, (64, 64, 3), BGR."""
    photo = Image.fromarray(load_sample_images().images[0]).resize((96, 64), Image.Resampling.LANCZOS)
    return np.asarray(photo)[:, :64, ::-1]


@cache
def color_by_mmpretrain(name, number):
    """Statistics of one view of the same image, many times, by all steps after the crop."""
    init_default_scope('sdr_mm')
    steps = Config.fromfile(DATASETS / f'{name}.py').train_pipeline[1].transforms
    peer = Compose([TRANSFORMS.build(step) for step in steps[number % len(steps)] if step.type != 'RandomResizedCrop'])
    found = []
    for seed in range(COUNT):
        with seeded(seed + 10_000):
            found.append(peer(dict(img=small_image().copy()))['img'][..., ::-1])
    return statistics(np.stack(found).astype(np.float32))


def color_by_ours(name, number, **changes):
    """The same of ours."""
    cfg = Config.fromfile(DATASETS / f'{name}_batched.py').data_preprocessor
    ours = MODELS.build({**cfg, 'mean': [0, 0, 0], 'std': [1, 1, 1], **changes})
    images = torch.from_numpy(small_image().copy()).permute(2, 0, 1).expand(COUNT, -1, -1, -1)
    return statistics(ours(batch(images, range(COUNT)))['inputs'][number].permute(0, 2, 3, 1).numpy())


@pytest.mark.slow
@pytest.mark.parametrize('number', [0, 1])
@pytest.mark.parametrize('name', NAMES)
def test_colors_of_one_image_are_distributed_as_mmpretrains(name, number):
    """Seeded, so it cannot fail by chance; 17 statistics, each at a level of 0.05 %."""
    ours, theirs = color_by_ours(name, number), color_by_mmpretrain(name, number)
    assert len(theirs) == 17 and least_p(ours, theirs)[0] > 0.0005, least_p(ours, theirs)


@pytest.mark.parametrize('changes', [
    dict(brightness=0.3), dict(contrast=0.25), dict(saturation=0.25), dict(hue=0.07), dict(jitter_prob=0.65),
    dict(gray_prob=0.1), dict(blur_prob=0.35), dict(blur_sigma=(0.1, 1.4)), dict(flip_prob=0.4),
    dict(solarize_prob=0.1)], ids=str)
def test_other_distributions_of_colors_are_noticed(changes):
    assert least_p(color_by_ours(NAMES[0], 0, **changes), color_by_mmpretrain(NAMES[0], 0))[0] < 0.0005


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for number, photo in enumerate(load_sample_images().images):
        Image.fromarray(photo).resize((500, 375), Image.Resampling.LANCZOS).save(folder / f'{number}.jpg', quality=92)
    return [folder / f'{number % 2}.jpg' for number in range(300)]


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_views_are_distributed_as_mmpretrains(name, photos):
    """The crops included, which vary so much that little else shows: 17 statistics and 2 views, each at 0.05 %."""
    theirs = [statistics(views) for views in make_views(name, photos, 1000)]
    ours = [statistics(views) for views in make_views(f'{name}_batched', photos, 0)]
    for mine, their in zip(ours, theirs):
        assert len(mine) == 17 and least_p(mine, their)[0] > 0.0005, least_p(mine, their)
    # The views of an image are independent: what the augmentations change is not the same in both.
    first, second = (one['sides'] for one in ours)
    flips = [np.sign(one) for one in (first, second)]
    assert abs(np.corrcoef(*flips)[0, 1]) < 0.2


@pytest.mark.parametrize('name', ['simsiam', 'sdr_simsiam', 'byol', 'sdr_byol'])
def test_the_command_in_the_config_changes_the_views_and_nothing_else(name, tmp_path):
    text = (DATASETS / 'imagenet_224px_batched.py').read_text()
    command = re.search(r'# +(sed .*) > ', text).group(1).replace('sdr_simsiam', name)
    done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, check=True)
    file = tmp_path / 'fast.py'
    file.write_text(done.stdout.replace("'_base_/", f"'{ROOT}/configs/_base_/"))
    fast, plain = Config.fromfile(file).to_dict(), Config.fromfile(ROOT / 'configs' / f'{name}.py').to_dict()
    assert fast['data_preprocessor'].pop('type') == 'sdr_mm.BatchedColors'
    for part in ('mean', 'std', 'to_rgb'):
        assert fast['data_preprocessor'][part] == plain['data_preprocessor'][part]
    byol = 'byol' in name
    assert fast['data_preprocessor']['solarize_prob' if byol else 'blur_prob'] == ((0.0, 0.2) if byol else 0.5)
    dataset = fast['train_dataloader']['dataset']['dataset']
    assert [step['type'] for step in dataset['pipeline']] == ['sdr_mm.CropViews', 'PackInputs']
    for cfg in (fast, plain):
        cfg.pop('data_preprocessor'), cfg['train_dataloader']['dataset']['dataset'].pop('pipeline')
        for part in ('train_pipeline', 'train_dataset', 'view_pipeline', 'first_view', 'second_view'):
            cfg.pop(part, None)
    assert fast == plain
