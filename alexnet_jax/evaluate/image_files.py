"""Image files as records, prepared as a dataset's images are, and batches of records read ahead by threads."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.data.image_io import UnreadableImage

NO_LABEL = -1  # of an image whose class is not known
BATCHES_AHEAD = 2  # being read while one is computed

# Image (uint8 (side, side, 3)), label, id.
LabelledImage = tuple[np.ndarray, int, str]


class ImageFiles(RecordSource):
    """Image files as records: prepared as a dataset's images are, labelled by the name of their folder.

    The id is the path below `folder`, or the path as it is without one. The label is that of the class with the name,
    or one of the names, of the file's own folder, else NO_LABEL. `upright`: turned as their EXIF says.
    """

    def __init__(
        self, files: Sequence[str], folder: str, image_size: int, class_names: Sequence[str], *, upright: bool = True
    ):
        self.files, self._folder, self._image_size, self._upright = files, folder, image_size, upright
        self._labels = {name: label for label, name in enumerate(class_names)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, record: int) -> LabelledImage:
        """Return the image, its label and its id. Raises UnreadableImage."""
        pixels = read_center_square(self.files[record], self._image_size, upright=self._upright)
        return pixels, self._labels.get(Path(self.files[record]).parent.name, NO_LABEL), self.id(record)

    def id(self, record: int) -> str:
        """Return the name by which the image is known in files of features."""
        path = self.files[record]
        return Path(path).relative_to(self._folder).as_posix() if self._folder else path


def read_center_square(file: str, image_size: int, *, upright: bool = True) -> np.ndarray:
    """Return an image file's center square, uint8 (image_size, image_size, 3), turned as its EXIF says if `upright`.

    Raises UnreadableImage.
    """
    try:
        with open(file, 'rb') as opened:
            data = opened.read(image_io.MAX_FILE_BYTES + 1)  # one more than the decoder accepts: it raises
    except OSError as error:
        raise UnreadableImage(f'{file} cannot be read ({error.strerror}).') from error
    return image_io.decode_center_square(data, image_size, name=file, upright=upright)[0]


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
