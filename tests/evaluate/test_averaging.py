"""The average of several networks against a softmax average by loops, and the search against brute force."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.evaluate import averaging, metrics
from alexnet_jax.evaluate.averaging import GRID, answer_images, rank_label, search_weights, summarize_answers

IMAGES, CLASSES = 60, 7


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(averaging, 'CHUNK_IMAGES', 17)


def make_networks(noises, seed=0):
    """Labels, and logits of networks that know them more or less."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, CLASSES, IMAGES)
    right = 2.0 * np.eye(CLASSES)[labels]
    return labels, [right + noise * chance.normal(size=right.shape) for noise in noises]


def softmax(logits):
    """Image by image, class by class, in Python."""
    rows = []
    for row in logits.tolist():
        exponentials = [np.exp(number - max(row)) for number in row]
        rows.append([number / sum(exponentials) for number in exponentials])
    return rows


def to_probabilities(logits):
    return [np.array(softmax(each), np.float32) for each in logits]


@pytest.mark.parametrize('weights', [None, (1.0, 3.0, 0.0)])
def test_the_average_is_that_of_the_softmax_outputs(weights):
    labels, logits = make_networks((1.0, 2.0, 4.0))
    shares = [1 / 3] * 3 if weights is None else [0.25, 0.75, 0.0]
    each = [softmax(one) for one in logits]
    average = [[sum(shares[m] * each[m][i][k] for m in range(3)) for k in range(CLASSES)] for i in range(IMAGES)]
    answers = answer_images(to_probabilities(logits), labels, weights)
    assert answers.predicted.tolist() == [row.index(max(row)) for row in average]
    orders = [sorted(range(CLASSES), key=lambda k, row=row: -row[k]) for row in average]
    ranks = [order.index(label) for order, label in zip(orders, labels, strict=True)]
    assert answers.rank.tolist() == ranks
    own = [row[label] for row, label in zip(average, labels, strict=True)]
    np.testing.assert_allclose(answers.label_probability, own, rtol=1e-6)
    found = summarize_answers(answers, CLASSES)
    assert found['top1_error'] == sum(rank > 0 for rank in ranks) / IMAGES
    assert found['top5_error'] == sum(rank > 4 for rank in ranks) / IMAGES
    assert found['loss'] == pytest.approx(-np.mean(np.log(own)), rel=1e-6) and found['images'] == IMAGES


def test_ranks_ties_and_nan_as_the_evaluation_does():
    rows = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, np.nan, 0.2], [0.3, np.nan, 0.1]])
    labels = np.array([2, 0, 1, 0])
    for row, label, rank in zip(rows, labels, rank_label(rows, labels), strict=True):
        sums = metrics.sum_metrics(jnp.asarray(row[None]), jnp.array([label]), jnp.array([True]))
        assert int(sums['top1']) == (rank < 1)


def test_a_probability_that_vanished_has_a_finite_loss():
    answers = answer_images([np.array([[1.0, 0.0]], np.float32)], np.array([1]))
    assert np.isfinite(summarize_answers(answers, 2)['loss']) and answers.rank.tolist() == [1]


def count_errors(parts, labels, weights, top_k):
    """By sorting the average; float32 probabilities of chance are never tied."""
    average = sum(weight * np.asarray(part, np.float64) for weight, part in zip(weights, parts, strict=True))
    best = np.argsort(-average, axis=1)[:, :top_k]
    return sum(label not in row for label, row in zip(labels.tolist(), best.tolist(), strict=True))


@pytest.mark.parametrize(('top_k', 'noises'), [(1, (1.0, 3.0)), (3, (2.0, 6.0)), (1, (6.0, 1.5))])
def test_two_weights_are_as_good_as_the_best_of_all_pairs(top_k, noises):
    labels, logits = make_networks(noises, seed=3)
    parts = to_probabilities(logits)
    found = search_weights(parts, labels, top_k=top_k)
    pairs = [pair for pair in itertools.product(GRID, GRID) if sum(pair)]
    fewest = min(count_errors(parts, labels, pair, top_k) for pair in pairs)
    assert found.errors == fewest == count_errors(parts, labels, found.weights, top_k)
    assert found.errors_of_equal_weights == count_errors(parts, labels, (1, 1), top_k) > fewest


def test_no_other_weight_of_one_network_is_better_than_the_found_ones():
    labels, logits = make_networks((1.5, 2.0, 2.5, 9.0), seed=1)
    parts = to_probabilities(logits)
    found = search_weights(parts, labels, top_k=1)
    for network, candidate in itertools.product(range(4), GRID):
        weights = found.weights.copy()
        weights[network] = candidate
        assert count_errors(parts, labels, weights, 1) >= found.errors
    assert found.errors < found.errors_of_equal_weights


def test_the_network_that_knows_nothing_gets_no_weight():
    labels, logits = make_networks((0.5, 200.0))
    found = search_weights(to_probabilities(logits), labels, top_k=1)
    assert found.weights[0] > found.weights[1]
