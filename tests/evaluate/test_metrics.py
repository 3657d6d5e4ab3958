"""Metrics against NumPy in float64: sums and counts, ties, NaN, padding, views, intervals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec
from scipy import stats

from alexnet_jax.evaluate import metrics, ten_crop

sum_metrics = jax.jit(metrics.sum_metrics)


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def expected_sums(logits, label, valid):
    """Image by image, by sorting; no label's logit may be tied."""
    found = {'loss': 0.0, 'top1': 0, 'top5': 0, 'images': 0}
    for row, right, counts in zip(logits, label, valid, strict=True):
        if counts:
            order = np.argsort(-row).tolist()
            found['loss'] -= log_softmax(row)[right]
            found['top1'] += right in order[:1]
            found['top5'] += right in order[:5]
            found['images'] += 1
    return found


@settings(max_examples=25, deadline=None)
@given(
    images=st.sampled_from([1, 8]),
    classes=st.sampled_from([2, 5, 6, 11]),
    spread=st.sampled_from([0.1, 10.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_sums_are_those_of_numpy(images, classes, spread, seed):
    chance = np.random.default_rng(seed)
    logits = (spread * chance.normal(size=(images, classes))).astype(np.float32)
    label, valid = chance.integers(0, classes, images), chance.random(images) < 0.7
    sums, expected = sum_metrics(logits, label, valid), expected_sums(logits, label, valid)
    np.testing.assert_allclose(sums.pop('loss'), expected.pop('loss'), rtol=1e-5, atol=1e-5)
    assert {name: int(value) for name, value in sums.items()} == expected
    assert all(jnp.issubdtype(value.dtype, jnp.integer) for value in sums.values())


def test_a_tie_counts_against_the_image():
    logits = jnp.zeros((1, 6)).at[0, 0].set(1.0)
    tied_for_second = sum_metrics(logits, jnp.array([3]), jnp.array([True]))
    assert (int(tied_for_second['top1']), int(tied_for_second['top5'])) == (0, 0)
    all_equal = sum_metrics(jnp.ones((1, 5)), jnp.array([0]), jnp.array([True]))
    assert int(all_equal['top1']) == 0


@pytest.mark.parametrize('classes', [3, 10])
def test_nan_counts_as_wrong_and_shows_in_the_loss(classes):
    logits = jnp.full((2, classes), jnp.nan).at[1].set(jnp.arange(classes, dtype=jnp.float32))
    sums = sum_metrics(logits, jnp.array([0, classes - 1]), jnp.array([True, True]))
    assert (int(sums['top1']), int(sums['top5']), int(sums['images'])) == (1, 1, 2)
    assert np.isnan(sums['loss'])


def test_padding_touches_neither_sums_nor_gradient():
    logits = jnp.array([[0.3, 2.0, -1.0], [jnp.nan, jnp.inf, 0.0]])
    label, valid = jnp.array([2, 0]), jnp.array([True, False])
    alone = sum_metrics(logits[:1], label[:1], valid[:1])
    filled = sum_metrics(logits, label, valid)
    assert {k: float(v) for k, v in filled.items()} == {k: float(v) for k, v in alone.items()}
    gradient = jax.grad(lambda x: sum_metrics(x, label, valid)['loss'])(logits)
    expected = np.exp(log_softmax(logits[0])) - np.array([0, 0, 1])
    np.testing.assert_allclose(gradient, [expected, [0, 0, 0]], rtol=1e-6, atol=1e-7)


def test_with_fewer_than_five_classes_top5_means_all_of_them():
    sums = sum_metrics(jnp.array([[3.0, 2.0, 1.0]]), jnp.array([2]), jnp.array([True]))
    assert (int(sums['top1']), int(sums['top5'])) == (0, 1)


def test_averaged_views_are_averaged_probabilities():
    logits = 5 * np.random.default_rng(0).normal(size=(10, 4, 7)).astype(np.float32)
    found = np.exp(ten_crop.average_views(jnp.asarray(logits)))
    np.testing.assert_allclose(found, np.exp(log_softmax(logits)).mean(axis=0), rtol=1e-5)
    one = ten_crop.average_views(jnp.asarray(logits[:1]))
    np.testing.assert_allclose(one, log_softmax(logits[0]), rtol=1e-5, atol=1e-5)


def test_averaging_keeps_the_rank_of_probabilities_too_small_for_float32():
    logits = jnp.array([[[500.0, 1.0, 0.0]], [[500.0, 1.0, 0.0]]])
    sums = sum_metrics(ten_crop.average_views(logits), jnp.array([1]), jnp.array([True]))
    np.testing.assert_allclose(sums['loss'], 499.0, rtol=1e-6)
    ahead = ten_crop.average_views(logits)[0]
    assert ahead[1] > ahead[2]


def test_classes_on_several_devices_are_never_gathered():
    mesh = jax.make_mesh((2, 4), ('data', 'column'), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    chance = np.random.default_rng(0)
    logits, label = chance.normal(size=(16, 40)).astype(np.float32), chance.integers(0, 40, 16)
    valid = np.arange(16) < 13
    placed = jax.device_put(logits, NamedSharding(mesh, PartitionSpec('data', 'column')))
    whole = [jax.device_put(each, NamedSharding(mesh, PartitionSpec('data'))) for each in (label, valid)]
    program = jax.jit(metrics.sum_metrics).lower(placed, *whole).compile()
    text = program.as_text()
    assert 'all-reduce' in text
    assert not any(word in text for word in ('all-gather', 'all-to-all', 'collective-permute'))
    found, expected = program(placed, *whole), expected_sums(logits, label, valid)
    np.testing.assert_allclose(found.pop('loss'), expected.pop('loss'), rtol=1e-5)
    assert {name: int(value) for name, value in found.items()} == expected


def test_error_rates_are_shares_of_the_images():
    rates = metrics.error_rates({'loss': 6.0, 'top1': 1, 'top5': 2, 'images': 3})
    assert rates == {'loss': 2.0, 'top1_error': 2 / 3, 'top5_error': 1 / 3, 'images': 3}


@settings(max_examples=30, deadline=None)
@given(images=st.integers(1, 100_000), share=st.floats(0, 1))
def test_the_interval_is_wilsons(images, share):
    errors = round(share * images)
    low, high = metrics.wilson_interval(errors, images)
    expected = stats.binomtest(errors, images).proportion_ci(0.95, method='wilson')
    np.testing.assert_allclose((low, high), (expected.low, expected.high), rtol=1e-9, atol=1e-12)
    assert 0 <= low <= errors / images <= high <= 1
