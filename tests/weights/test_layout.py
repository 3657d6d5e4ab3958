"""PyTorch's layout: a NumPy executor of it alone gives every activation, and there and back are the same bits."""

import dataclasses

import executor
import numpy as np
import pytest
from slim_networks import NAMES, assert_same_activations, assert_same_bits, network_inputs, photographs, slim_weights

from alexnet_jax.errors import UserError
from alexnet_jax.models.overrides import ArchitectureOverrides
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.network import Network
from alexnet_jax.weights import layout


@pytest.mark.parametrize('name', NAMES)
def test_numpy_gives_every_activation_of_real_photographs_out_of_the_tensors(name):
    weights = slim_weights(name)
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    expected = executor.run_chain(name, tensors, network_inputs(weights))
    assert list(expected) == list(weights.arch.activation_shapes())
    assert_same_activations(Network(weights).features(photographs(), list(expected)), expected)


@pytest.mark.parametrize('name', NAMES)
def test_there_and_back_gives_the_same_bits(name):
    weights = slim_weights(name)
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    parameters = layout.from_torch_layout(weights.arch, tensors)
    assert_same_bits(weights, dataclasses.replace(weights, parameters=parameters))
    back = layout.to_torch_layout(weights.arch, parameters)
    assert {name: tensor.tobytes() for name, tensor in back.items()} == {
        name: tensor.tobytes() for name, tensor in tensors.items()
    }


def test_the_paper_has_the_shapes_of_grouped_convolutions():
    shapes = layout.tensor_shapes(PRESETS['paper'])
    assert list(shapes)[:2] == ['conv1.weight', 'conv1.bias']
    assert shapes['conv1.weight'] == (96, 3, 11, 11)
    assert shapes['conv2.weight'] == (256, 48, 5, 5)
    assert shapes['conv3.weight'] == (384, 256, 3, 3)
    assert shapes['fc6.weight'] == (4096, 9216)
    groups = {
        layer.name: layout.layer_groups(PRESETS['paper'], layer) for layer in layout.weighted_layers(PRESETS['paper'])
    }
    assert groups == {'conv1': 1, 'conv2': 2, 'conv3': 1, 'conv4': 2, 'conv5': 2, 'fc6': 1, 'fc7': 1, 'fc8': 1}


def test_dense_layers_of_one_column_have_half_the_inputs():
    arch = get_architecture('miniature', overrides=ArchitectureOverrides(exchange_layers=['conv3']))
    chance = np.random.default_rng(0)
    tensors = {name: chance.normal(size=shape).astype(np.float32) for name, shape in layout.tensor_shapes(arch).items()}
    assert tensors['fc6.weight'].shape == (256, 288)
    parameters = layout.from_torch_layout(arch, tensors)
    # fc6's row 5 is a feature of column a; its input 3 * 9 + 4 is map 3 at row 1, column 1 of three.
    assert parameters['fc6']['kernel'][0, (1 * 3 + 1) * 32 + 3, 5] == tensors['fc6.weight'][5, 3 * 9 + 4]
    assert parameters['fc7']['kernel'][1, 9, 2] == tensors['fc7.weight'][128 + 2, 9]


def test_what_is_missing_left_over_or_of_another_shape_is_listed():
    weights = slim_weights('miniature')
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    changed = {name: tensor for name, tensor in tensors.items() if name != 'conv2.bias'}
    changed |= {'conv9.weight': tensors['conv1.weight'], 'fc7.weight': tensors['fc7.weight'][:-1]}
    with pytest.raises(UserError) as error:
        layout.from_torch_layout(weights.arch, changed)
    shape = tensors['fc7.weight'].shape
    for part in ('missing: conv2.bias', 'left over: conv9.weight', f'({shape[0] - 1}, {shape[1]}) instead of {shape}'):
        assert part in str(error.value)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    weights = slim_weights('miniature')
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    tensors['conv3.weight'].reshape(-1)[7] = value
    with pytest.raises(UserError, match='conv3.weight has NaN or infinite'):
        layout.from_torch_layout(weights.arch, tensors)


def test_doubles_that_do_not_fit_float32_and_integers_are_refused():
    weights = slim_weights('miniature')
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    for wrong, message in ((np.full((8,), 1e300), 'NaN or infinite'), (np.zeros(8, np.int32), 'floating-point')):
        with pytest.raises(UserError, match=message):
            layout.from_torch_layout(weights.arch, tensors | {'conv1.bias': wrong})


def test_partial_draws_the_layers_that_do_not_fit_and_takes_the_others():
    weights = slim_weights('miniature')
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    tensors['fc8.weight'] = tensors['fc8.weight'][:3]
    tensors['other'] = np.zeros(1, np.float32)
    assert layout.unmatched_layers(weights.arch, tensors) == ['fc8']
    parameters = layout.from_torch_layout(weights.arch, tensors, partial=True)
    np.testing.assert_array_equal(parameters['fc7']['kernel'], weights.parameters['fc7']['kernel'])
    assert 0.005 < parameters['fc8']['kernel'].std() < 0.02
    assert not np.array_equal(parameters['fc8']['kernel'], weights.parameters['fc8']['kernel'])
