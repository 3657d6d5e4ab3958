"""The whole network against two witnesses: plain NumPy in float64, and one column with grouped convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import witness
from jax import lax
from jax.extend.core import jaxprs_in_params
from slim_networks import slim_architecture
from small_network import EVERY_LAYER

from alexnet_jax.models import initializers, presets
from alexnet_jax.models.alexnet import AlexNet, get_parameters, sample_dropout_masks, with_parameters
from alexnet_jax.models.overrides import ArchitectureOverrides, apply_overrides

RNG = np.random.default_rng(5)


def weights_of(net):
    return {
        name: (np.asarray(each['kernel'], np.float64), np.asarray(each['bias'], np.float64))
        for name, each in get_parameters(net).items()
    }


@pytest.mark.parametrize('crop', [224, 227])
@pytest.mark.parametrize(
    'architecture', [slim_architecture, pytest.param(presets.get_architecture, marks=pytest.mark.extended)]
)
def test_the_paper_network_equals_plain_numpy(architecture, crop):
    arch = apply_overrides(architecture('paper'), ArchitectureOverrides(crop_size=crop))
    net = AlexNet(arch, key=jax.random.key(0), initialization='he')
    images = 50 * RNG.normal(size=(1, crop, crop, 3))
    logits, _ = jax.jit(lambda x: net(x))(jnp.asarray(images, jnp.float32))
    expected = witness.alexnet(weights_of(net), images, stride=4, pad_after=227 - crop)[:, : arch.num_classes]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize('plain, training', [(True, False), (False, True)])
def test_the_miniature_and_its_gradient_equal_plain_numpy(plain, training):
    arch = presets.get_architecture('miniature')
    with jax.enable_x64(True):
        net = AlexNet(arch, key=jax.random.key(1), initialization='he', use_reference_ops=plain)
        parameters = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), get_parameters(net))
        images, labels = 30 * RNG.normal(size=(3, 56, 56, 3)), np.array([2, 0, 9])
        masks = sample_dropout_masks(arch, jax.random.key(2), 3) if training else None

        def loss(parameters):
            logits, _ = with_parameters(net, parameters)(jnp.asarray(images), masks)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(3), labels])

        value, gradients = jax.jit(jax.value_and_grad(loss))(parameters)
        gradients = jax.device_get(gradients)

    def plainly(weights):
        kept = {name: np.asarray(mask, np.float64) for name, mask in masks.items()} if training else None
        logits = witness.alexnet(weights, images, stride=2, pad_after=1, ceil=(1, 0, 1), keep_prob=0.9, masks=kept)
        return witness.cross_entropy(logits, labels)

    weights = {name: (np.asarray(p['kernel']), np.asarray(p['bias'])) for name, p in jax.device_get(parameters).items()}
    assert value == pytest.approx(plainly(weights), rel=1e-9)
    for layer, (kernel, bias) in weights.items():
        towards = RNG.normal(size=kernel.shape), RNG.normal(size=bias.shape)

        def moved(size, layer=layer, kernel=kernel, bias=bias, towards=towards):
            return plainly(weights | {layer: (kernel + size * towards[0], bias + size * towards[1])})

        # In the weights' own measure and so short that hardly a ReLU or a pooling window changes its mind.
        step = 1e-8 * np.abs(kernel).max()
        expected = (moved(step) - moved(-step)) / (2 * step)
        found = np.sum(gradients[layer]['kernel'] * towards[0]) + np.sum(gradients[layer]['bias'] * towards[1])
        assert found == pytest.approx(expected, rel=2e-4, abs=1e-6), layer


def test_two_columns_equal_one_with_grouped_convolutions():
    arch = presets.get_architecture('miniature')
    net = AlexNet(arch, key=jax.random.key(4), initialization='he')
    images = jnp.asarray(30 * RNG.normal(size=(2, 56, 56, 3)), jnp.float32)
    np.testing.assert_allclose(
        jax.jit(lambda x: net(x)[0])(images), jax.jit(functools.partial(grouped, net))(images), rtol=1e-4, atol=1e-4
    )


def grouped(net, x):
    """The same network as one column: feature_group_count where columns are apart, normalization column by column."""

    def convolve(x, layer, groups, stride=1, pads=(0, 0)):
        parameters = net.layers[layer]
        kernel = jnp.concatenate(list(parameters.kernel[...]), axis=-1)
        out = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            (pads, pads),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=groups,
        )
        return jax.nn.relu(out + parameters.bias[...].reshape(1, 1, 1, -1))

    def normalize(x):
        squares = jnp.stack(jnp.split(x * x, 2, axis=-1), axis=-2)
        near = jnp.abs(jnp.arange(squares.shape[-1])[:, None] - jnp.arange(squares.shape[-1])[None]) <= 2
        return x / (2 + 1e-4 * (squares @ near.astype(x.dtype)).reshape(x.shape)) ** 0.75

    def pool(x, pad_after=0):
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (0, pad_after), (0, pad_after), (0, 0))
        )

    def units(x, layer):
        parameters = net.layers[layer]
        kernel = jnp.concatenate(list(parameters.kernel[...]), axis=-1)
        return x.reshape(len(x), -1) @ kernel + parameters.bias[...].reshape(1, -1)

    x = pool(normalize(convolve(x, 'conv1', 1, 2, (0, 1))), 1)
    x = pool(normalize(convolve(x, 'conv2', 2, 1, (2, 2))))
    x = convolve(x, 'conv3', 1, 1, (1, 1))
    x = convolve(convolve(x, 'conv4', 2, 1, (1, 1)), 'conv5', 2, 1, (1, 1))
    x = jax.nn.relu(units(pool(x, 1), 'fc6')) * 0.9
    return units(jax.nn.relu(units(x, 'fc7')) * 0.9, 'fc8')


def test_images_of_another_size_are_an_error_with_both_sizes():
    net = AlexNet(presets.get_architecture('miniature'), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r'\(batch, 56, 56, 3\), not \(1, 64, 64, 3\)'):
        net(jnp.zeros((1, 64, 64, 3)))


def test_the_gradient_to_the_image_is_there_for_who_asks():
    with jax.enable_x64(True):
        net = AlexNet(presets.get_architecture('miniature'), key=jax.random.key(0), initialization='he')
        images, towards = 30 * RNG.normal(size=(1, 56, 56, 3)), RNG.normal(size=(1, 56, 56, 3))
        logit = jax.jit(jax.value_and_grad(lambda x: net(x)[0][0, 3]))
        gradient = np.asarray(logit(images)[1])
        expected = witness.slope(lambda x: float(logit(x)[0]), images, towards)
    assert np.sum(gradient * towards) == pytest.approx(expected, rel=1e-5)


@functools.cache
def drawn(initialization):
    """First values of the paper's layers by their names and fan-ins, with at most 48 features a column."""
    return {
        layer: dict(
            zip(
                ('kernel', 'bias'),
                initializers.init_kernel_and_bias(layer, (*shape[:-1], 48), 2, jax.random.key(0), initialization),
                strict=True,
            )
        )
        for layer, shape in presets.PAPER.kernel_shapes().items()
    }


