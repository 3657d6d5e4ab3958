"""Confusions of classes: counts, the pairs most often confused, and an order in which they lie near each other.

K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ConfusedPair(NamedTuple):
    """A label and another class that was predicted for it, how often, and for which share of the label's images."""

    label: int
    predicted: int
    count: int
    share: float


def count_confusions(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of images by label (rows) and prediction, int64 (K, K)."""
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def find_worst_pairs(counts: np.ndarray, number: int) -> list[ConfusedPair]:
    """Return the pairs with the most wrong predictions, at most `number`; of equal counts the larger share first."""
    wrong = counts - np.diag(np.diag(counts))
    labels, predicted = np.nonzero(wrong)
    totals = counts.sum(axis=1)
    pairs = [
        ConfusedPair(int(label), int(other), int(wrong[label, other]), float(wrong[label, other] / totals[label]))
        for label, other in zip(labels, predicted, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.label, pair.predicted))[:number]


def order_classes(counts: np.ndarray) -> np.ndarray:
    """Return the classes, int64 (K,), in an order in which those that are confused stand together."""
    from scipy.cluster import hierarchy

    return hierarchy.leaves_list(_class_tree(counts)) if len(counts) > 2 else np.arange(len(counts))


def group_classes(counts: np.ndarray, num_groups: int) -> list[list[int]]:
    """Return `num_groups` groups of classes that stand together in `order_classes`; fewer classes are one group each.

    The order is cut where neighbors are confused least, each group half to one and a half times its fair share.
    """
    order = order_classes(counts).tolist()
    if len(order) <= num_groups:
        return [[label] for label in order]
    both = counts + counts.T
    ties = [int(both[first, second]) for first, second in zip(order, order[1:], strict=False)]
    groups, start = [], 0
    for left in range(num_groups, 1, -1):
        share = (len(order) - start) / left
        # One class at least remains for each group that follows.
        last = min(start + max(1, round(1.5 * share)), len(order) - left + 1)
        end = min(range(start + max(1, round(0.5 * share)), last + 1), key=lambda place: ties[place - 1])
        groups.append(order[start:end])
        start = end
    return [*groups, order[start:]]


def merge_groups(counts: np.ndarray, groups: list[list[int]]) -> np.ndarray:
    """Return the number of images by the group of the label (rows) and that of the prediction."""
    membership = np.zeros((len(counts), len(groups)), np.int64)
    for number, labels in enumerate(groups):
        membership[labels, number] = 1
    return membership.T @ counts @ membership


def _class_tree(counts: np.ndarray) -> np.ndarray:
    """Return the tree of classes by average linkage, the nearer the more of their images are confused."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    totals = counts.sum(axis=1)
    both = totals[:, None] + totals[None, :]
    distance = 1 - (counts + counts.T) / np.maximum(both, 1)
    np.fill_diagonal(distance, 0)
    return hierarchy.average(squareform(distance, checks=False))
