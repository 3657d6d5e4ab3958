"""The images that excite a map most, against a sort of all activations at once."""

import numpy as np
import pytest

from alexnet_jax.analysis.excitation import find_most_exciting


@pytest.mark.parametrize('batch_size', [1, 4, 23])
def test_maps_find_their_images_and_places_in_any_batches(batch_size):
    activations = np.random.default_rng(0).normal(size=(23, 3, 5, 6)).astype(np.float32)
    batches = (activations[i : i + batch_size] for i in range(0, 23, batch_size))
    found = find_most_exciting(batches, [4, 0], count=7)
    for place, number in enumerate((4, 0)):
        largest = activations[..., number].max(axis=(1, 2))
        order = np.argsort(-largest, kind='stable')[:7]
        np.testing.assert_array_equal(found.rows[place], order)
        np.testing.assert_array_equal(found.values[place], largest[order])
        for row, (i, j) in zip(order, found.places[place], strict=True):
            assert activations[row, i, j, number] == largest[row]


def test_dense_layers_few_images_and_ties():
    found = find_most_exciting([np.array([[1.0, 5], [3, 5]]), np.array([[3.0, 4]])], [0, 1], count=9)
    np.testing.assert_array_equal(found.rows, [[1, 2, 0], [0, 1, 2]])
    np.testing.assert_array_equal(found.values, [[3, 3, 1], [5, 5, 4]])
    assert not found.places.any()