@pytest.mark.parametrize(
    ('name', 'deviations', 'biases'),
    [
        (
            'paper',
            dict.fromkeys(presets.PAPER.parameter_counts(), 0.01),
            dict.fromkeys(('conv2', 'conv4', 'conv5', 'fc6', 'fc7'), 1.0),
        ),
        (
            'source2012',
            dict.fromkeys(presets.PAPER.parameter_counts(), 0.01) | dict.fromkeys(('conv3', 'conv4', 'conv5'), 0.03),
            dict.fromkeys(('conv2', 'conv4', 'conv5', 'fc6', 'fc7'), 1.0),
        ),
        (
            'caffe',
            dict.fromkeys(presets.PAPER.parameter_counts(), 0.01) | {'fc6': 0.005, 'fc7': 0.005},
            dict.fromkeys(('conv2', 'conv4', 'conv5', 'fc6', 'fc7'), 0.1),
        ),
        (
            'caffenet',
            dict.fromkeys(presets.PAPER.parameter_counts(), 0.01) | {'fc6': 0.005, 'fc7': 0.005},
            dict.fromkeys(('conv2', 'conv4', 'conv5', 'fc6', 'fc7'), 1.0),
        ),
        ('he', {'conv1': np.sqrt(2 / 363) / 60, 'conv4': np.sqrt(2 / 1728), 'fc8': np.sqrt(2 / 4096)}, {}),
    ],
)
def test_first_weights_are_those_of_the_named_source(name, deviations, biases):
    assert name in initializers.INITIALIZATIONS
    parameters = drawn(name)
    for layer, deviation in deviations.items():
        kernel = np.asarray(parameters[layer]['kernel'], np.float64)
        assert kernel.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * kernel.size))
        assert abs(kernel.mean()) < 5 * deviation / np.sqrt(kernel.size)
        assert np.all(np.asarray(parameters[layer]['bias']) == np.float32(biases.get(layer, 0)))


