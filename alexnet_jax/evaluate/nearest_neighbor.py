"""The error of a nearest-neighbor classifier, which needs no network: the baseline of a run's figure.

Each test image gets the label of the nearest training image, by eleven statistics of color and gradients or by the
pixels of a 16 x 16 thumbnail. NumPy alone; a GPU would not be worth its start.

N images, D features.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.data.dataset import RecordSource

MAX_TRAIN_IMAGES = 10_000  # beyond it the errors hardly move, and the time grows
THUMBNAIL_SIZE = 16  # pixels a side
# Gray levels between neighboring pixels that make an edge; no mean of three colors meets it exactly.
EDGE_THRESHOLD = 16.5
TEST_CHUNK = 1024  # test images whose distances are held at once: 40 MB against 10,000
READ_CHUNK = 64  # images read and computed together: 150 MB of arithmetic at 256 pixels
STATISTIC_NAMES = (
    'mean red',
    'mean green',
    'mean blue',
    'deviation of red',
    'deviation of green',
    'deviation of blue',
    'mean horizontal gradient',
    'mean vertical gradient',
    'deviation of gradients',
    'mean colorfulness',
    'share of edges',
)


def baseline_errors(
    train: RecordSource,
    test: RecordSource,
    *,
    seed: int = 0,
    max_train_images: int = MAX_TRAIN_IMAGES,
    threads: int = 1,
) -> dict[str, Any]:
    """Return the errors (0 to 1) on all of `test`: 'statistics', 'pixels', 'best' of the two and its 'kind'.

    Of a larger training set `max_train_images` are drawn by `seed`; 'train_images' and 'test_images' count what was
    used. `threads` read the images, a few at a time.
    """
    records = np.arange(len(train))
    if len(train) > max_train_images:
        records = np.sort(np.random.default_rng(seed).choice(len(train), max_train_images, replace=False))
    train_features, train_labels = _compute_features(train, records, threads)
    test_features, test_labels = _compute_features(test, np.arange(len(test)), threads)
    rows = {
        'statistics': nearest_rows(*standardize_features(train_features['statistics'], test_features['statistics'])),
        'pixels': nearest_rows(train_features['pixels'], test_features['pixels']),
    }
    errors = {kind: float(np.mean(train_labels[row] != test_labels)) for kind, row in rows.items()}
    best = min(errors, key=lambda kind: errors[kind])
    return {
        **errors,
        'best': errors[best],
        'kind': best,
        'train_images': len(train_labels),
        'test_images': len(test_labels),
    }


def image_statistics(pixels: np.ndarray) -> np.ndarray:
    """Return float32 (N, 11), in the order of STATISTIC_NAMES, of uint8 images (N, side, side, 3); in gray levels.

    Gradients are differences of neighboring pixels of the mean of the three colors; an image's deviation of gradients
    is that of both directions together. Colorfulness is the largest of a pixel's three values less the smallest. The
    share of edges is one of 1.
    """
    # Laid out by color: ten times faster.
    planes = np.moveaxis(pixels, 3, 0).astype(np.float32, order='C')
    gray = planes.mean(axis=0)
    horizontal, vertical = np.diff(gray, axis=2), np.diff(gray, axis=1)
    both = np.concatenate([gradient.reshape(len(pixels), -1) for gradient in (horizontal, vertical)], axis=1)
    columns = [
        *planes.mean(axis=(2, 3)),
        *planes.std(axis=(2, 3)),
        np.abs(horizontal).mean(axis=(1, 2)),
        np.abs(vertical).mean(axis=(1, 2)),
        both.std(axis=1),
        (planes.max(axis=0) - planes.min(axis=0)).mean(axis=(1, 2)),
        (np.abs(both) > EDGE_THRESHOLD).mean(axis=1, dtype=np.float32),
    ]
    return np.stack(columns, axis=1)


def make_thumbnails(pixels: np.ndarray) -> np.ndarray:
    """Return float32 (N, 768), the pixels of uint8 images (N, side, side, 3) resized to 16 x 16, minus 128.

    Integers about zero, so that sums of 768 of their products fit float32 and distances are exact.
    """
    small = np.stack([image_io.resize_and_crop(image, THUMBNAIL_SIZE) for image in pixels])
    return small.reshape(len(small), -1).astype(np.float32) - 128


def standardize_features(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both (N, D) minus the mean and divided by the standard deviation of the training features."""
    mean, std = train.mean(axis=0), train.std(axis=0)
    # A feature that never varies, such as the colorfulness of gray images, stays as it is.
    std = np.where(std > 0, std, 1)
    return (train - mean) / std, (test - mean) / std


def nearest_rows(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the row of `train` (N, D) nearest to each of `test` (M, D) in Euclidean distance, the first of equals."""
    half = (train**2).sum(axis=1) / 2
    chunks = (test[first : first + TEST_CHUNK] for first in range(0, len(test), TEST_CHUNK))
    # |a - b|^2 / 2 minus |b|^2 / 2, which is the same for all of train: one matrix product does the work.
    return np.concatenate([np.argmin(half[None, :] - chunk @ train.T, axis=1) for chunk in chunks])


def _compute_features(
    records: RecordSource, numbers: np.ndarray, threads: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the statistics and thumbnails (N, D) of those records, and their labels (N,)."""

    def compute_chunk(first: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        chunk = [records[int(number)] for number in numbers[first : first + READ_CHUNK]]
        pixels = np.stack([image for image, _, _ in chunk])
        return image_statistics(pixels), make_thumbnails(pixels), [label for _, label, _ in chunk]

    with ThreadPoolExecutor(max(1, threads)) as pool:
        chunks = list(pool.map(compute_chunk, range(0, len(numbers), READ_CHUNK)))
    statistics, thumbnails, labels = (np.concatenate(column) for column in zip(*chunks, strict=True))
    return {'statistics': statistics, 'pixels': thumbnails}, labels
