"""The nearest-neighbor baseline against plain NumPy in float64, and what each of its two errors shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.evaluate import nearest_neighbor


class Records(RecordSource):
    """A split that lies in memory."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, record):
        return self.images[record], int(self.labels[record]), f'image {record}'


def random_records(images, side=16, classes=4, seed=0):
    chance = np.random.default_rng(seed)
    return Records(chance.integers(0, 256, (images, side, side, 3), np.uint8), chance.integers(0, classes, images))


def expected_statistics(image):
    """The eleven statistics of one image, in float64."""
    pixels = image.astype(np.float64)
    gray = pixels.mean(axis=2)
    across, down = gray[:, 1:] - gray[:, :-1], gray[1:] - gray[:-1]
    both = np.concatenate([across.ravel(), down.ravel()])
    colorful = pixels.max(axis=2) - pixels.min(axis=2)
    return [
        *[pixels[..., color].mean() for color in range(3)],
        *[pixels[..., color].std() for color in range(3)],
        abs(across).mean(),
        abs(down).mean(),
        both.std(),
        colorful.mean(),
        (abs(both) > 16.5).mean(),
    ]


@settings(max_examples=10, deadline=None)
@given(images=st.integers(1, 3), side=st.integers(2, 20), seed=st.integers(0, 99))
def test_statistics_are_those_of_numpy(images, side, seed):
    pixels = random_records(images, side, seed=seed).images
    found = nearest_neighbor.image_statistics(pixels)
    assert found.shape == (images, 11) == (images, len(nearest_neighbor.STATISTIC_NAMES))
    np.testing.assert_allclose(found, [expected_statistics(image) for image in pixels], rtol=1e-4, atol=1e-4)


def test_thumbnails_of_images_of_their_own_size_are_the_pixels():
    pixels = random_records(3, side=16).images
    expected = pixels.reshape(3, -1).astype(np.float32) - 128
    np.testing.assert_array_equal(nearest_neighbor.make_thumbnails(pixels), expected)


@settings(max_examples=15, deadline=None)
@given(known=st.integers(1, 30), asked=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_nearest_is_the_nearest_of_all_distances(known, asked, seed):
    chance = np.random.default_rng(seed)
    near, far = chance.integers(-128, 128, (known, 9)), chance.integers(-128, 128, (asked, 9))
    distances = ((far[:, None] - near[None]) ** 2).sum(axis=2)
    found = nearest_neighbor.nearest_rows(near.astype(np.float32), far.astype(np.float32))
    np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_many_test_images_go_in_chunks_and_come_back_in_order(monkeypatch):
    near = random_records(40).images.reshape(40, -1).astype(np.float32)
    whole = nearest_neighbor.nearest_rows(near, near)
    monkeypatch.setattr(nearest_neighbor, 'TEST_CHUNK', 7)
    np.testing.assert_array_equal(nearest_neighbor.nearest_rows(near, near), whole)
    np.testing.assert_array_equal(whole, np.arange(40))


def test_scaling_uses_the_first_alone_and_leaves_what_never_varies():
    near, far = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[4.0, 6.0]])
    scaled_near, scaled_far = nearest_neighbor.standardize_features(near, far)
    np.testing.assert_allclose(scaled_near, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(scaled_far, [[2, 1]])


def test_images_seen_in_training_are_known_by_both():
    seen = random_records(70)
    found = nearest_neighbor.baseline_errors(seen, seen)
    assert (found['statistics'], found['pixels'], found['best']) == (0.0, 0.0, 0.0)
    assert (found['train_images'], found['test_images']) == (70, 70)


def test_form_is_told_by_pixels_and_not_by_statistics():
    """Left or right half bright: the same colors and gradients up to noise, other pixels."""
    chance = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = chance.integers(0, 40, (120, 16, 16, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 8 * label : 8 * label + 8] += 150
    found = nearest_neighbor.baseline_errors(Records(images[:80], labels[:80]), Records(images[80:], labels[80:]))
    assert found['pixels'] == 0.0
    assert found['statistics'] > 0.2
    assert (found['best'], found['kind']) == (0.0, 'pixels')


def test_color_is_told_by_statistics_wherever_it_stands():
    """One small patch at a random place, red or blue, on noise."""
    chance = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = chance.integers(100, 156, (120, 16, 16, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = chance.integers(0, 13, 2)
        image[top : top + 3, left : left + 3] = (255, 0, 0) if label else (0, 0, 255)
    found = nearest_neighbor.baseline_errors(Records(images[:80], labels[:80]), Records(images[80:], labels[80:]))
    assert found['best'] == found['statistics'] < 0.1
    assert found['kind'] == 'statistics'


def test_a_large_training_set_is_sampled_by_the_seed():
    train, test = random_records(60), random_records(20, seed=1)
    found = nearest_neighbor.baseline_errors(train, test, max_train_images=25, seed=3)
    assert (found['train_images'], found['test_images']) == (25, 20)
    assert found == nearest_neighbor.baseline_errors(train, test, max_train_images=25, seed=3)
    errors = {
        tuple(nearest_neighbor.baseline_errors(train, train, max_train_images=25, seed=seed).items())
        for seed in range(3)
    }
    assert len(errors) > 1


@pytest.mark.parametrize('threads', [2, 3])
def test_threads_do_not_show(threads):
    train, test = random_records(150), random_records(70, seed=1)
    assert nearest_neighbor.baseline_errors(train, test, threads=threads) == nearest_neighbor.baseline_errors(
        train, test
    )
