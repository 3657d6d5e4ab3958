"""Every network by name: the counts its source implies, its shapes, what it exchanges; and the named departures."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import witness
from slim_networks import slim_architecture

from alexnet_jax.errors import UserError
from alexnet_jax.models import layers, overrides, presets
from alexnet_jax.models.alexnet import AlexNet, get_parameters, sample_dropout_masks
from alexnet_jax.models.architecture import Activation, Dropout, Pooling, ResponseNormalization
from alexnet_jax.models.column_parallel import all_gather_columns
from alexnet_jax.models.overrides import ArchitectureOverrides, apply_overrides

PARAMETERS = {
    'paper': 60_965_224,
    'source145': 60_965_224,
    'source145_half': 59_798_312,
    'source146': 61_555_304,
    'one_gpu': 59_798_312,
    'six_convolutions': 61_555_304,
    'source150': 60_714_408,
    'source147': 60_965_224,
    'merged': 62_378_344,
    'caffe': 60_965_224,
    'caffenet': 60_965_224,
    'onnx_zoo': 60_965_224,
    'torchvision': 61_100_840,
    'miniature': 371_146,
    # 64 x (75 + 1), 64 x (1,600 + 1), 32 x (576 + 1), 32 x (288 + 1), 10 x (1,152 + 1).
    'four_layers': 146_570,
}
MULTIPLY_ADDS = {
    'paper': 724_406_816,
    'source145': 724_406_816,
    'source145_half': 391_514_384,
    'source146': 745_640_480,
    'one_gpu': 391_514_384,
    'six_convolutions': 745_640_480,
    # conv2 25 / 20 and fc6 2 of run 145's, conv3 and fc7 without the other column's half.
    'source150': 724_323_872,
    # conv2 on 26 and conv5 on 11 pixels, instead of 27 and 13.
    'source147': 724_406_816 - 223_948_800 * (27**2 - 26**2) // 27**2 - 74_760_192 * (13**2 - 11**2) // 13**2,
    'merged': 1_135_256_096,
    'caffe': 724_406_816,
    'caffenet': 724_406_816,
    'onnx_zoo': 654_560_384,
    'torchvision': 714_188_480,
    'four_layers': 18_517_248,
}
CROPS = {'caffe': (227,), 'caffenet': (227,), 'onnx_zoo': (224,), 'torchvision': (224,), 'miniature': (56, 57)}
CROPS['four_layers'] = (24,)
EXCHANGED = {
    'paper': {'conv3': 21_632, 'fc6': 4_608, 'fc7': 2_048, 'fc8': 2_048},
    'source146': {'conv3': 21_632, 'conv6': 4_608, 'fc6': 4_608, 'fc7': 2_048, 'fc8': 2_048},
    'source145': {'conv3': 21_632, 'fc6': 4_608, 'fc7': 2_048, 'fc8': 2_048},
    'source147': {'conv3': 21_632, 'fc6': 4_608, 'fc7': 2_048, 'fc8': 2_048},
    'source150': {'fc8': 2_048},
    'six_convolutions': {'conv3': 21_632, 'conv6': 4_608, 'fc6': 4_608, 'fc7': 2_048, 'fc8': 2_048},
    'miniature': {'conv3': 1_152, 'fc6': 288, 'fc7': 128, 'fc8': 128},
}


OTHER_MAPS = ('miniature', 'onnx_zoo', 'source147', 'four_layers')


def test_every_network_is_counted_here():
    assert presets.PRESETS.keys() == PARAMETERS.keys() == MULTIPLY_ADDS.keys() | {'miniature'}


@pytest.mark.parametrize('name', PARAMETERS)
def test_its_parameters_are_as_many_as_its_source_implies(name):
    network = presets.get_architecture(name)
    assert network.name == name and sum(network.parameter_counts().values()) == PARAMETERS[name]
    held = jax.eval_shape(lambda: get_parameters(AlexNet(network, key=jax.random.key(0))))
    assert sum(array.size for array in jax.tree.leaves(held)) == PARAMETERS[name]


@pytest.mark.parametrize('name', MULTIPLY_ADDS)
def test_its_multiply_adds_are_those_of_its_shapes(name):
    assert sum(presets.get_architecture(name).macs().values()) == MULTIPLY_ADDS[name]


@pytest.mark.parametrize('name', PARAMETERS)
def test_it_states_its_crops_and_they_give_the_same_shapes(name):
    network = presets.get_architecture(name)
    assert (network.crop_size, *network.equivalent_crops) == CROPS.get(name, (224, 227))
    for crop in network.equivalent_crops:
        assert (
            presets.get_architecture(name, overrides=ArchitectureOverrides(crop_size=crop)).activation_shapes()
            == network.activation_shapes()
        )


@pytest.mark.parametrize('name', PARAMETERS)
def test_it_exchanges_what_its_layers_see(name):
    assert presets.get_architecture(name).numbers_exchanged() == EXCHANGED.get(name, {})
    assert presets.get_architecture(name).columns == (2 if name in EXCHANGED else 1)


@pytest.mark.parametrize('name', [name for name in PARAMETERS if name not in OTHER_MAPS])
def test_its_maps_shrink_as_the_papers(name):
    shapes = presets.get_architecture(name).activation_shapes()
    sides = {layer: shapes[layer][:2] for layer in ('conv1', 'pool1', 'conv2', 'pool2', 'conv5', 'pool5')}
    assert sides == {
        'conv1': (55, 55),
        'pool1': (27, 27),
        'conv2': (27, 27),
        'pool2': (13, 13),
        'conv5': (13, 13),
        'pool5': (6, 6),
    }
    assert (
        shapes['fc6'] == (8192 if name == 'source150' else 4096,)
        and shapes['fc7'] == (4096,)
        and shapes['prob'] == (1000,)
    )


def names(network):
    return ' '.join(layer.name for layer in network.layers)


def test_the_order_of_the_layers_is_that_of_each_source():
    first = 'conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 '
    middle = 'conv3 relu3 conv4 relu4 conv5 relu5 pool5 '
    last = 'fc6 relu6 drop6 fc7 relu7 drop7 fc8'
    source = 'conv1 norm1 pool1 relu1 conv2 relu2 norm2 norm2b pool2 conv3 relu3 conv4 relu4 conv5 pool5 relu5 '
    four = 'conv3 relu3 conv4 relu4 fc5'
    plain = first.replace('norm1 ', '').replace('norm2 ', '')
    pooled_first = first.replace('norm1 pool1', 'pool1 norm1').replace('norm2 pool2', 'pool2 norm2')
    assert {name: names(network) for name, network in presets.PRESETS.items()} == {
        'paper': first + middle + last,
        'source145': source + last,
        'source150': source + last,
        'source145_half': source + last,
        'source146': source + 'conv6 relu_conv6 ' + last,
        'source147': source + last,
        'one_gpu': first + middle + last,
        'six_convolutions': first + middle + 'conv6 relu_conv6 ' + last,
        'merged': plain + middle + last,
        'caffe': first + middle + last,
        'caffenet': pooled_first + middle + last,
        'onnx_zoo': first + middle + last,
        'torchvision': plain + middle + 'drop5 fc6 relu6 drop6 fc7 relu7 fc8',
        'miniature': first + middle + last,
        'four_layers': first + four,
    }


def test_caffe_normalizes_with_k_1_and_a_divided_alpha_and_the_paper_with_k_2_and_a_whole_one():
    for name, k, divided in (('caffe', 1.0, True), ('caffenet', 1.0, True), ('paper', 2.0, False)):
        norms = [layer for layer in presets.get_architecture(name).layers if isinstance(layer, ResponseNormalization)]
        assert [(norm.k, norm.n, norm.alpha, norm.beta, norm.alpha_over_n) for norm in norms] == [
            (k, 5, 1e-4, 0.75, divided)
        ] * 2


CONVOLUTIONS = ['conv3 pad=1', 'relu', 'conv4 pad=1', 'relu', 'conv5 pad=1', 'relu', 'pool']
DENSE = ['fc6', 'relu', 'fc7', 'relu', 'fc8']
GROUPED = ['conv3 pad=1', 'relu', 'conv4 pad=1 groups=2', 'relu', 'conv5 pad=1 groups=2', 'relu', 'pool']
CHAINS = {
    'caffe': ['conv1 stride=4', 'relu', 'norm', 'pool', 'conv2 pad=2 groups=2', 'relu', 'norm', 'pool']
    + GROUPED
    + DENSE,
    'caffenet': ['conv1 stride=4', 'relu', 'pool', 'norm', 'conv2 pad=2 groups=2', 'relu', 'pool', 'norm']
    + GROUPED
    + DENSE,
    'torchvision': ['conv1 stride=4 pad=2', 'relu', 'pool', 'conv2 pad=2', 'relu', 'pool'] + CONVOLUTIONS + DENSE,
    'merged': ['conv1 stride=4', 'relu', 'pool', 'conv2 pad=2', 'relu', 'pool'] + CONVOLUTIONS + DENSE,
}


def whole_architecture(name):
    """The preset with 64 hidden features instead of 4,096, which cost time and show nothing more."""
    arch = presets.get_architecture(name, num_classes=20)
    layers = (dataclasses.replace(each, features=64) if each.name in ('fc6', 'fc7') else each for each in arch.layers)
    return dataclasses.replace(arch, layers=tuple(layers))


@pytest.mark.parametrize(
    'architecture', [slim_architecture, pytest.param(whole_architecture, marks=pytest.mark.extended)]
)
@pytest.mark.parametrize('name', CHAINS)
def test_networks_of_one_column_equal_plain_numpy(name, architecture):
    arch = apply_overrides(architecture(name), ArchitectureOverrides(crop_size=67, dropout='none'))
    network = AlexNet(arch, key=jax.random.key(0), initialization='he')
    images = 50 * np.random.default_rng(0).normal(size=(2, 67, 67, 3))
    weights = {
        layer: (np.asarray(parts['kernel'], np.float64), np.asarray(parts['bias'], np.float64))
        for layer, parts in get_parameters(network).items()
    }
    expected = witness.chain(weights, images, CHAINS[name])
    logits, _ = jax.jit(lambda x: network(x))(jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


# Departures.


@pytest.mark.parametrize('exchange', [(), ('fc8',), ('conv4', 'fc6', 'fc7', 'fc8'), ('conv2', 'conv3', 'conv5')])
def test_the_layers_that_exchange_may_be_chosen_and_their_numbers_follow(exchange):
    network = presets.get_architecture('paper', overrides=ArchitectureOverrides(exchange_layers=exchange))
    inputs = {
        'conv2': 27 * 27 * 48,
        'conv3': 13 * 13 * 128,
        'conv4': 13 * 13 * 192,
        'conv5': 13 * 13 * 192,
        'fc6': 6 * 6 * 128,
        'fc7': 2048,
        'fc8': 2048,
    }
    assert network.numbers_exchanged() == {layer: inputs[layer] for layer in exchange}
    kernels = network.kernel_shapes()
    for layer, numbers in inputs.items():
        maps = 27 * 27 if layer == 'conv2' else 13 * 13
        seen = numbers // maps if layer.startswith('conv') else numbers
        assert kernels[layer][-2] == seen * (2 if layer in exchange else 1)


def test_run_150_of_the_2012_source_speaks_between_columns_at_the_last_layer_alone():
    # facts of run 150: without exchange, with 160 maps in conv2 and 4096 units in fc6 a column
    kept = presets.get_architecture('paper', overrides=ArchitectureOverrides(exchange_layers=('fc8',)))
    sizes = {'conv2': {'features': 320}, 'fc6': {'features': 8192}}
    wide = tuple(
        dataclasses.replace(layer, **sizes[layer.name]) if layer.name in sizes else layer for layer in kept.layers
    )
    assert sum(dataclasses.replace(kept, layers=wide).parameter_counts().values()) == RUN_150


RUN_150 = 60_714_408


def test_run_147_keeps_its_sizes_by_other_paddings():
    shapes = presets.get_architecture('source147').activation_shapes()
    sides = [shapes[name][0] for name in ('conv1', 'pool1', 'conv2', 'pool2', 'conv3', 'conv4', 'conv5', 'pool5')]
    assert sides == [55, 28, 26, 13, 13, 13, 11, 6]


def test_run_167_normalizes_after_conv1_alone():
    network = presets.get_architecture('source145', overrides=ArchitectureOverrides(normalization='norm1'))
    assert names(network) == names(presets.get_architecture('source145')).replace('norm2 norm2b ', '')


def test_a_removed_convolution_takes_its_activation_along():
    network = presets.get_architecture(
        'paper',
        overrides=ArchitectureOverrides(removed_layers=('conv3',), exchange_layers=('conv4', 'fc6', 'fc7', 'fc8')),
    )
    assert names(network).startswith('conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv4 relu4 conv5')
    assert network.kernel_shapes()['conv4'] == (3, 3, 256, 192)
    with pytest.raises(UserError, match='conv1 cannot be removed from paper. Choose among conv2, conv3, conv4, conv5'):
        presets.get_architecture('paper', overrides=ArchitectureOverrides(removed_layers=('conv1',)))


@pytest.mark.parametrize(('columns', 'parameters'), [(1, 62_378_344), (2, 60_965_224), (4, 60_258_664)])
def test_columns_are_a_number(columns, parameters):
    """Each column sees a part of conv2, conv4 and conv5's inputs: 1,413,120 weights at two, half of them at four."""
    network = presets.get_architecture('paper', overrides=ArchitectureOverrides(columns=columns))
    assert network.columns == columns and sum(network.parameter_counts().values()) == parameters
    with pytest.raises(UserError, match='The 96 features of conv1 cannot be divided evenly among 5 columns'):
        presets.get_architecture('paper', overrides=ArchitectureOverrides(columns=5))


