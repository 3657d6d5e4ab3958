"""Errors by class: a CSV file, and the worst classes as lines for a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexnet_jax.evaluate.metrics import TOP_K
from alexnet_jax.report.csv_file import write_csv
from alexnet_jax.report.text import format_percent

CLASS_ERRORS_FILE = 'errors_by_class.csv'


class ClassErrors(NamedTuple):
    """The errors (0 to 1) on the images of one class, and the other class that they were most often taken for."""

    name: str
    images: int
    top1_error: float
    top5_error: float
    confused_with: str  # empty if none was
    confusions: int  # images that were taken for it


def count_class_errors(
    class_names: Sequence[str], labels: np.ndarray, predicted: np.ndarray, ranks: np.ndarray
) -> list[ClassErrors]:
    """Return the errors of every class that has images, in the order of the classes.

    `labels`, `predicted` and `ranks` int (N,): right class, answer, and how many other classes were as probable as the
    right one or more.
    """
    rows = []
    for number, name in enumerate(class_names):
        chosen = labels == number
        if not (images := int(chosen.sum())):
            continue
        wrong = predicted[chosen & (predicted != number)]
        counts = np.bincount(wrong, minlength=len(class_names))
        other = int(counts.argmax())
        rows.append(
            ClassErrors(
                name,
                images,
                float(np.mean(ranks[chosen] >= 1)),
                float(np.mean(ranks[chosen] >= min(TOP_K, len(class_names)))),
                class_names[other] if len(wrong) else '',
                int(counts[other]),
            )
        )
    return rows


def write_class_errors(folder: str | os.PathLike[str], rows: Sequence[ClassErrors]) -> Path:
    """Write the rows into `folder` atomically; return the file's path."""
    file = Path(folder) / CLASS_ERRORS_FILE
    write_csv(file, [row._asdict() for row in rows])
    return file


def describe_worst_classes(rows: Sequence[ClassErrors], count: int = 3) -> str:
    """Return a sentence about the `count` classes with the largest top-1 errors; '' if no image was wrong."""
    worst = [row for row in sorted(rows, key=lambda row: -row.top1_error)[:count] if row.top1_error]
    parts = [
        f'{row.name} {format_percent(row.top1_error)} of {row.images:,}'
        + (f' ({row.confusions:,} taken for {row.confused_with})' if row.confused_with else '')
        for row in worst
    ]
    return f'Most top-1 errors: {"; ".join(parts)}.' if parts else ''
