"""Images in a fixed order, from files or from a prepared dataset, and batches of them read ahead by threads."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from alexnet_jax.data.dataset import Dataset, RecordSource
from alexnet_jax.data.image_io import UnreadableImage
from alexnet_jax.evaluate.predict import find_image_files, read_center_square

NO_LABEL = -1  # of an image whose class is not known
BATCHES_AHEAD = 2  # being read while one is computed

# Image (uint8 (side, side, 3)), label, id; or why it cannot be read.
LabelledImage = tuple[np.ndarray, int, str]


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


class ImageFiles(RecordSource):
    """Image files as records: prepared as a dataset's images are, labelled by the name of their folder.

    The id is the path below `folder`, or the path as it is without one. The label is that of the class with the name,
    or one of the names, of the file's own folder, else NO_LABEL.
    """

    def __init__(self, files: Sequence[str], folder: str, image_size: int, class_names: Sequence[str]):
        self.files, self._folder, self._image_size = files, folder, image_size
        self._labels = {name: label for label, name in enumerate(class_names)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, record: int) -> LabelledImage:
        """Return the image, its label and its id. Raises UnreadableImage."""
        pixels = read_center_square(self.files[record], self._image_size)
        return pixels, self._labels.get(Path(self.files[record]).parent.name, NO_LABEL), self.id(record)

    def id(self, record: int) -> str:
        """Return the name by which the image is known in files of features."""
        path = self.files[record]
        return Path(path).relative_to(self._folder).as_posix() if self._folder else path


def image_files_set(paths: Sequence[str], image_size: int, class_names: Sequence[str]) -> ImageSet:
    """Return the images of files and folders, in the order of `find_image_files`: sorted by path in each folder.

    The digest is over ids, sizes and times of modification. Raises UserError as `find_image_files` does.
    """
    found = find_image_files(paths)
    folder = os.path.expanduser(paths[0]) if len(paths) == 1 and os.path.isdir(os.path.expanduser(paths[0])) else ''
    records = ImageFiles(found.files, folder, image_size, class_names)
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


def read_batches(
    records: RecordSource, batch_size: int, *, first: int = 0, threads: int = 1
) -> Iterator[list[LabelledImage | UnreadableImage]]:
    """Yield the images in order, `batch_size` at a time from batch `first` on, or why they cannot be read.

    `threads` read ahead, at most BATCHES_AHEAD batches.
    """

    def read(number: int) -> LabelledImage | UnreadableImage:
        try:
            return records[number]
        except UnreadableImage as error:
            return error

    pending: collections.deque[list[Future]] = collections.deque()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(first * batch_size, len(records), batch_size):
            numbers = range(start, min(start + batch_size, len(records)))
            pending.append([pool.submit(read, number) for number in numbers])
            if len(pending) > BATCHES_AHEAD:
                yield [future.result() for future in pending.popleft()]
        while pending:
            yield [future.result() for future in pending.popleft()]
