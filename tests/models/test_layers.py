"""Each layer, plain and with its own gradient, against NumPy in float64: value, and slope along random directions."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import witness

from alexnet_jax.models import custom_vjp, layers

PLATFORMS = {'plain': custom_vjp.REFERENCE_OPS} | {
    platform: custom_vjp.select_ops(platform) for platform in custom_vjp.FAST_OPS
}
few = hypothesis.settings(max_examples=6, deadline=None)


def check(function, reference, *arrays, seed=0):
    """Value and gradient of `function` equal those of the NumPy `reference`, both in float64."""
    rng = np.random.default_rng(seed)
    expected = reference(*arrays)
    weights = rng.normal(size=expected.shape)

    # One program: as many operations apart would each be compiled for each shape.
    @jax.jit
    def value_and_gradients(arrays, weights):
        value, transpose = jax.vjp(function, *arrays)
        return value, transpose(weights)

    with jax.enable_x64(True):
        value, gradients = value_and_gradients(arrays, weights)
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12)
    for place, gradient in enumerate(gradients):
        direction = rng.normal(size=arrays[place].shape)

        def along(x, place=place):
            return np.sum(weights * reference(*arrays[:place], x, *arrays[place + 1 :]))

        expected_slope = witness.slope(along, arrays[place], direction)
        assert np.sum(np.asarray(gradient) * direction) == pytest.approx(expected_slope, rel=1e-5, abs=1e-6)


@few
@hypothesis.given(
    size=st.integers(5, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    pad_after=st.integers(0, 2),
)
def test_convolution(size, kernel, stride, pad, pad_after):
    rng = np.random.default_rng(size)
    arrays = rng.normal(size=(2, size, size, 3)), rng.normal(size=(kernel, kernel, 3, 4)), rng.normal(size=4)
    padding = ((pad, pad + pad_after),) * 2
    check(
        lambda x, w, b: layers.conv(x, w, b, stride=stride, padding=padding),
        lambda x, w, b: witness.correlate(x, w, b, stride, pad, pad + pad_after),
        *arrays,
    )


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('columns', [1, 2])
def test_dense_maps_each_column_by_its_own_kernel(platform, columns):
    rng = np.random.default_rng(0)
    shapes = (columns, 3, 40), (columns, 40, 6), (columns, 6)
    check(
        PLATFORMS[platform]['dense'],
        lambda x, w, b: np.stack([x[c] @ w[c] + b[c] for c in range(columns)]),
        *(rng.normal(size=shape) for shape in shapes),
    )


@pytest.mark.parametrize('platform', PLATFORMS)
@few
@hypothesis.given(
    maps=st.integers(1, 9),
    n=st.sampled_from([1, 3, 5]),
    k=st.floats(0.5, 2),
    alpha=st.floats(1e-4, 1),
    beta=st.sampled_from([0.5, 0.75, 1.0]),
)
def test_response_normalization(platform, maps, n, k, alpha, beta):
    x = np.random.default_rng(maps).normal(size=(2, 3, 2, maps))
    normalize = PLATFORMS[platform]['response_normalization']
    check(
        lambda x: normalize(x, k=k, n=n, alpha=alpha, beta=beta), lambda x: witness.normalize(x, k, n, alpha, beta), x
    )


@pytest.mark.parametrize('platform', PLATFORMS)
@few
@hypothesis.given(size=st.integers(3, 9), window=st.integers(1, 3), skip=st.integers(0, 2))
def test_max_pooling(platform, size, window, skip):
    stride = max(1, window - skip)  # windows touch or overlap
    # Numbers without ties, so that the slope is defined; ties have a test of their own.
    x = np.random.default_rng(size).permutation(2 * size * size * 3).reshape(2, size, size, 3) / 7.0
    pad_after = -(size - window) % stride
    padding = ((0, pad_after),) * 2
    pooling = PLATFORMS[platform]['max_pooling']
    check(
        lambda x: pooling(x, window=window, stride=stride, padding=padding),
        lambda x: witness.pool(x, window, stride, pad_after),
        x,
    )


@few
@hypothesis.given(size=st.integers(3, 9), window=st.integers(1, 3), skip=st.integers(0, 2), ceil=st.booleans())
def test_average_pooling_counts_what_lies_inside(size, window, skip, ceil):
    stride = max(1, window - skip)  # windows touch or overlap
    x = np.random.default_rng(size).normal(size=(2, size, size + 1, 3))
    padding = tuple((0, -(each - window) % stride if ceil else 0) for each in x.shape[1:3])

    def reference(x):
        high, wide = ((each + edge[1] - window) // stride + 1 for each, edge in zip(x.shape[1:3], padding, strict=True))
        starts = [(i * stride, j * stride) for i in range(high) for j in range(wide)]
        means = [x[:, i : i + window, j : j + window].mean((1, 2)) for i, j in starts]
        return np.stack(means, axis=1).reshape(len(x), high, wide, -1)

    check(lambda x: layers.average_pooling(x, window=window, stride=stride, padding=padding), reference, x)


@pytest.mark.parametrize(
    ('name', 'reference'),
    [
        ('relu', lambda x: np.where(x > 0, x, 0)),
        ('tanh', lambda x: 1 - 2 / (np.exp(2 * x) + 1)),
        ('abs_tanh', lambda x: np.abs(1 - 2 / (np.exp(2 * x) + 1))),
        ('sigmoid', lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_activations(name, reference):
    check(layers.ACTIVATIONS[name], reference, np.random.default_rng(0).normal(size=(4, 5)))
    assert set(layers.ACTIVATIONS) == {'relu', 'tanh', 'abs_tanh', 'sigmoid'}


def test_relu_is_flat_at_zero():
    """As in the 2012 source, Caffe and PyTorch: a point that nothing reaches sends no gradient to its bias."""
    assert jax.grad(layers.ACTIVATIONS['relu'])(0.0) == 0


@pytest.mark.parametrize('platform', PLATFORMS)
def test_max_pooling_may_leave_out_pixels_that_no_window_reaches(platform):
    x = np.random.default_rng(0).permutation(2 * 8 * 8 * 3).reshape(2, 8, 8, 3) / 7.0
    check(
        lambda x: PLATFORMS[platform]['max_pooling'](x, window=3, stride=2, padding=((0, 0), (0, 0))),
        lambda x: witness.pool(x, 3, 2),
        x,
    )


def test_dropout_keeps_the_papers_scaling():
    x, mask = jnp.arange(6.0).reshape(2, 3), jnp.array([[True, False, True], [False, True, True]])
    np.testing.assert_array_equal(layers.dropout(x, mask, keep_prob=0.5, inverted=False), [[0, 0, 2], [0, 4, 5]])
    np.testing.assert_array_equal(layers.dropout(x, None, keep_prob=0.5, inverted=False), x / 2)
    np.testing.assert_array_equal(layers.dropout(x, mask, keep_prob=0.5, inverted=True), [[0, 0, 4], [0, 8, 10]])
    np.testing.assert_array_equal(layers.dropout(x, None, keep_prob=0.5, inverted=True), x)
