"""The nearest images by brute force, in blocks of any size, among equals, and by each metric."""

import tracemalloc

import numpy as np
import pytest

from alexnet_jax.analysis import neighbors
from alexnet_jax.analysis.neighbors import METRICS, find_neighbors
from alexnet_jax.errors import UserError


def all_distances(queries, features, metric):
    result = np.empty((len(queries), len(features)))
    for i, query in enumerate(queries.reshape(len(queries), -1).astype(np.float64)):
        for j, image in enumerate(features.reshape(len(features), -1).astype(np.float64)):
            if metric == 'euclidean':
                result[i, j] = np.linalg.norm(query - image)
            elif metric == 'cosine':
                result[i, j] = 1 - query @ image / np.linalg.norm(query) / np.linalg.norm(image)
            else:
                result[i, j] = 1 - np.corrcoef(query, image)[0, 1]
    return result


@pytest.mark.parametrize('block_bytes', [2**26, 8 * 12 * 5])
@pytest.mark.parametrize('metric', METRICS)
def test_they_are_those_of_all_distances(metric, block_bytes, monkeypatch):
    monkeypatch.setattr(neighbors, 'BLOCK_BYTES', block_bytes)
    draw = np.random.default_rng(0)
    queries, features = (draw.normal(2, 1, (count, 2, 2, 3)).astype(np.float32) for count in (7, 23))
    found, distances = (
        find_neighbors(queries, features, count=4, metric=metric),
        all_distances(queries, features, metric),
    )
    expected = np.argsort(distances, axis=1)[:, :4]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, expected, axis=1), rtol=1e-9)


def test_no_image_is_its_own_neighbor_but_its_copy_is_at_distance_zero(monkeypatch):
    monkeypatch.setattr(neighbors, 'BLOCK_BYTES', 8 * 6 * 4)
    features = np.random.default_rng(1).normal(1000, 1, (10, 6)).astype(np.float32)
    features[[3, 8]] = features[1]
    found = find_neighbors(features, features, count=2, same_images=True)
    assert found.rows[1].tolist() == [3, 8] and found.rows[3].tolist() == [1, 8] and found.rows[8].tolist() == [1, 3]
    assert (found.distances[[1, 3, 8]] == 0).all()
    assert all(row not in found.rows[row] for row in range(10))


@pytest.mark.parametrize('count, same', [(0, False), (5, False), (4, True)])
def test_more_neighbors_than_there_are_images_are_refused(count, same):
    features = np.eye(4)
    with pytest.raises(UserError, match=f'{count} neighbors cannot be found among {4 - same} images'):
        find_neighbors(features, features, count=count, same_images=same)


def test_an_image_without_features_has_no_direction():
    features = np.eye(4)
    features[2] = 0
    with pytest.raises(UserError, match='The cosine of image 2 is not defined'):
        find_neighbors(np.eye(4), features, count=1, metric='cosine')


def test_many_images_of_few_features_take_no_square_of_memory(monkeypatch):
    features = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    monkeypatch.setattr(neighbors, 'MAX_ROWS', 256)
    tracemalloc.start()
    try:
        find_neighbors(features, features, count=1, same_images=True)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20 < 3000**2
    finally:
        tracemalloc.stop()
