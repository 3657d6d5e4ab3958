"""Activations by name against plain NumPy: every layer, each column, averages, kinds of mean, meshes, float16."""

import numpy as np
import pytest
import small_network as small

from alexnet_jax.analysis.features import FeatureExtractor, FeatureOptions, extract_features, feature_shapes
from alexnet_jax.errors import UserError
from alexnet_jax.models.presets import PRESETS

LAYERS = ('conv1', 'relu1', 'pool1', 'conv2', 'fc8', 'prob')
COLUMN_OF = {'a': {'conv1': np.s_[:3], 'fc8': np.s_[:4]}, 'b': {'conv1': np.s_[3:], 'fc8': np.s_[4:]}}


def extract(layers, options=None, *, count=10, batch_size=4, mesh=None, preprocessing=None, images=None):
    extractor = FeatureExtractor(
        small.make_model(),
        preprocessing or small.make_preprocessing(),
        layers,
        options,
        batch_size=batch_size,
        mesh=mesh,
    )
    return extract_features(extractor, small.make_parameters(), small.make_images(count) if images is None else images)


def relative_error(value, expected):
    return np.max(np.abs(value - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize('mean_kind, std', [('image', (1, 1, 1)), ('center', (1, 1, 1)), ('channel', (58, 57, 60))])
def test_every_activation_is_that_of_numpy(mean_kind, std):
    preprocessing = small.make_preprocessing(mean_kind, std)
    features = extract(LAYERS, preprocessing=preprocessing)
    expected = small.expected_activations(small.make_parameters(), small.prepare(small.make_images(10), preprocessing))
    assert list(features) == list(LAYERS)
    for layer, values in features.items():
        assert values.shape == expected[layer].shape and values.dtype == np.float32
        assert relative_error(values, expected[layer]) < 1e-5, layer


def test_prepared_images_are_the_input_as_they_are():
    inputs = small.prepare(small.make_images(3), small.make_preprocessing())
    expected = small.expected_activations(small.make_parameters(), inputs)
    assert relative_error(extract(['fc8'], images=inputs)['fc8'], expected['fc8']) < 1e-5
    with pytest.raises(UserError, match=r'prepared images .* must be \(n, 11, 11, 3\)'):
        extract(['fc8'], images=np.zeros((2, 14, 14, 3), np.float32))
    with pytest.raises(UserError, match=r'uint8 images must be \(n, 14, 14, 3\)'):
        extract(['fc8'], images=np.zeros((2, 11, 11, 3), np.uint8))


@pytest.mark.parametrize('column', ['a', 'b'])
def test_a_column_alone_is_its_part_of_both(column):
    both, alone = extract(['conv1', 'fc8']), extract(['conv1', 'fc8'], FeatureOptions(column=column))
    for layer in both:
        np.testing.assert_array_equal(alone[layer], both[layer][..., COLUMN_OF[column][layer]])


def test_the_mean_over_space_is_that_of_all_places():
    whole, mean = extract(['conv1', 'fc8']), extract(['conv1', 'fc8'], FeatureOptions(space='mean'))
    assert relative_error(mean['conv1'], whole['conv1'].astype(np.float64).mean(axis=(1, 2))) < 1e-6
    np.testing.assert_array_equal(mean['fc8'], whole['fc8'])


def test_float16_is_float32_rounded_and_too_large_a_number_is_refused():
    full, half = extract(['conv1']), extract(['conv1'], FeatureOptions(dtype='float16'))
    np.testing.assert_array_equal(half['conv1'], full['conv1'].astype(np.float16))
    inputs = np.full((1, small.CROP, small.CROP, 3), 1e6, np.float32)
    with pytest.raises(UserError, match='conv1 has numbers beyond 65,504'):
        extract(['conv1'], FeatureOptions(dtype='float16'), images=inputs)


@pytest.mark.parametrize('shape', [(1, 1), (4, 2)])
def test_a_mesh_gives_the_same_numbers(shape):
    options = FeatureOptions(column='b')
    alone, meshed = extract(LAYERS, options), extract(LAYERS, options, mesh=small.make_mesh(*shape))
    for layer in LAYERS:
        assert relative_error(meshed[layer], alone[layer]) < 1e-6


def test_an_image_gets_the_same_bits_whatever_comes_after_it():
    first, longer = extract(LAYERS, count=5), extract(LAYERS, count=10)
    for layer in LAYERS:
        np.testing.assert_array_equal(first[layer], longer[layer][:5])


def test_shapes_follow_from_the_architecture():
    paper = PRESETS['paper']
    assert feature_shapes(paper, ['conv1', 'fc7'], FeatureOptions()) == {'conv1': (55, 55, 96), 'fc7': (4096,)}
    assert feature_shapes(paper, ['conv1', 'fc7'], FeatureOptions('a', 'mean')) == {'conv1': (48,), 'fc7': (2048,)}
    assert extract(['conv1']).popitem()[1].shape[1:] == feature_shapes(small.ARCH, ['conv1'], FeatureOptions())['conv1']


@pytest.mark.parametrize(
    'preset, layers, column, message',
    [
        ('paper', ['conv9', 'fc7'], 'both', 'paper has no conv9; its layers are conv1, relu1, norm1'),
        ('paper', [], 'both', 'No layers were named'),
        ('caffe', ['conv1'], 'a', 'caffe has one column, so column a cannot be taken alone'),
    ],
)
def test_what_a_network_does_not_have_is_refused(preset, layers, column, message):
    with pytest.raises(UserError, match=message):
        feature_shapes(PRESETS[preset], layers, FeatureOptions(column=column))
