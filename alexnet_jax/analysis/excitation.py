"""The images that excite a map most (Zeiler and Fergus 2014), found in one pass with bounded memory.

N images, M maps, K kept of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Excitations(NamedTuple):
    """The K images of each map with its largest activation, the largest first; of equal ones the first image."""

    rows: np.ndarray  # int64 (M, K), the number of the image
    values: np.ndarray  # float32 (M, K)
    places: np.ndarray  # int64 (M, K, 2), row and column of the largest activation; zeros for dense layers


def find_most_exciting(batches: Iterable[np.ndarray], maps: Sequence[int], *, count: int) -> Excitations:
    """Return the `count` images, or as many as there are, with the largest activation of each of the `maps`.

    `batches` are activations in the order of the images, (n, height, width, all maps) or (n, all features).
    """
    rows = np.empty((len(maps), 0), np.int64)
    values, places = np.empty((len(maps), 0), np.float32), np.empty((len(maps), 0, 2), np.int64)
    first = 0
    for batch in batches:
        chosen = batch[..., list(maps)]
        *_, width, _ = chosen.shape if chosen.ndim == 4 else (1, 1, 1)
        flat = chosen.reshape(len(chosen), -1, len(maps))
        largest = flat.argmax(axis=1)
        new = np.take_along_axis(flat, largest[:, None], axis=1)[:, 0].T
        where = np.stack(np.divmod(largest, width), axis=-1).transpose(1, 0, 2)
        numbers = np.broadcast_to(np.arange(first, first + len(batch)), new.shape)
        first += len(batch)
        rows, values = np.concatenate([rows, numbers], axis=1), np.concatenate([values, new], axis=1)
        places = np.concatenate([places, where], axis=1)
        order = np.argsort(-values, axis=1, kind='stable')[:, :count]
        rows, values = np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
        places = np.take_along_axis(places, order[..., None], axis=1)
    return Excitations(rows, values, places)
