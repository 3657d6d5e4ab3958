"""RSA and CKA against their definitions, written out in loops or as the papers have them."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_jax.analysis import similarity
from alexnet_jax.analysis.similarity import (
    compare_rdms,
    correlation_rdm,
    debiased_linear_cka,
    gram_matrix,
    linear_cka,
    unbiased_hsic,
)
from alexnet_jax.errors import UserError


def chance(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(params=[2**26, 200])
def blocks(request, monkeypatch):
    """Features are read at once, or a few columns at a time."""
    monkeypatch.setattr(similarity, 'BLOCK_BYTES', request.param)


def test_a_dissimilarity_is_one_minus_the_correlation(blocks):
    features = chance(9, 4, 4, 6) + 5
    rdm, flat = correlation_rdm(features), features.reshape(9, -1).astype(np.float64)
    for i, j in itertools.product(range(9), repeat=2):
        assert abs(rdm[i, j] - (1 - np.corrcoef(flat[i], flat[j])[0, 1])) < 1e-12
    np.testing.assert_allclose(gram_matrix(features), flat @ flat.T, rtol=1e-13)


def test_an_image_without_any_difference_has_no_correlation():
    features = chance(5, 30)
    features[3] = 0.1
    with pytest.raises(UserError, match='1 of 5 images have the same number everywhere .the first is row 3.'):
        correlation_rdm(features)


def ranks(values):
    """Mean of the places that equal numbers take, by counting."""
    return [np.sum(values < value) + (np.sum(values == value) + 1) / 2 for value in values]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rdms_are_compared_by_the_ranks_of_their_pairs(seed):
    draw = np.random.default_rng(seed)
    # Whole numbers: many are equal.
    first, second = draw.integers(0, 5, (7, 7)), draw.integers(0, 5, (7, 7))
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    x, y = (np.array(ranks(np.array([rdm[pair] for pair in pairs]))) for rdm in (first, second))
    x, y = x - x.mean(), y - y.mean()
    expected = (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
    assert abs(compare_rdms(first, second) - expected) < 1e-12
    theirs = scipy.stats.spearmanr([first[pair] for pair in pairs], [second[pair] for pair in pairs])
    assert abs(compare_rdms(first, second) - theirs.statistic) < 1e-12


def test_rdms_of_other_images_are_refused():
    with pytest.raises(UserError, match=r'Dissimilarities of \(3, 3\) and \(4, 4\) cannot be compared'):
        compare_rdms(np.eye(3), np.eye(4))


def test_linear_cka_is_that_of_the_features(blocks):
    x, y = chance(20, 3, 3, 4), chance(20, 7, seed=1)
    y[:, 0] += x[:, 0, 0, 0]
    flat = x.reshape(20, -1).astype(np.float64) - x.reshape(20, -1).mean(axis=0, dtype=np.float64)
    other = y - y.mean(axis=0, dtype=np.float64)
    norms = [np.linalg.norm(a.T @ b) for a, b in ((other, flat), (flat, flat), (other, other))]
    assert abs(linear_cka(x, y) - norms[0] ** 2 / (norms[1] * norms[2])) < 1e-12


def hsic_by_definition(k, m):
    """Song et al. (2012), theorem 1: means over all tuples of different images."""
    n = len(k)
    pairs, triples, quads = (list(itertools.permutations(range(n), size)) for size in (2, 3, 4))
    first = np.mean([k[i, j] * m[i, j] for i, j in pairs])
    second = np.mean([k[i, j] * m[q, r] for i, j, q, r in quads])
    third = np.mean([k[i, j] * m[i, q] for i, j, q in triples])
    return first + second - 2 * third


def test_hsic_is_the_mean_over_all_different_images():
    x, y = gram_matrix(chance(8, 5)), gram_matrix(chance(8, 3, seed=1))
    assert abs(unbiased_hsic(x, y) - hsic_by_definition(x, y)) < 1e-12
    expected = hsic_by_definition(x, y) / np.sqrt(hsic_by_definition(x, x) * hsic_by_definition(y, y))
    assert abs(debiased_linear_cka(chance(8, 5), chance(8, 3, seed=1)) - expected) < 1e-12


def test_batches_average_hsic_over_samples_of_all_images():
    x, y = chance(21, 5), chance(21, 3, seed=1)
    y[:, :3] += x[:, :3]
    batches = np.array_split(np.random.default_rng(4).permutation(21), 3)
    grams = [(gram_matrix(x[rows]), gram_matrix(y[rows])) for rows in batches]
    sums = [sum(hsic_by_definition(g[a], g[b]) for g in grams) for a, b in ((0, 1), (0, 0), (1, 1))]
    expected = sums[0] / np.sqrt(sums[1] * sums[2])
    assert abs(debiased_linear_cka(x, y, batch_size=7, seed=4) - expected) < 1e-12
    with pytest.raises(UserError, match='21 and 21 images in 7 batches cannot be compared'):
        debiased_linear_cka(x, y, batch_size=3)


def test_cka_does_not_see_rotation_scale_and_place_and_debiasing_removes_the_bias():
    x = chance(60, 10).astype(np.float64)
    rotation = np.linalg.qr(chance(10, 10, seed=2))[0]
    for cka in (linear_cka, debiased_linear_cka):
        assert abs(cka(x, 3 * x @ rotation + 7) - 1) < 1e-6
    independent = chance(60, 500), chance(60, 500, seed=5)
    assert linear_cka(*independent) > 0.85 and abs(debiased_linear_cka(*independent)) < 0.05
    many = chance(600, 500), chance(600, 500, seed=5)
    assert abs(debiased_linear_cka(*many, batch_size=60)) < 0.02


def test_features_that_are_larger_than_memory_are_read_in_parts(tmp_path, monkeypatch):
    """Files of 20 MB each, blocks of 1 MB: nothing holds more than a few of them."""
    monkeypatch.setattr(similarity, 'BLOCK_BYTES', 2**20)
    files = []
    for seed in (0, 1):
        np.save(tmp_path / f'{seed}.npy', chance(50, 100_000, seed=seed))
        files.append(np.load(tmp_path / f'{seed}.npy', mmap_mode='r'))
    tracemalloc.start()
    try:
        correlation_rdm(files[0])
        linear_cka(*files)
        debiased_linear_cka(*files)
        debiased_linear_cka(*files, batch_size=10)
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()
