"""Files of features: a folder with one memory-mapped .npy file per layer, and two JSON files that say what is in them.

    features.json   network, checkpoint, SHA-256 of the weights, layers with their shapes, preprocessing, images
    images.json     'id' and 'label' (-1: not known) of every row
    <layer>.npy     (images, ...) float32 or float16, one row for each image in the order of images.json

The folder is complete if features.json is there: it is written last. Until then the rows are appended to files with
the ending .partial, and progress.json says how many of them count.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError

FEATURES_FILE, IMAGES_FILE, PROGRESS_FILE = 'features.json', 'images.json', 'progress.json'
FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class FeatureFiles:
    """Features of a complete folder: rows by layer, memory-mapped, and what is known about them."""

    directory: Path
    metadata: Mapping[str, Any]
    ids: tuple[str, ...]
    labels: np.ndarray  # int32 (N,); -1: not known

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers, in the order in which they were asked for."""
        return tuple(self.metadata['layers'])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __getitem__(self, layer: str) -> np.ndarray:
        """Return (N, ...), read from the disk when it is used. Raises UserError if there is no such layer."""
        if layer not in self.metadata['layers']:
            raise UserError(f'{self.directory} has no features of {layer}; it has {", ".join(self.layers)}.')
        path = layer_file(self.directory, layer)
        try:
            array = np.load(path, mmap_mode='r', allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f'{path} cannot be read ({error}); {again_advice(self.directory)}') from error
        expected = (len(self), *self.metadata['layers'][layer])
        if array.shape != expected:
            raise UserError(f'{path} has the shape {array.shape} instead of {expected}; {again_advice(self.directory)}')
        return array

    def class_name(self, row: int) -> str | None:
        """Return the name of an image's class, None if it is not known."""
        label = int(self.labels[row])
        return None if label < 0 else self.metadata['class_names'][label]

    def column(self, layer: str, column: str) -> np.ndarray:
        """Return (N, ..., maps of that column), `column` being a or b. Raises UserError unless both are there."""
        columns = self.metadata['architecture']['columns']
        if self.metadata['column'] != 'both' or columns == 1:
            raise UserError(
                f'{self.directory} has no two columns: its network has {columns}, and {self.metadata["column"]} was '
                'taken. Extract both columns of a network that has two.'
            )
        array = self[layer]
        return array[..., column_slice(columns, array.shape[-1], column)]


def column_slice(columns: int, maps: int, column: str) -> slice:
    """Return where a column's maps are among all `maps` of an activation; column a's come first."""
    if column == 'both':
        return slice(0, maps)
    each = math.ceil(maps / columns)
    first = each * ('ab'.index(column))
    return slice(first, min(first + each, maps))


def layer_file(directory: str | os.PathLike[str], layer: str) -> Path:
    """Return the path of a layer's features."""
    return Path(directory) / f'{layer}.npy'


def open_features(directory: str | os.PathLike[str]) -> FeatureFiles:
    """Open a complete folder of features. Raises UserError if it is not complete or damaged."""
    folder = Path(directory)
    if not (folder / FEATURES_FILE).exists():
        state = 'unfinished' if (folder / PROGRESS_FILE).exists() else 'no'
        raise UserError(
            f'{directory} has {state} features. Make them, or go on, by python main.py --mode=features --images=... '
            '--layers=... --workdir=RUN.'
        )
    try:
        metadata = json.loads((folder / FEATURES_FILE).read_text())
        images = json.loads((folder / IMAGES_FILE).read_text())
        ids, labels = tuple(images['id']), np.array(images['label'], np.int32)
        if metadata['format'] != FORMAT_VERSION or len(ids) != len(labels) or len(ids) != metadata['rows']:
            raise ValueError('their parts do not fit one another')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'The features in {directory} cannot be read ({error}); {again_advice(folder)}') from error
    return FeatureFiles(folder, metadata, ids, labels)


def again_advice(directory: Path) -> str:
    """Return how the sentence about a damaged folder ends."""
    return f'delete {directory} and extract them again.'
