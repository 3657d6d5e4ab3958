"""Images in a fixed order, from files or from a prepared dataset, with a checksum of what they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np

from alexnet_jax.data.dataset import Dataset, RecordSource
from alexnet_jax.evaluate.find_images import find_image_files
from alexnet_jax.evaluate.image_files import ImageFiles


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images by number, where they come from, and `digest`, a SHA-256 that changes if any of them does."""

    records: RecordSource
    source: str
    digest: str
    class_names: tuple[str, ...]
    split: str = ''  # of a prepared dataset
    skipped: Sequence[str] = ()  # files of the folders that are no images
    errors: Sequence[str] = ()  # about folders and files that cannot be opened

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.records)

    def find_image(self, name: str, row: int) -> np.ndarray:
        """Return the pixels of the image of that id, which is in that row of a file of features."""
        if isinstance(self.records, ImageFiles):
            # Rows are fewer than files where some could not be read.
            row = next(number for number in range(row, len(self)) if self.records.id(number) == name)
        return self.records[row][0]


def image_files_set(
    paths: Sequence[str], image_size: int, class_names: Sequence[str], *, upright: bool = True
) -> ImageSet:
    """Return the images of files and folders, in the order of `find_image_files`: sorted by path in each folder.

    `upright`: turned as their EXIF says. The digest is over ids, sizes and times of modification. Raises UserError as
    `find_image_files` does.
    """
    found = find_image_files(paths)
    folder = os.path.expanduser(paths[0]) if len(paths) == 1 and os.path.isdir(os.path.expanduser(paths[0])) else ''
    records = ImageFiles(found.files, folder, image_size, class_names, upright=upright)
    digest = hashlib.sha256()
    for number, file in enumerate(found.files):
        status = os.stat(file)
        digest.update(json.dumps([records.id(number), status.st_size, status.st_mtime_ns]).encode())
    source = ','.join(os.path.abspath(os.path.expanduser(path)) for path in paths)
    names = tuple(class_names)
    return ImageSet(records, source, digest.hexdigest(), names, skipped=found.skipped, errors=found.errors)


def dataset_image_set(data: Dataset, split: str) -> ImageSet:
    """Return the images of a split, in the order of its records."""
    digest = hashlib.sha256(json.dumps([data.checksum, split]).encode()).hexdigest()
    return ImageSet(data.split(split), f'{data.directory}, split {split}', digest, data.class_names, split)
