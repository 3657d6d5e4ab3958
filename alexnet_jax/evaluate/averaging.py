"""Several networks as one: the weighted average of their probabilities, and weights found on validation images.

Probabilities are read a chunk of images at a time, so that arrays may be files larger than memory.

N images, K classes, M networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from alexnet_jax.evaluate.metrics import TOP_K

# Images at a time: some 10 MB of a thousand classes.
CHUNK_IMAGES = 1024
# The weights that the search tries, and those that it begins with (2012 source, avg-valid.py: find_coeffs).
GRID = np.arange(21) / 20
FIRST_WEIGHT = 0.5


class Answers(NamedTuple):
    """The answers that probabilities give to N images: arrays of one length."""

    predicted: np.ndarray  # int64, the most probable class
    rank: np.ndarray  # int64, how many other classes are not less probable than the label
    label_probability: np.ndarray  # float64


class WeightSearch(NamedTuple):
    """Weights (M,), each one of GRID, and how many images they and equal weights get wrong."""

    weights: np.ndarray
    errors: int
    errors_of_equal_weights: int


def iterate_averages(parts: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> Iterator[np.ndarray]:
    """Yield the average of M arrays (N, K) as float64 (n, K), a chunk of images at a time; `weights` None: equal."""
    shares = np.ones(len(parts)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    for first in range(0, len(parts[0]), CHUNK_IMAGES):
        chunks = [np.asarray(part[first : first + CHUNK_IMAGES], np.float64) for part in parts]
        yield np.sum([share * chunk for share, chunk in zip(shares, chunks, strict=True)], axis=0)


def rank_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many other classes are not less probable than the label, int64 (n,), of `probabilities` (n, K).

    A tie counts, and so does a NaN; a label that is not finite has rank K (as metrics.sum_metrics ranks logits).
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    ahead = np.sum(~(probabilities < own), axis=1) - 1
    return np.where(np.isfinite(own[:, 0]), ahead, probabilities.shape[1])


def answer_images(parts: Sequence[np.ndarray], labels: np.ndarray, weights: Sequence[float] | None = None) -> Answers:
    """Return what the average of M arrays (N, K) says of images with these labels int (N,)."""
    found, first = [], 0
    for average in iterate_averages(parts, weights):
        own = labels[first : first + len(average)]
        label_probability = np.take_along_axis(average, own[:, None], axis=1)[:, 0]
        found.append(Answers(average.argmax(axis=1), rank_label(average, own), label_probability))
        first += len(average)
    return Answers(*(np.concatenate(column) for column in zip(*found, strict=True)))


def summarize_answers(answers: Answers, num_classes: int) -> dict[str, float]:
    """Return the mean 'loss' (nats), 'top1_error' and 'top5_error' (0 to 1), and the number of 'images'.

    A probability too small for float32 counts as the smallest that is not.
    """
    smallest = np.finfo(np.float32).smallest_subnormal
    return {
        'loss': float(-np.log(np.maximum(answers.label_probability, smallest)).mean()),
        'top1_error': float(np.mean(answers.rank >= 1)),
        'top5_error': float(np.mean(answers.rank >= min(TOP_K, num_classes))),
        'images': len(answers.rank),
    }


def search_weights(parts: Sequence[np.ndarray], labels: np.ndarray, *, top_k: int) -> WeightSearch:
    """Find weights of M arrays (N, K) with few top-k errors by coordinate search, as the 2012 source did.

    From one half each, a network after the other gets the best weight of GRID, the smallest of equals, if it is better
    than the weight that it has; until none gets another one. The arrays must be of other images than the figure is.
    """
    weights = np.full(len(parts), FIRST_WEIGHT)
    (equal,) = _count_errors(parts, labels, weights, 0, weights[:1], top_k)
    best, changed = int(equal), True
    while changed:
        changed = False
        for network in range(len(parts)):
            errors = _count_errors(parts, labels, weights, network, GRID, top_k)
            if errors.min() < best:
                best, weights[network], changed = int(errors.min()), GRID[errors.argmin()], True
    return WeightSearch(weights, best, int(equal))


def _count_errors(
    parts: Sequence[np.ndarray],
    labels: np.ndarray,
    weights: np.ndarray,
    network: int,
    candidates: np.ndarray,
    top_k: int,
) -> np.ndarray:
    """Return the top-k errors, int64 (candidates,), with each candidate as the weight of that network."""
    errors = np.zeros(len(candidates), np.int64)
    for first in range(0, len(labels), CHUNK_IMAGES):
        chunk = slice(first, first + CHUNK_IMAGES)
        own = np.asarray(parts[network][chunk], np.float64)
        others = np.zeros_like(own)
        for number, part in enumerate(parts):
            if number != network:
                others += weights[number] * np.asarray(part[chunk], np.float64)
        for number, candidate in enumerate(candidates):
            errors[number] += np.sum(rank_label(others + candidate * own, labels[chunk]) >= top_k)
    return errors
