"""Confusions: counts, worst pairs, and an order that brings together what is confused."""

import numpy as np

from alexnet_jax.analysis import confusion


def confused_blocks(num_blocks, size, seed=0):
    """Counts of classes that are confused within blocks of them alone, the classes shuffled; and their blocks."""
    chance = np.random.default_rng(seed)
    block = chance.permutation(np.repeat(np.arange(num_blocks), size))
    counts = np.where(block[:, None] == block[None, :], chance.integers(2, 6, (len(block),) * 2), 0)
    return counts + 20 * np.eye(len(block), dtype=int), block


def test_counts_are_those_of_a_loop():
    chance = np.random.default_rng(0)
    labels, predicted = chance.integers(0, 7, (2, 200))
    expected = np.zeros((7, 7), int)
    for label, answer in zip(labels, predicted, strict=True):
        expected[label, answer] += 1
    np.testing.assert_array_equal(confusion.count_confusions(labels, predicted, 7), expected)


def test_the_worst_pairs_come_first_and_right_answers_never():
    counts = np.array([[50, 3, 0], [7, 1, 2], [3, 0, 3]])
    pairs = confusion.find_worst_pairs(counts, 4)
    assert [(pair.label, pair.predicted, pair.count) for pair in pairs] == [(1, 0, 7), (2, 0, 3), (0, 1, 3), (1, 2, 2)]
    assert pairs[0].share == 0.7 and confusion.find_worst_pairs(np.eye(3, dtype=int), 5) == []


def test_confused_classes_stand_together():
    counts, block = confused_blocks(6, 5)
    order = confusion.order_classes(counts)
    assert sorted(order.tolist()) == list(range(30))
    assert (np.diff(block[order]) != 0).sum() == 5


def test_groups_are_all_classes_once_and_keep_blocks_whole():
    counts, block = confused_blocks(10, 6)
    groups = confusion.group_classes(counts, 10)
    assert sorted(label for group in groups for label in group) == list(range(60))
    assert all(len(set(block[group])) == 1 and len(group) == 6 for group in groups)
    merged = confusion.merge_groups(counts, groups)
    assert merged.sum() == counts.sum() and np.count_nonzero(merged) == 10


def test_any_number_of_classes_gives_that_many_groups_of_fair_size():
    for num_classes in (2, 3, 30, 31, 45, 97, 1000):
        counts = np.random.default_rng(num_classes).integers(0, 3, (num_classes, num_classes))
        groups = confusion.group_classes(counts, 30)
        assert len(groups) == min(30, num_classes) and min(map(len, groups)) >= 1
        assert sorted(label for group in groups for label in group) == list(range(num_classes))
        assert max(map(len, groups)) <= 3 * max(1, num_classes / 30)