@pytest.mark.parametrize(
    'overrides',
    [
        ArchitectureOverrides(normalization='none'),
        ArchitectureOverrides(normalization='norm1'),
        ArchitectureOverrides(removed_layers=('conv4',)),
        ArchitectureOverrides(columns=4),
        ArchitectureOverrides(pool_overlap='none'),
        ArchitectureOverrides(feature_multipliers={'conv1': 0.75, 'fc6': 2}),
    ],
)
def test_an_ablation_is_recognized_among_the_presets(overrides):
    network = presets.get_architecture('source145', overrides=overrides)
    preset, found = presets.find_preset(network)
    assert preset == 'source145' and presets.get_architecture(preset, overrides=found) == network


HALVES = dict.fromkeys(('conv1', 'conv2', 'conv3', 'conv4'), 0.5)


@pytest.mark.parametrize(
    ('recorded', 'overrides'),
    [
        ('source145_half', ArchitectureOverrides(columns=1, feature_multipliers=HALVES)),
        ('source150', ArchitectureOverrides(exchange_layers=('fc8',), feature_multipliers={'conv2': 1.25, 'fc6': 2})),
    ],
)
def test_overrides_of_run_145_are_the_networks_of_other_runs(recorded, overrides):
    network = presets.get_architecture('source145', overrides=overrides)
    assert (network.layers, network.columns) == (presets.PRESETS[recorded].layers, presets.PRESETS[recorded].columns)


