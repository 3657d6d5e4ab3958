"""What follows from the layer records: the counts that the paper and its source imply, and refusals with arithmetic."""

import dataclasses

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.models import architecture, presets
from alexnet_jax.models.overrides import ArchitectureOverrides


def test_the_paper_has_its_number_of_parameters():
    counts = presets.PAPER.parameter_counts()
    assert sum(counts.values()) == 60_965_224
    assert counts == {
        'conv1': 34_944,
        'conv2': 307_456,
        'conv3': 885_120,
        'conv4': 663_936,
        'conv5': 442_624,
        'fc6': 37_752_832,
        'fc7': 16_781_312,
        'fc8': 4_097_000,
    }


def test_the_miniature_has_its_number_of_parameters():
    assert sum(presets.MINIATURE.parameter_counts().values()) == MINIATURE_PARAMETERS


MINIATURE_PARAMETERS = 371_146


def test_the_miniature_has_the_parts_of_the_paper():
    names = [layer.name for layer in presets.MINIATURE.layers]
    assert names == [layer.name for layer in presets.PAPER.layers]
    maps = [layer.features // 2 for layer in presets.MINIATURE.layers if isinstance(layer, architecture.Convolution)]
    assert all(mine >= least for mine, least in zip(maps, (16, 32, 48, 48, 32), strict=True))


def test_the_paper_exchanges_30336_numbers_per_image():
    exchanged = presets.PAPER.numbers_exchanged()
    assert exchanged == {'conv3': 21_632, 'fc6': 4_608, 'fc7': 2_048, 'fc8': 2_048}
    assert sum(exchanged.values()) == 30_336


def test_the_paper_multiplies_724_million_times():
    assert sum(presets.PAPER.macs().values()) == 724_406_816


@pytest.mark.parametrize('crop', [224, 227])
def test_crops_of_224_and_227_give_55_by_55(crop):
    shapes = presets.get_architecture('paper', overrides=ArchitectureOverrides(crop_size=crop)).activation_shapes()
    assert shapes['conv1'] == (55, 55, 96)
    assert shapes['pool1'] == (27, 27, 96)
    assert shapes['pool2'] == (13, 13, 256)
    assert shapes['pool5'] == (6, 6, 256)
    assert shapes['drop7'] == (4096,)
    assert shapes['prob'] == (1000,)


def test_224_pixels_get_three_zeros_below_and_to_the_right_and_227_none():
    conv1 = presets.PAPER.layers[0]
    assert presets.get_architecture('paper', overrides=ArchitectureOverrides(crop_size=224)).padding(conv1) == (
        (0, 3),
        (0, 3),
    )
    assert presets.get_architecture('paper', overrides=ArchitectureOverrides(crop_size=227)).padding(conv1) == (
        (0, 0),
        (0, 0),
    )


@pytest.mark.parametrize(
    ('crop', 'sentence'),
    [
        (225, r'conv1: \(225 \+ 2 x 0 - 11\) / 4 = 53.5 is not a whole number \(or 3 zeros'),
        (226, 'conv1: .* = 53.75 is not a whole number'),
        (231, r'pool1: \(56 .* = 26.5 is not a whole number'),
        (10, 'conv1: a window of 11 pixels does not fit into 10'),
    ],
)
def test_a_crop_that_does_not_fit_is_refused_with_the_arithmetic(crop, sentence):
    with pytest.raises(UserError, match=sentence):
        presets.get_architecture('paper', overrides=ArchitectureOverrides(crop_size=crop))


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match='paper, .*one_gpu, .*, miniature'):
        presets.get_architecture('alexnet')


def test_classes_are_a_field_and_change_the_last_layer_alone():
    ten = presets.get_architecture('paper', num_classes=10)
    assert ten.num_classes == 10
    assert sum(ten.parameter_counts().values()) == 60_965_224 - 4_097_000 + 40_970


def test_one_column_exchanges_nothing():
    assert dataclasses.replace(presets.PAPER, columns=1).numbers_exchanged() == {}
