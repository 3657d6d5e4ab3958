"""Writes files of features (feature_files.py): appended batch by batch, resumed after a kill, complete at last."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from alexnet_jax.analysis.feature_files import (
    FEATURES_FILE,
    FORMAT_VERSION,
    IMAGES_FILE,
    PROGRESS_FILE,
    again_advice,
    layer_file,
)
from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Shape
from alexnet_jax.runtime import atomic_io

PARTIAL, LOCK_FILE = '.partial', '.writing'
# Between two records of progress, each of which waits for the disk; a kill loses what came since.
SECONDS_BETWEEN_RECORDS = 10.0


class Progress(NamedTuple):
    """The part of unfinished files that counts: rows, images read for them, and why some of these have no row."""

    rows: int = 0
    images_done: int = 0
    unreadable: tuple[str, ...] = ()


class FeatureWriter:
    """Appends features to a folder, batch by batch; after a kill another one goes on behind the last recorded batch.

    Use it in a `with`, which leaves what was appended in order. `is_complete`: there is nothing left to do.
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
        self.is_complete = False
        self._progress = Progress()
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
            self._progress = self._read_progress()
            if self.is_complete:
                self._remove_leftovers()
            else:
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

    @property
    def images_done(self) -> int:
        """Return the number of images read so far."""
        return self._progress.images_done

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Return a sentence about each of them that could not be read."""
        return self._progress.unreadable

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
        # In one assignment: a signal may come between any two, and what is recorded then must belong together.
        self._progress = Progress(
            self._progress.rows + len(ids),
            self.images_done + len(ids) + len(unreadable),
            (*self.unreadable, *unreadable),
        )
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
            self._open_files[layer].write(self._header(layer, self._progress.rows))
        self._close()
        for layer in self._shapes:
            atomic_io.replace_file(_partial_path(layer_file(self.directory, layer)), layer_file(self.directory, layer))
        images = {'id': [name for name, _ in rows], 'label': [label for _, label in rows]}
        atomic_io.write_json(self.directory / IMAGES_FILE, images)
        atomic_io.write_json(self.directory / FEATURES_FILE, self._state())
        self.is_complete = True
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        for name in (PROGRESS_FILE, f'{IMAGES_FILE}{PARTIAL}', LOCK_FILE):
            (self.directory / name).unlink(missing_ok=True)

    def _state(self) -> dict[str, Any]:
        return {
            **self._metadata,
            'notes': self._notes,
            'rows': self._progress.rows,
            'unreadable': list(self.unreadable),
        }

    def _read_progress(self) -> Progress:
        """Return what the folder says of itself. Raises UserError if it is of other features, or of something else."""
        file = self.directory / (FEATURES_FILE if self.is_complete else PROGRESS_FILE)
        try:
            state = json.loads(file.read_text())
            rows, unreadable = state['rows'], tuple(state['unreadable'])
            progress = Progress(rows, state.get('images_done', rows + len(unreadable)), unreadable)
        except FileNotFoundError:
            if taken := [path for path in map(self._final, self._shapes) if path.exists()]:
                raise UserError(
                    f'{taken[0]} exists and is not of this mode; choose another --config.features.directory.'
                ) from None
            return Progress()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f'{file} cannot be read ({error}); {again_advice(self.directory)}') from error
        if changed := [name for name, value in self._metadata.items() if state.get(name) != value]:
            raise UserError(
                f'{self.directory} holds other features: {", ".join(changed)} differ. Choose another '
                '--config.features.directory, or delete that folder.'
            )
        return progress

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
            kept = len(head) + self._progress.rows * math.prod(shape) * self._dtype.itemsize
            self._open_files[layer] = self._open_partial(stack, layer_file(self.directory, layer), kept, head)
        path = self.directory / IMAGES_FILE
        lines = _partial_path(path).read_bytes().splitlines(keepends=True) if self._progress.rows else []
        self._open_files[IMAGES_FILE] = self._open_partial(
            stack, path, sum(map(len, lines[: self._progress.rows])), b''
        )

    def _open_partial(self, stack: contextlib.ExitStack, path: Path, kept: int, head: bytes) -> IO[bytes]:
        """Return the unfinished file, cut to the first `kept` bytes, of which a new one has the `head` alone."""
        partial = _partial_path(path)
        if self._progress.rows and not partial.exists() and path.exists():
            # It was renamed by a `finish` that did not end.
            os.replace(path, partial)
        file = stack.enter_context(open(partial, 'r+b' if self._progress.rows else 'w+b'))
        if self._progress.rows and os.path.getsize(partial) < kept:
            raise UserError(f'{partial} is shorter than {PROGRESS_FILE} says; {again_advice(self.directory)}')
        if not self._progress.rows:
            file.write(head)
        file.truncate(kept)
        file.seek(kept)
        return file

    def _close(self) -> None:
        self._open_files = {}
        self._stack.close()


def _partial_path(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)