@pytest.mark.parametrize(
    ('multipliers', 'sentence'),
    [
        ({'conv1': 0.3}, 'conv1 of paper has 96 features, and 0.3 of them are 28.8. Choose a multiplier'),
        ({'fc6': 0}, 'fc6 of paper has 4096 features, and 0 of them are 0. Choose'),
        ({'fc8': 2}, 'The features of fc8 cannot be multiplied in paper. Choose among conv1, .*, fc7'),
        ({'conv1': 0.53125}, 'The 51 features of conv1 cannot be divided evenly among 2 columns'),
    ],
)
def test_numbers_of_features_that_cannot_be(multipliers, sentence):
    with pytest.raises(UserError, match=sentence):
        presets.get_architecture('paper', overrides=ArchitectureOverrides(feature_multipliers=multipliers))


OVERLAPPING = [(name, 0) for name in PARAMETERS if name not in ('onnx_zoo', 'torchvision', 'source147')]


@pytest.mark.parametrize(('name', 'crop'), [*OVERLAPPING, ('miniature', 40), ('miniature', 57)])
def test_windows_that_do_not_overlap_give_the_same_sizes(name, crop):
    """Section 3.4: "output of equivalent dimensions"; also where windows hang over the edge."""
    overrides = ArchitectureOverrides(pool_overlap='none', crop_size=crop)
    network = presets.get_architecture(name, overrides=overrides)
    plain = presets.get_architecture(name, overrides=ArchitectureOverrides(crop_size=crop))
    assert network.activation_shapes() == plain.activation_shapes()
    assert network.parameter_counts() == plain.parameter_counts()
    assert {(each.window, each.stride) for each in network.layers if isinstance(each, Pooling)} == {(2, 2)}
    assert {(each.window, each.stride) for each in plain.layers if isinstance(each, Pooling)} == {(3, 2)}


