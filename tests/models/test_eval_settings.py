"""What a checkpoint knows about how it wants to be evaluated."""

import json

import pytest

from sdr_mm.errors import InputError
from sdr_mm.images import IMAGENET, ZERO_TO_ONE, Normalization
from sdr_mm.models.eval_settings import EvalSettings

HALF = Normalization((127.5, 127.5, 127.5), (60.0, 61.0, 62.0))


def views(*scales):
    """A training pipeline with one view for each scale of its crop."""
    return dict(train_dataloader=dict(dataset=dict(type='ClusterDataset', dataset=dict(pipeline=[
        dict(type='LoadImage'),
        dict(type='MultiView', num_views=2, transforms=[
            [dict(type='mmpretrain.RandomResizedCrop', scale=scale), dict(type='Resize', scale=999)]
            for scale in scales])]))))


def test_the_explicit_entry_holds():
    assert EvalSettings.of(dict(views(64), evaluation=dict(resize=40, size=36, k=5))) == EvalSettings(
        IMAGENET, resize=40, size=36, k=5)
    # What it leaves out is as in the paper.
    assert EvalSettings.of(dict(views(64), evaluation=dict(k=5))) == EvalSettings(IMAGENET, 256, 224, 5)


@pytest.mark.parametrize('scales, resize, size', [
    ((224, ), 256, 224), ((32, ), 37, 32), (((96, 64), ), 73, 64), ((224, 96), 110, 96)])
def test_without_it_the_crop_of_training_gives_the_size(scales, resize, size):
    assert EvalSettings.of(views(*scales)) == EvalSettings(IMAGENET, resize, size, 200)


@pytest.mark.parametrize('config', [
    {}, dict(evaluation=None), dict(train_dataloader=None), views('big', (), ('a', 'b'))])
def test_without_both_it_is_as_in_the_paper(config):
    assert EvalSettings.of(config) == EvalSettings(IMAGENET, 256, 224, 200)


def test_normalization_is_the_models_or_the_configs_or_the_default():
    preprocessor = dict(mean=list(HALF.mean), std=list(HALF.std))
    assert EvalSettings.of(dict(data_preprocessor=preprocessor)).normalization == HALF
    assert EvalSettings.of(dict(model=dict(data_preprocessor=preprocessor),
                                data_preprocessor=dict(mean=[0] * 3, std=[1] * 3))).normalization == HALF
    assert EvalSettings.of(dict(data_preprocessor=dict(mean=None)), ZERO_TO_ONE).normalization == ZERO_TO_ONE


@pytest.mark.parametrize('wrong', [
    dict(size=0), dict(size=300), dict(size='224'), dict(resize=255.5), dict(k=0), dict(k=None), dict(size=-1),
    dict(size=True), dict(resize=float('nan')), dict(k=[20])])
def test_bad_values_are_one_line(wrong):
    with pytest.raises(InputError, match='whole numbers') as error:
        EvalSettings.of(dict(evaluation=wrong))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('mean', [5, 'abc', [1, 2, 'x'], [[1], 2, 3], [None] * 3])
def test_a_normalization_is_numbers(mean):
    with pytest.raises(InputError, match='mean of data_preprocessor must be a number for each channel'):
        EvalSettings.of(dict(data_preprocessor=dict(mean=mean, std=[1, 1, 1])))


def test_what_is_recorded_is_read_back():
    settings = EvalSettings(HALF, resize=40, size=36, k=5)
    assert EvalSettings.of(json.loads(json.dumps(settings.record()))) == settings
    assert EvalSettings.of(EvalSettings().record(), ZERO_TO_ONE) == EvalSettings()


def test_given_values_replace_and_none_does_not():
    assert EvalSettings().but(k=5, size=None) == EvalSettings(k=5)
    with pytest.raises(InputError, match='size=300'):
        EvalSettings().but(size=300)
