"""Event files for TensorBoard, by tensorboardX: scalars under grouped tags, pictures and texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# Keys of metrics.jsonl that TensorBoard's users know by another name.
_NAMES = {'rate': 'learning_rate', 'next_rate': 'next_learning_rate'}
_VALIDATION = 'validation_'


def metric_tag(key: str) -> str:
    """Return the tag of a key of metrics.jsonl: 'train/loss', 'validation/top1_error'."""
    if key.startswith(_VALIDATION):
        return f'validation/{key.removeprefix(_VALIDATION)}'
    return f'train/{_NAMES.get(key, key)}'


def timing_tag(key: str) -> str:
    """Return the tag of a key of timings.jsonl: 'time/images_per_second'."""
    return f'time/{key}'


class EventWriter:
    """An event file. Making one imports tensorboardX, which takes a third of a second."""

    def __init__(self, directory: str | os.PathLike[str], *, purge_step: int | None = None):
        """Write into `directory`; with a `purge_step` TensorBoard forgets what older files have from that step on."""
        import tensorboardX

        self._writer = tensorboardX.SummaryWriter(os.fspath(directory), purge_step=purge_step, flush_secs=10)

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add numbers by tag."""
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Add a text in Markdown."""
        self._writer.add_text(tag, text, step)

    def add_picture(self, step: int, tag: str, file: str | os.PathLike[str]) -> None:
        """Add the picture in a PNG."""
        from PIL import Image

        with Image.open(Path(file), formats=['PNG']) as picture:
            self._writer.add_image(tag, np.asarray(picture.convert('RGB')), step, dataformats='HWC')

    def flush(self) -> None:
        """Wait until all that was added is on the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
