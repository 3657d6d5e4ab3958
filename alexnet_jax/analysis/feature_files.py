"""Files of features: a folder with one memory-mapped .npy file per layer, and two JSON files that say what is in them.

    features.json   network, checkpoint, SHA-256 of the weights, layers with their shapes, preprocessing, images
    images.json     'id' and 'label' (-1: not known) of every row
    <layer>.npy     (images, ...) float32 or float16, one row for each image in the order of images.json

The folder is complete if features.json is there: it is written last. Until then the rows are appended to files with
the ending .partial, and progress.json says how many of them count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Shape
from alexnet_jax.runtime import atomic_io

FEATURES_FILE, IMAGES_FILE, PROGRESS_FILE = 'features.json', 'images.json', 'progress.json'
PARTIAL, LOCK_FILE = '.partial', '.writing'
FORMAT_VERSION = 1
# Between two records of progress, each of which waits for the disk; a kill loses what came since.
SECONDS_BETWEEN_RECORDS = 10.0


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
            array = np.load(path, mmap_mode='r')
        except (OSError, ValueError) as error:
            raise UserError(f'{path} cannot be read ({error}); {_again_advice(self.directory)}') from error
        expected = (len(self), *self.metadata['layers'][layer])
        if array.shape != expected:
            raise UserError(
                f'{path} has the shape {array.shape} instead of {expected}; {_again_advice(self.directory)}'
            )
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
        raise UserError(f'The features in {directory} cannot be read ({error}); {_again_advice(folder)}') from error
    return FeatureFiles(folder, metadata, ids, labels)


class FeatureWriter:
    """Appends features to a folder, batch by batch; after a kill another one goes on behind the last recorded batch.

    Use it in a `with`, which leaves what was appended in order. `is_complete`: there is nothing left to do.
    `images_done` counts those read so far, `unreadable` are the sentences about those of them that could not be.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        metadata: Mapping[str, Any],
        shapes: Mapping[str, Shape],
        dtype: str,
        *,
        num_images: int,
        notes: Mapping[str, str] | None = None,
    ):
        """Prepare to write features of layers, whose `shapes` are those of one image.

        `metadata` is all that decides them; `notes` are kept beside it and may differ when a writer goes on.
        """
        self.directory, self._shapes, self._dtype = Path(directory), dict(shapes), np.dtype(dtype)
        # As it is read back.
        self._metadata: dict[str, Any] = json.loads(json.dumps({**metadata, 'format': FORMAT_VERSION}))
        self._num_images, self._notes = num_images, dict(notes or {})
        self.is_complete, self.images_done, self._rows = False, 0, 0
        self.unreadable: list[str] = []
        self._open_files: dict[str, IO[bytes]] = {}
        self._stack = contextlib.ExitStack()
        self._last_record = time.monotonic()

    def __enter__(self) -> FeatureWriter:
        """Lock the folder, made if missing, and open its files behind the last recorded batch.

        Raises UserError if it holds features of other metadata, another process writes there, or the disk is too small.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f'{self.directory} cannot be created ({error.strerror}); choose another --config.features.directory.'
            ) from error
        self.is_complete = (self.directory / FEATURES_FILE).exists()
        with contextlib.ExitStack() as stack:
            if not self.is_complete:
                message = f'Another process writes features to {self.directory}; wait, or choose another folder.'
                stack.enter_context(atomic_io.lock_file(self.directory / LOCK_FILE, message))
                atomic_io.clean_temp(self.directory)
            state = self._read_state()
            self.images_done, self._rows = state['images_done'], state['rows']
            self.unreadable = list(state['unreadable'])
            if not self.is_complete:
                self._require_space(self._num_images - self.images_done)
                self._open_all(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Record what was appended, unless the disk is what failed, and close the files."""
        if self.is_complete:
            return
        try:
            if not isinstance(error, OSError):
                self.record_progress()
        finally:
            self._close()

    def append(
        self,
        features: Mapping[str, np.ndarray],
        ids: Sequence[str],
        labels: Sequence[int],
        unreadable: Sequence[str] = (),
    ) -> None:
        """Append a batch: rows (n, ...) by layer, ids and labels of the n images, and why others were left out."""
        for layer, values in features.items():
            self._open_files[layer].write(np.ascontiguousarray(values, self._dtype).data)
        lines = [json.dumps([name, int(label)]) + '\n' for name, label in zip(ids, labels, strict=True)]
        self._open_files[IMAGES_FILE].write(''.join(lines).encode())
        self._rows += len(ids)
        self.images_done += len(ids) + len(unreadable)
        self.unreadable += unreadable
        if time.monotonic() - self._last_record > SECONDS_BETWEEN_RECORDS:
            self.record_progress()

    def record_progress(self) -> None:
        """Wait until all rows are on the disk, and record that they count."""
        for file in self._open_files.values():
            file.flush()
            os.fsync(file.fileno())
        atomic_io.write_json(self.directory / PROGRESS_FILE, {**self._state(), 'images_done': self.images_done})
        self._last_record = time.monotonic()

    def finish(self) -> None:
        """Make the folder complete: rename the files, and write the two JSON files."""
        self.record_progress()
        rows = [json.loads(line) for line in _partial_path(self.directory / IMAGES_FILE).read_bytes().splitlines()]
        for layer in self._shapes:
            self._open_files[layer].seek(0)
            self._open_files[layer].write(self._header(layer, self._rows))
        self._close()
        for layer in self._shapes:
            atomic_io.replace_file(_partial_path(layer_file(self.directory, layer)), layer_file(self.directory, layer))
        images = {'id': [name for name, _ in rows], 'label': [label for _, label in rows]}
        atomic_io.write_json(self.directory / IMAGES_FILE, images)
        atomic_io.write_json(self.directory / FEATURES_FILE, self._state())
        self.is_complete = True
        for name in (PROGRESS_FILE, f'{IMAGES_FILE}{PARTIAL}', LOCK_FILE):
            (self.directory / name).unlink(missing_ok=True)

    def _state(self) -> dict[str, Any]:
        return {**self._metadata, 'notes': self._notes, 'rows': self._rows, 'unreadable': self.unreadable}

    def _read_state(self) -> dict[str, Any]:
        """Return what the folder says of itself. Raises UserError if it is of other features, or of something else."""
        file = self.directory / (FEATURES_FILE if self.is_complete else PROGRESS_FILE)
        try:
            state = json.loads(file.read_text())
            state.setdefault('images_done', state['rows'] + len(state['unreadable']))
        except FileNotFoundError:
            if taken := [path for path in map(self._final, self._shapes) if path.exists()]:
                raise UserError(
                    f'{taken[0]} exists and is not of this mode; choose another --config.features.directory.'
                ) from None
            return {'images_done': 0, 'rows': 0, 'unreadable': []}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f'{file} cannot be read ({error}); {_again_advice(self.directory)}') from error
        if changed := [name for name, value in self._metadata.items() if state.get(name) != value]:
            raise UserError(
                f'{self.directory} holds other features: {", ".join(changed)} differ. Choose another '
                '--config.features.directory, or delete that folder.'
            )
        return state

    def _final(self, layer: str) -> Path:
        return layer_file(self.directory, layer)

    def _require_space(self, images: int) -> None:
        numbers = sum(map(math.prod, self._shapes.values()))
        atomic_io.require_free_space(
            self.directory,
            images * numbers * self._dtype.itemsize,
            subject=f'{numbers:,} numbers for each of {images:,} images',
            hint='choose fewer layers, --config.features.space=mean, or --config.features.directory on another disk',
        )

    def _header(self, layer: str, rows: int) -> bytes:
        """Return the head of a .npy file, which has the same length for any number of rows."""
        head = io.BytesIO()
        content = {'descr': self._dtype.str, 'fortran_order': False, 'shape': (rows, *self._shapes[layer])}
        np.lib.format.write_array_header_1_0(head, content)
        return head.getvalue()

    def _open_all(self, stack: contextlib.ExitStack) -> None:
        for layer, shape in self._shapes.items():
            head = self._header(layer, 0)
            kept = len(head) + self._rows * math.prod(shape) * self._dtype.itemsize
            self._open_files[layer] = self._open_partial_path(stack, layer_file(self.directory, layer), kept, head)
        path = self.directory / IMAGES_FILE
        lines = _partial_path(path).read_bytes().splitlines(keepends=True) if self._rows else []
        self._open_files[IMAGES_FILE] = self._open_partial_path(stack, path, sum(map(len, lines[: self._rows])), b'')

    def _open_partial_path(self, stack: contextlib.ExitStack, path: Path, kept: int, head: bytes) -> IO[bytes]:
        """Return the unfinished file, cut to the first `kept` bytes, of which a new one has the `head` alone."""
        partial = _partial_path(path)
        if self._rows and not partial.exists() and path.exists():
            # It was renamed by a `finish` that did not end.
            os.replace(path, partial)
        file = stack.enter_context(open(partial, 'r+b' if self._rows else 'w+b'))
        if self._rows and os.path.getsize(partial) < kept:
            raise UserError(f'{partial} is shorter than {PROGRESS_FILE} says; {_again_advice(self.directory)}')
        if not self._rows:
            file.write(head)
        file.truncate(kept)
        file.seek(kept)
        return file

    def _close(self) -> None:
        self._open_files = {}
        self._stack.close()


def _partial_path(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _again_advice(directory: Path) -> str:
    return f'delete {directory} and extract them again.'
