"""Nearest images by their features: an exact search in blocks.

Q queries, N images, D features, K neighbors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from alexnet_jax.errors import UserError

METRICS = ('euclidean', 'cosine', 'correlation')
# Of a block of rows. Two of them meet in a matrix of at most MAX_ROWS x MAX_ROWS.
BLOCK_BYTES = 2**26
MAX_ROWS = 2048
# More than asked for, since products of matrices round distances that differ by less than this many places.
SPARE = 8


class Neighbors(NamedTuple):
    """The K nearest images of each query, nearest first; of equally near ones the first."""

    rows: np.ndarray  # int64 (Q, K)
    distances: np.ndarray  # float64 (Q, K)


def find_neighbors(
    queries: np.ndarray, features: np.ndarray, *, count: int, metric: str = 'euclidean', same_images: bool = False
) -> Neighbors:
    """Return the `count` nearest of `features` (N, ...) to each of `queries` (Q, ...), both read in blocks.

    `metric` is the Euclidean distance, or one minus the cosine or the correlation. With `same_images` the two are of
    the same images, and none is its own neighbor. Raises UserError if there are too few images, or one for which the
    metric is not defined.
    """
    available = len(features) - same_images
    if not 1 <= count <= available:
        raise UserError(f'{count} neighbors cannot be found among {available:,} images; ask for 1 to {available:,}.')
    flat, wanted = features.reshape(len(features), -1), min(count + SPARE, available)
    parts = []
    for first, block in _row_blocks(queries.reshape(len(queries), -1), metric):
        own = np.arange(first, first + len(block)) if same_images else None
        candidates = _nearest_candidates(block, flat, wanted, metric, own)
        parts.append(_rank_exactly(block, flat, candidates, count, metric))
    return Neighbors(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _nearest_candidates(
    block: np.ndarray, flat: np.ndarray, wanted: int, metric: str, own: np.ndarray | None
) -> np.ndarray:
    """Return the rows (Q, wanted) of `flat` that are nearest to the rows of `block`, by products of matrices."""
    rows, near = np.empty((len(block), 0), np.int64), np.empty((len(block), 0))
    for first, images in _row_blocks(flat, metric):
        # Half the squared distance minus that of the query, which is the same for all images.
        distances = (images**2).sum(axis=1)[None, :] / 2 - block @ images.T
        numbers = np.arange(first, first + len(images))
        if own is not None:
            distances[own[:, None] == numbers[None, :]] = np.inf
        near = np.concatenate([near, distances], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(numbers, distances.shape)], axis=1)
        # Stable: of equal ones the first.
        order = np.argsort(near, axis=1, kind='stable')[:, :wanted]
        rows, near = np.take_along_axis(rows, order, axis=1), np.take_along_axis(near, order, axis=1)
    return rows


def _rank_exactly(
    block: np.ndarray, flat: np.ndarray, candidates: np.ndarray, count: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` nearest of the candidates (Q, C) and their distances, by differences."""
    distances = np.empty(candidates.shape)
    for i, (query, rows) in enumerate(zip(block, candidates, strict=True)):
        distances[i] = ((_normalize_rows(flat[np.sort(rows)], metric) - query) ** 2).sum(axis=1)[
            np.argsort(np.argsort(rows))
        ]
    distances = np.sqrt(distances) if metric == 'euclidean' else distances / 2
    order = np.lexsort((candidates, distances), axis=1)[:, :count]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _row_blocks(flat: np.ndarray, metric: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of the first row, rows in float64 as the metric compares them)."""
    step = min(MAX_ROWS, max(1, BLOCK_BYTES // (8 * max(flat.shape[1], 1))))
    for first in range(0, len(flat), step):
        yield first, _normalize_rows(flat[first : first + step], metric, first)


def _normalize_rows(rows: np.ndarray, metric: str, first: int = 0) -> np.ndarray:
    """Return float64 rows between which half the squared distance is one minus the cosine or the correlation."""
    rows = np.asarray(rows, np.float64)
    if metric == 'euclidean':
        return rows
    if metric == 'correlation':
        rows = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if (bad := np.flatnonzero(norms[:, 0] == 0)).size:
        raise UserError(
            f'The {metric} of image {first + bad[0]} is not defined, since its features are all the same; set '
            '--config.neighbors.metric=euclidean.'
        )
    return rows / norms