@pytest.mark.parametrize('initialization', ['source2012', 'torch'])
def test_a_network_begins_with_the_first_values_of_its_layers(initialization, key):
    found = get_parameters(AlexNet(EVERY_LAYER, key=key, initialization=initialization))
    assert found.keys() == EVERY_LAYER.kernel_shapes().keys()
    for layer, shape in EVERY_LAYER.kernel_shapes().items():
        kernel, bias = initializers.init_kernel_and_bias(layer, shape, 2, key, initialization)
        np.testing.assert_array_equal(found[layer]['kernel'], kernel)
        np.testing.assert_array_equal(found[layer]['bias'], bias)


def test_torchs_first_weights_and_biases_are_uniform_within_one_over_the_root_of_the_fan_in():
    parameters = drawn('torch')
    for layer, fan_in, pixels in (('conv1', 363, 60), ('conv4', 1728, 1), ('fc6', 9216, 1), ('fc8', 4096, 1)):
        bound = 1 / np.sqrt(fan_in)
        for array, most in ((parameters[layer]['kernel'], bound / pixels), (parameters[layer]['bias'], bound)):
            array = np.asarray(array, np.float64)
            assert most * (1 - 20 / array.size) < np.abs(array).max() <= most * (1 + 1e-6)
            assert array.std() == pytest.approx(most / np.sqrt(3), rel=5 / np.sqrt(array.size))
            assert abs(array.mean()) < 5 * most / np.sqrt(array.size)


def products(jaxpr):
    """The precision of every convolution and matrix product in a program, nested ones too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ('dot_general', 'conv_general_dilated'):
            yield equation.params['precision']
        for inner in jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize(
    ('platform', 'given', 'expected'),
    [
        ('gpu', {}, (jax.lax.Precision.HIGHEST,) * 2),
        ('tpu', {'matmul_precision': 'tensorfloat32'}, (jax.lax.Precision.HIGH,) * 2),
        ('cpu', {}, None),
    ],
)
def test_float32_is_float32_on_accelerators_forward_and_backward(monkeypatch, platform, given, expected):
    net = AlexNet(presets.get_architecture('miniature', num_classes=10), key=jax.random.key(0), **given)
    images = jnp.zeros((2, 56, 56, 3))
    monkeypatch.setattr(jax, 'default_backend', lambda: platform)
    held = get_parameters(net)
    program = jax.make_jaxpr(jax.grad(lambda p: with_parameters(net, p)(images)[0].sum()))(held)
    found = list(products(program.jaxpr))
    # On TPUs normalization multiplies by a band of ones, at full precision whatever was asked for.
    bands = {(jax.lax.Precision.HIGHEST,) * 2} if platform == 'tpu' else set()
    assert len(found) > 25 and set(found) == {expected} | bands