def test_a_half_precision_exchange_rounds_what_crosses_and_its_gradient():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)

    def exchange(x, dtype):
        return all_gather_columns(tuple(x), columns_sharded=False, dtype=dtype)

    value, pull_back = jax.vjp(functools.partial(exchange, dtype='float16'), x)
    expected, plain = jax.vjp(functools.partial(exchange, dtype=''), x)
    np.testing.assert_array_equal(value, np.float32(np.float16(expected)))
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=value.shape), jnp.float32)
    np.testing.assert_array_equal(pull_back(cotangent)[0], np.float32(np.float16(plain(cotangent)[0])))
    assert not np.array_equal(value, expected)


@pytest.mark.parametrize(
    ('preset', 'exchange', 'sentence'),
    [
        ('paper', ('conv1',), 'conv1 cannot exchange in paper. Choose among conv2, conv3'),
        ('paper', ('fc6', 'fc9', 'pool1'), 'fc9 and pool1 cannot exchange'),
        ('caffe', ('conv3',), 'caffe has one column'),
    ],
)
def test_an_exchange_that_cannot_be_is_refused(preset, exchange, sentence):
    with pytest.raises(UserError, match=sentence):
        presets.get_architecture(preset, overrides=ArchitectureOverrides(exchange_layers=exchange))


