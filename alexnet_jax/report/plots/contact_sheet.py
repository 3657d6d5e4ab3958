"""The contact sheet of a dataset: a few training images of some classes as the network will see them, and their mean.

Draws what it is given; where images and counts come from it does not know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.report.plots.run import (
    DPI,
    GRID,
    MUTED,
    TEXT,
    TRAIN,
    File,
    draw_title,
    save_figure,
    truncate_name,
)

MAX_CLASSES, IMAGES_PER_CLASS = 14, 7  # classes on a sheet, and images of each
NAME, SIDE, GAP, EDGE, TOP, MEAN = 1.55, 0.95, 0.07, 0.3, 0.85, 2.4  # inches


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """A class: what it is called, its training images in all, and some of them, uint8 (n, crop, crop, 3)."""

    name: str
    count: int
    images: Sequence[np.ndarray]


def select_classes(counts: Sequence[int], rows: int = MAX_CLASSES) -> list[int]:
    """Which classes to show of those with so many images: all, or some from the smallest to the largest."""
    order = np.argsort(counts, kind='stable')
    if len(order) <= rows:
        return list(range(len(counts)))
    return [int(label) for label in order[np.linspace(0, len(order) - 1, rows).round().astype(int)]]


def draw_contact_sheet(
    rows: Sequence[ClassRow], mean: np.ndarray, largest: int, file: File, *, title: str, subtitle: str
) -> None:
    """A row for each class, its bar as long as its share of the `largest` class; at the right the mean image."""
    across = max((len(row.images) for row in rows), default=1)
    wide = 2 * EDGE + NAME + across * (SIDE + GAP) + EDGE + MEAN
    high = TOP + max(len(rows) * (SIDE + GAP), MEAN + 0.4) + EDGE
    figure = Figure(figsize=(wide, high), dpi=DPI, facecolor='white')
    draw_title(figure, title, subtitle)

    def axes(left: float, down: float, width: float, height: float) -> Axes:
        made = figure.add_axes((left / wide, 1 - (down + height) / high, width / wide, height / high))
        made.set_axis_off()
        return made

    for number, row in enumerate(rows):
        down = TOP + number * (SIDE + GAP)
        label = axes(EDGE, down, NAME, SIDE)
        label.set(xlim=(0, 1), ylim=(0, 1))
        text = {'va': 'center', 'parse_math': False}
        label.text(0, 0.68, truncate_name(row.name, 19), color=TEXT, fontsize=9, **text)
        label.text(0, 0.42, f'{row.count:,} image{"s" * (row.count != 1)}', color=MUTED, fontsize=8, **text)
        for length, color in ((1.0, GRID), (row.count / max(largest, 1), TRAIN)):
            label.barh(0.2, 0.88 * length, height=0.07, color=color)
        for place, image in enumerate(row.images):
            axes(EDGE + NAME + place * (SIDE + GAP), down, SIDE, SIDE).imshow(image)
    shown = axes(wide - EDGE - MEAN, TOP, MEAN, MEAN)
    shown.imshow(np.clip(np.rint(mean), 0, 255).astype(np.uint8))
    red, green, blue = mean.mean(axis=(0, 1))
    note = f'the mean image: red {red:.0f}, green {green:.0f}, blue {blue:.0f}'
    shown.text(0, -0.04, note, color=MUTED, fontsize=8, va='top', transform=shown.transAxes)
    save_figure(figure, file)
