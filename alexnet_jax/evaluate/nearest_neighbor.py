"""Baseline: how far one comes without a network, so that a figure can be held against it.

The label of the nearest training image, by eleven statistics of color and gradients, and by the pixels of a 16 x 16
thumbnail; the better of the two counts. NumPy alone; a GPU would not be worth its start.

N images, D numbers for each.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from alexnet_jax.data import image_io

LARGEST_TRAINING_SET = 10_000  # images; beyond it the errors hardly move, and the time grows
THUMBNAIL = 16  # pixels a side
EDGE = (
    16.5  # gray levels from one pixel to the next that make an edge; no mean of three colors meets it exactly
)
CHUNK = 1024  # test images whose distances are held at once: 40 MB against 10,000
AT_ONCE = 64  # images read and described together: 150 MB of arithmetic at 256 pixels
STATISTICS = (
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


class Records(Protocol):
    """A split of a dataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, record: int, /) -> tuple[np.ndarray, int, str]:
        """The image uint8 (side, side, 3), its label and its id."""
        ...


def baseline(
    train: Records, test: Records, *, seed: int = 0, largest: int = LARGEST_TRAINING_SET, threads: int = 1
) -> dict[str, Any]:
    """Errors (shares of one) of nearest neighbors on `test`, all of it: 'statistics', 'pixels', 'best' and its 'kind'.

    Of more than `largest` training images so many are taken, chosen by `seed`; 'train_images' and 'test_images' say
    how many there were. Images are read by `threads`, a few at a time.
    """
    known = np.arange(len(train))
    if len(train) > largest:
        known = np.sort(np.random.default_rng(seed).choice(len(train), largest, replace=False))
    near, labels = _described(train, known, threads)
    far, truths = _described(test, np.arange(len(test)), threads)
    rows = {
        'statistics': nearest(*scaled(near['statistics'], far['statistics'])),
        'pixels': nearest(near['pixels'], far['pixels']),
    }
    errors = {kind: float(np.mean(labels[row] != truths)) for kind, row in rows.items()}
    best = min(errors, key=lambda kind: errors[kind])
    return {
        **errors,
        'best': errors[best],
        'kind': best,
        'train_images': len(labels),
        'test_images': len(truths),
    }


def statistics(pixels: np.ndarray) -> np.ndarray:
    """float32 (N, 11), in the order of STATISTICS, of uint8 images (N, side, side, 3); in gray levels and shares.

    Gradients are differences of neighboring pixels of the mean of the three colors; an image's deviation of gradients
    is that of both directions together. Colorfulness is the largest of a pixel's three values less the smallest.
    """
    planes = np.moveaxis(pixels, 3, 0).astype(np.float32, order='C')  # laid out by color: ten times faster
    gray = planes.mean(axis=0)
    across, down = np.diff(gray, axis=2), np.diff(gray, axis=1)
    both = np.concatenate([gradient.reshape(len(pixels), -1) for gradient in (across, down)], axis=1)
    columns = [
        *planes.mean(axis=(2, 3)),
        *planes.std(axis=(2, 3)),
        np.abs(across).mean(axis=(1, 2)),
        np.abs(down).mean(axis=(1, 2)),
        both.std(axis=1),
        (planes.max(axis=0) - planes.min(axis=0)).mean(axis=(1, 2)),
        (np.abs(both) > EDGE).mean(axis=1, dtype=np.float32),
    ]
    return np.stack(columns, axis=1)


def thumbnails(pixels: np.ndarray) -> np.ndarray:
    """float32 (N, 768): the pixels of each uint8 image (N, side, side, 3) made 16 x 16, antialiased, less 128.

    Whole numbers about zero, so that sums of 768 of their products fit float32 and distances are exact.
    """
    small = np.stack([image_io.resize_and_crop(image, THUMBNAIL) for image in pixels])
    return small.reshape(len(small), -1).astype(np.float32) - 128


def scaled(near: np.ndarray, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (N, D) with each number's mean taken off and divided by its deviation, as the first has them."""
    mean, deviation = near.mean(axis=0), near.std(axis=0)
    deviation = np.where(
        deviation > 0, deviation, 1
    )  # a number that never varies, such as grey's colorfulness
    return (near - mean) / deviation, (far - mean) / deviation


def nearest(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """For each of `far` (M, D) the row of `near` (N, D) at the smallest Euclidean distance; the first of equal ones."""
    half = (near**2).sum(axis=1) / 2
    chunks = (far[first : first + CHUNK] for first in range(0, len(far), CHUNK))
    # |n - f|^2 / 2 less |f|^2 / 2, which is the same for all of near: one matrix product does the work.
    return np.concatenate([np.argmin(half[None, :] - chunk @ near.T, axis=1) for chunk in chunks])


def _described(
    records: Records, numbers: np.ndarray, threads: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Statistics and thumbnails (N, D) of those records, and their labels (N,)."""

    def of_some(first: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        some = [records[int(number)] for number in numbers[first : first + AT_ONCE]]
        pixels = np.stack([image for image, _, _ in some])
        return statistics(pixels), thumbnails(pixels), [label for _, label, _ in some]

    with ThreadPoolExecutor(max(1, threads)) as pool:
        parts = list(pool.map(of_some, range(0, len(numbers), AT_ONCE)))
    described = {
        'statistics': np.concatenate([part[0] for part in parts]),
        'pixels': np.concatenate([part[1] for part in parts]),
    }
    return described, np.concatenate([part[2] for part in parts])