@pytest.mark.parametrize('function', overrides.ACTIVATIONS)
def test_another_function_replaces_every_relu_and_is_named_for_itself(function):
    network = presets.get_architecture('six_convolutions', overrides=ArchitectureOverrides(activation=function))
    found = [layer for layer in network.layers if isinstance(layer, Activation)]
    assert {layer.function for layer in found} == {function} and len(found) == 8
    assert [layer.name for layer in found][0] == f'{function}1'
    assert f'{function}_conv6' in network.activation_shapes() and function in layers.ACTIVATIONS


def test_pooling_alpha_and_dropout_change_where_they_are_asked_to():
    network = presets.get_architecture(
        'paper', overrides=ArchitectureOverrides(pooling='average', alpha_over_n='true', dropout='inverted')
    )
    for record, field, value in (
        (Pooling, 'kind', 'average'),
        (ResponseNormalization, 'alpha_over_n', True),
        (Dropout, 'inverted', True),
    ):
        assert {getattr(layer, field) for layer in network.layers if isinstance(layer, record)} == {value}
    assert (
        presets.get_architecture(
            'caffe', overrides=ArchitectureOverrides(pooling='max', alpha_over_n='false', dropout='paper')
        ).activation_shapes()
        == presets.CAFFE.activation_shapes()
    )
    assert presets.get_architecture('paper', overrides=ArchitectureOverrides(dropout='none')).layers == tuple(
        layer for layer in presets.PAPER.layers if not isinstance(layer, Dropout)
    )


def test_dropout_moves_before_its_layers_and_back():
    before = presets.get_architecture('paper', overrides=ArchitectureOverrides(dropout_position='before'))
    assert names(before).endswith('pool5 drop5 fc6 relu6 drop6 fc7 relu7 fc8')
    behind = presets.get_architecture('torchvision', overrides=ArchitectureOverrides(dropout_position='after'))
    assert names(behind).endswith('pool5 fc6 relu6 drop6 fc7 relu7 drop7 fc8')
    assert (
        presets.get_architecture('torchvision', overrides=ArchitectureOverrides(dropout_position='before'))
        == presets.TORCHVISION
    )
    assert presets.get_architecture('paper', overrides=ArchitectureOverrides(dropout_position='after')) == presets.PAPER
    assert presets.get_architecture(
        'paper', overrides=ArchitectureOverrides(dropout='none', dropout_position='before')
    ) == presets.get_architecture('paper', overrides=ArchitectureOverrides(dropout='none'))


def test_dropout_before_fc6_falls_on_maps():
    arch = presets.get_architecture('torchvision')
    masks = jax.eval_shape(functools.partial(sample_dropout_masks, arch, batch_size=4), jax.random.key(0))
    assert {name: mask.shape for name, mask in masks.items()} == {'drop5': (1, 4, 6, 6, 256), 'drop6': (1, 4, 4096)}


def test_a_crop_that_does_not_fit_is_told_the_networks_own():
    with pytest.raises(UserError, match='Use another crop. Crops that fit caffe: 227'):
        presets.get_architecture('caffe', overrides=ArchitectureOverrides(crop_size=224))
    with pytest.raises(UserError, match='Crops that fit one_gpu: 224 and 227'):
        presets.get_architecture('one_gpu', overrides=ArchitectureOverrides(crop_size=225))


def test_departures_compute():
    """tanh, averages, another exchange and dropout before fc6 through one training pass, finite and in range."""
    arch = presets.get_architecture(
        'miniature',
        overrides=ArchitectureOverrides(
            exchange_layers=('conv4', 'fc8'),
            activation='abs_tanh',
            pooling='average',
            alpha_over_n='true',
            dropout='inverted',
            dropout_position='before',
        ),
    )
    network = AlexNet(arch, key=jax.random.key(0), initialization='he')
    images = jnp.asarray(40 * np.random.default_rng(1).normal(size=(2, 56, 56, 3)), jnp.float32)
    logits, activations = jax.jit(lambda x: network(x, sample_dropout_masks(arch, jax.random.key(1), 2)))(images)
    assert {name: array.shape[1:] for name, array in activations.items()} == arch.activation_shapes()
    assert (
        np.all(np.isfinite(logits)) and np.all(activations['abs_tanh7'] >= 0) and np.all(activations['abs_tanh7'] <= 1)
    )
    dropped = np.asarray(activations['drop5'])
    assert np.all((dropped == 0) | np.isclose(dropped, np.asarray(activations['pool5']) / 0.9, rtol=1e-6))
