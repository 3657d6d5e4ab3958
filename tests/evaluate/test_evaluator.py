"""Evaluate a linear network on uneven splits, against NumPy in float64, on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.data import pipeline
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions

SIDE, CROP, CLASSES = 9, 6, 7
MESHES = [None, (1, 1), (8, 1), (4, 2)]


class Records(RecordSource):
    """Images of chance, with labels that a fitting network often gets right."""

    def __init__(self, images: int):
        chance = np.random.default_rng(images)
        self.images = chance.integers(0, 256, (images, SIDE, SIDE, 3), np.uint8)
        self.labels = chance.integers(0, CLASSES, images)
        self.mean = chance.uniform(90, 140, (SIDE, SIDE, 3)).astype(np.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, record):
        return self.images[record], int(self.labels[record]), f'image {record}'


def weights():
    return np.random.default_rng(1).normal(size=(CROP * CROP * 3, CLASSES)).astype(np.float32) / 300


def forward(parameters, images):
    return images.reshape(len(images), -1) @ parameters


def make_mesh(shape):
    if shape is None:
        return None
    devices = jax.devices()[: shape[0] * shape[1]]
    types = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh(shape, ('data', 'column'), axis_types=types, devices=devices)


def make_evaluator(
    records, *, views=10, batch_size=8, mesh=None, forward=forward, mean_kind='image', std=(1.0, 1.0, 1.0)
):
    options = ViewOptions(CROP, views, mean_kind, std)
    return Evaluator(forward, records.mean, options, batch_size=batch_size, mesh=mesh)


def expected_probabilities(records, views, mean_kind='image', std=(1.0, 1.0, 1.0)):
    """Averaged probabilities of every image, float64, view by view with plain slices."""
    far, middle = SIDE - CROP, (SIDE - CROP) // 2
    places = [(0, 0), (0, far), (middle, middle), (far, 0), (far, far)] if views == 10 else [(middle, middle)]
    total = 0
    for mirrored in (False, True) if views == 10 else (False,):
        for top, left in places:
            window = np.s_[..., top : top + CROP, left : left + CROP, :]
            pixels = records.images[window].astype(np.float64)
            if mean_kind == 'image':
                pixels = pixels - records.mean[window]
            pixels = pixels[:, :, ::-1] if mirrored else pixels
            if mean_kind == 'center':
                pixels = pixels - records.mean[middle : middle + CROP, middle : middle + CROP]
            if mean_kind == 'channel':
                pixels = pixels - records.mean.reshape(-1, 3).mean(axis=0, dtype=np.float64)
            pixels = pixels / std
            logits = pixels.reshape(len(pixels), -1) @ weights().astype(np.float64)
            exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
            total = total + exponential / exponential.sum(axis=1, keepdims=True)
    return total / (10 if views == 10 else 1)


@pytest.mark.parametrize('mean_kind', ['center', 'channel'])
@pytest.mark.parametrize('shape', [None, (4, 2)])
def test_the_mean_of_another_kind_is_subtracted_from_every_view(shape, mean_kind):
    records = Records(11)
    evaluator = make_evaluator(records, mesh=make_mesh(shape), mean_kind=mean_kind)
    _, predictions = evaluator.evaluate_and_predict(weights(), pipeline.EvalPipeline(records, batch_size=8))
    expected = expected_probabilities(records, 10, mean_kind)
    np.testing.assert_array_equal(predictions.predicted, expected.argmax(axis=1))
    np.testing.assert_allclose(predictions.probability, expected.max(axis=1), rtol=1e-4)


@pytest.mark.parametrize('shape', MESHES)
@pytest.mark.parametrize(('images', 'views'), [(1, 10), (23, 10), (23, 1), (16, 1)])
def test_every_image_is_scored_once_on_any_number_of_devices(shape, images, views):
    records = Records(images)
    batches = pipeline.EvalPipeline(records, batch_size=8)
    rates = make_evaluator(records, views=views, mesh=make_mesh(shape)).evaluate(weights(), batches)
    probabilities = expected_probabilities(records, views)
    ranks = (probabilities > probabilities[np.arange(images), records.labels][:, None]).sum(axis=1)
    assert rates['images'] == images
    assert rates['top1_error'] == np.sum(ranks >= 1) / images
    assert rates['top5_error'] == np.sum(ranks >= 5) / images
    loss = -np.log(probabilities[np.arange(images), records.labels]).mean()
    np.testing.assert_allclose(rates['loss'], loss, rtol=1e-5)


@pytest.mark.parametrize('shape', [None, (8, 1)])
def test_outcomes_tell_of_each_image_once_in_order(shape):
    records = Records(21)
    batches = pipeline.EvalPipeline(records, batch_size=8)
    rates, predictions = make_evaluator(records, mesh=make_mesh(shape)).evaluate_and_predict(weights(), batches)
    probabilities = expected_probabilities(records, 10)
    np.testing.assert_array_equal(predictions.id, np.arange(21))
    np.testing.assert_array_equal(predictions.label, records.labels)
    np.testing.assert_array_equal(predictions.predicted, probabilities.argmax(axis=1))
    np.testing.assert_allclose(predictions.probability, probabilities.max(axis=1), rtol=1e-5)
    assert rates['top1_error'] == np.mean(predictions.predicted != predictions.label)
    ahead = probabilities > probabilities[np.arange(21), records.labels][:, None]
    np.testing.assert_array_equal(predictions.rank, ahead.sum(axis=1))


def test_the_hosts_shares_together_are_the_whole():
    records = Records(21)
    whole = make_evaluator(records).evaluate(weights(), pipeline.EvalPipeline(records, batch_size=8))
    shares = [pipeline.EvalPipeline(records, batch_size=8, process_index=host, process_count=2) for host in (0, 1)]
    each = [make_evaluator(records, batch_size=4).evaluate(weights(), share) for share in shares]
    assert sum(rates['images'] for rates in each) == 21
    errors = sum(rates['images'] * rates['top1_error'] for rates in each)
    np.testing.assert_allclose(errors, 21 * whole['top1_error'])


def test_the_probabilities_of_a_list_of_places_are_averaged():
    """A crop from column 1 of 3, mirrored, is that from column 2 of the mirror image, mean and all."""
    records, mirrored = Records(5), Records(5)
    mirrored.images, mirrored.mean = records.images[:, :, ::-1], records.mean[:, ::-1]
    found = make_evaluator(records, views='center+mirror,0:3').probabilities(weights(), records.images)
    one = make_evaluator(mirrored, views='1:2').probabilities(weights(), mirrored.images)
    other = make_evaluator(records, views='top_right').probabilities(weights(), records.images)
    np.testing.assert_allclose(found, (one + other) / 2, rtol=1e-5)


@pytest.mark.parametrize('shape', [None, (4, 2)])
def test_probabilities_of_a_few_images_are_the_averaged_ones(shape):
    records = Records(5)
    found = make_evaluator(records, mesh=make_mesh(shape)).probabilities(weights(), records.images)
    assert found.shape == (5, CLASSES)
    np.testing.assert_allclose(found, expected_probabilities(records, 10), rtol=1e-5)


def test_views_follow_one_another_and_nothing_is_compiled_twice():
    records, seen = Records(23), []

    def watched(parameters, images):
        seen.append(images.shape)
        return forward(parameters, images)

    evaluator = make_evaluator(records, forward=watched)
    for _ in range(2):
        evaluator.evaluate(weights(), pipeline.EvalPipeline(records, batch_size=8))
    assert seen == [(8, CROP, CROP, 3)]


def test_a_network_that_is_not_finite_is_wrong_about_every_image():
    records = Records(5)
    broken = weights() * np.nan
    rates = make_evaluator(records).evaluate(broken, pipeline.EvalPipeline(records, batch_size=8))
    assert (rates['top1_error'], rates['top5_error'], rates['images']) == (1.0, 1.0, 5)
    assert np.isnan(rates['loss'])


def test_images_stay_where_they_are_when_views_are_cut():
    mesh, records = make_mesh((8, 1)), Records(8)
    evaluator = make_evaluator(records, mesh=mesh)
    batch = pipeline.EvalPipeline(records, batch_size=8).batch(0)
    placed = evaluator._to_device(batch)
    assert placed['image'].sharding.shard_shape(placed['image'].shape) == (1, SIDE, SIDE, 3)
    text = (
        evaluator._score.lower(jnp.asarray(weights()), placed, evaluator._mean, with_predictions=False)
        .compile()
        .as_text()
    )
    assert 'all-reduce' in text
    assert not any(word in text for word in ('all-gather', 'all-to-all', 'collective-permute'))


def test_a_batch_that_cannot_be_shared_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r'A batch of 12 images .* 8 devices'):
        make_evaluator(Records(3), batch_size=12, mesh=make_mesh((8, 1)))


@pytest.mark.parametrize('mean_kind', ['image', 'channel'])
def test_colors_are_divided_by_the_deviation(mean_kind):
    records, std = Records(5), (58.0, 57.0, 0.5)
    evaluator = make_evaluator(records, mean_kind=mean_kind, std=std)
    actual = evaluator.probabilities(weights(), records.images)
    np.testing.assert_allclose(actual, expected_probabilities(records, 10, mean_kind, std), rtol=1e-4)
