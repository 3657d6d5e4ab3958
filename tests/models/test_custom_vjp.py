"""Gradients of our own equal the plain formulation's, where it is hard: ties, zeros, NaN, odd sizes, float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.models import custom_vjp, layers
from alexnet_jax.models.custom_vjp import dense, max_pooling, response_normalization

SHAPES = [(2, 13, 13, 5), (1, 9, 6, 3), (3, 4, 7, 8)]
PADDINGS = [((0, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 1), (1, 0))]


def both(function, reference, x, **settings):
    """Return (value, gradient) of each, under one random cotangent."""
    return [value_and_gradient(each, tuple(settings.items()), x) for each in (function, reference)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def value_and_gradient(function, settings, x):
    value, transpose = jax.vjp(lambda x: function(x, **dict(settings)), x)
    return value, transpose(jax.random.normal(jax.random.key(1), value.shape, value.dtype))[0]


@pytest.mark.parametrize('shape, padding', list(zip(SHAPES, PADDINGS, strict=True)))
@pytest.mark.parametrize('levels', [2, 5, 1000])
def test_pooling_gives_ties_to_the_first_as_xla_does(shape, padding, levels):
    x = jax.random.randint(jax.random.key(0), shape, 0, levels).astype(jnp.float32)
    (value, gradient), (plain, reference) = both(
        max_pooling.max_pooling, layers.max_pooling, x, window=3, stride=2, padding=padding
    )
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_allclose(gradient, reference, rtol=0, atol=2e-6)


def test_pooling_of_relu_zeros_sends_each_gradient_to_one_place():
    x = jnp.zeros((1, 5, 5, 1))
    (_, gradient), (_, reference) = both(
        max_pooling.max_pooling, layers.max_pooling, x, window=3, stride=2, padding=((0, 0), (0, 0))
    )
    np.testing.assert_array_equal(gradient, reference)
    assert np.count_nonzero(gradient) == 4


@pytest.mark.parametrize('place', [(0, 0), (1, 2), (4, 4)])
def test_pooling_passes_a_nan_on(place):
    x = jnp.arange(25.0).reshape(1, 5, 5, 1).at[0, place[0], place[1], 0].set(jnp.nan)
    settings = {'window': 3, 'stride': 2, 'padding': ((0, 0), (0, 0))}
    np.testing.assert_array_equal(max_pooling.max_pooling(x, **settings), layers.max_pooling(x, **settings))


@pytest.mark.parametrize(
    'shape, n, beta', [(SHAPES[0], 4, 1.1), (SHAPES[0], 5, 0.75), (SHAPES[1], 5, 1.1), (SHAPES[2], 4, 0.75)]
)
def test_normalization_in_float32(shape, n, beta):
    x = 30 * jax.random.normal(jax.random.key(0), shape)
    (value, gradient), (plain, reference) = both(
        response_normalization.response_normalization,
        layers.response_normalization,
        x,
        k=2.0,
        n=n,
        alpha=1e-2,
        beta=beta,
    )
    np.testing.assert_allclose(value, plain, rtol=2e-6)
    np.testing.assert_allclose(gradient, reference, rtol=0, atol=2e-6 * np.abs(reference).max())


def test_normalization_of_zeros_and_nan():
    x = jnp.zeros((1, 2, 2, 8)).at[0, 0, 0, 3].set(jnp.nan)
    settings = {'k': 2.0, 'n': 5, 'alpha': 1e-4, 'beta': 0.75}
    (value, gradient), (plain, reference) = both(
        response_normalization.response_normalization, layers.response_normalization, x, **settings
    )
    np.testing.assert_array_equal(np.isnan(value), np.isnan(plain))
    np.testing.assert_array_equal(np.isnan(gradient), np.isnan(reference))


def test_plain_is_a_switch_and_a_platform_without_a_table_is_plain():
    assert custom_vjp.select_ops('cpu', use_reference=True) == custom_vjp.REFERENCE_OPS
    assert custom_vjp.select_ops('cpu') != custom_vjp.REFERENCE_OPS
    assert custom_vjp.select_ops('rocm') == custom_vjp.REFERENCE_OPS


def test_the_plain_formulation_has_second_derivatives():
    x = jnp.linspace(-1, 1, 40).reshape(1, 2, 2, 10)

    def total(x):
        return jnp.sum(layers.response_normalization(x, k=2.0, n=5, alpha=1e-1, beta=0.75) ** 2)

    hessian_vector = jax.jvp(jax.grad(total), (x,), (jnp.ones_like(x),))[1]
    assert np.all(np.isfinite(hessian_vector)) and np.any(hessian_vector != 0)


@pytest.mark.parametrize('columns', [1, 2])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('keep_float32', [False, True])
@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_dense_gradients(platform, columns, dtype, keep_float32):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (columns, 5, 12), (columns, 12, 7), (columns, 7)
    arrays = [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=False)]

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(function):
        value, transpose = jax.vjp(functools.partial(function, keep_float32=keep_float32), *arrays)
        return value, transpose(jax.random.normal(keys[3], value.shape, value.dtype))

    tolerance = {'float32': 2e-6, 'bfloat16': 2e-2}[dtype]
    found, reference = gradients(custom_vjp.select_ops(platform)['dense']), gradients(layers.dense)
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True):
        assert mine.dtype == other.dtype
        scale = np.abs(np.asarray(other, np.float32)).max()
        np.testing.assert_allclose(np.float32(mine), np.float32(other), rtol=0, atol=tolerance * scale)


def test_dense_gradient_of_nan_is_nan():
    arrays = jnp.full((1, 2, 3), jnp.nan), jnp.ones((1, 3, 4)), jnp.ones((1, 4))
    for cotangent in (jnp.ones((1, 2, 4)), jnp.full((1, 2, 4), jnp.nan)):
        found, reference = (jax.vjp(function, *arrays)[1](cotangent) for function in (dense.dense, layers.dense))
        for mine, other in zip(found, reference, strict=True):
            np.testing.assert_array_equal(np.isnan(mine), np.isnan(other))


@pytest.mark.parametrize('n', [4, 5])
@pytest.mark.parametrize('beta', [0.75, 1.1])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_operations_for_accelerators_equal_the_plain_ones(platform, dtype, beta, n):
    """Value and gradient with the ties and zeros that a ReLU leaves, then with a NaN."""
    ops, tolerance = custom_vjp.select_ops(platform), {'float32': 2e-6, 'float64': 1e-13}[dtype]
    integers = np.random.default_rng(0).integers(-3, 4, (2, 7, 9, 8)).clip(-1)
    with jax.enable_x64(dtype == 'float64'):
        x = jnp.asarray(integers, dtype)
        normalization = {'k': 2.0, 'n': n, 'alpha': 1e-1, 'beta': beta}
        pooling = {'window': 3, 'stride': 2, 'padding': ((0, 1), (1, 0))}
        cases = (('response_normalization', normalization), ('max_pooling', pooling), ('relu', {}))
        for name, settings in cases:
            reference = layers.ACTIVATIONS.get(name) or getattr(layers, name)
            if name not in ops:
                continue
            (value, gradient), (plain, expected) = both(ops[name], reference, x, **settings)
            assert value.dtype == gradient.dtype == dtype
            np.testing.assert_allclose(value, plain, rtol=tolerance)
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance * np.abs(expected).max())
            with_nan = x.at[0, 3, 3, 2].set(jnp.nan)
            mine, plain = (np.isnan(function(with_nan, **settings)) for function in (ops[name], reference))
            # A product with a band has one NaN in every map of its pixel.
            spread = platform == 'tpu' and name == 'response_normalization'
            np.testing.assert_array_equal(
                mine, plain.any(-1, keepdims=True) | np.zeros_like(plain) if spread else plain
            )


@pytest.mark.parametrize('window, stride', [(3, 2), (2, 2), (3, 3), (3, 1), (5, 2), (2, 3)])
@pytest.mark.parametrize('shape, padding', list(zip(SHAPES, PADDINGS, strict=True)))
def test_gradients_of_pooling_gathered_from_windows_of_any_size_and_stride(window, stride, shape, padding):
    x = jax.random.randint(jax.random.key(0), shape, 0, 4).astype(jnp.float32)
    settings = {'window': window, 'stride': stride, 'padding': padding}
    (value, gradient), (plain, expected) = both(
        custom_vjp.select_ops('gpu')['max_pooling'], layers.max_pooling, x, **settings
    )
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=4e-6)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_normalization_for_accelerators_rounds_its_summands_to_bfloat16_alone(platform, shape):
    x = (30 * jax.random.normal(jax.random.key(0), shape)).astype(jnp.bfloat16)
    settings = {'k': 2.0, 'n': 5, 'alpha': 1e-2, 'beta': 0.75}
    normalization = custom_vjp.select_ops(platform)['response_normalization']
    mine, reference = both(normalization, layers.response_normalization, x, **settings)
    for found, plain in zip(mine, reference, strict=True):
        plain = np.float32(plain)
        np.testing.assert_allclose(np.float32(found), plain, rtol=0, atol=2**-7 * np.abs(plain).max())
