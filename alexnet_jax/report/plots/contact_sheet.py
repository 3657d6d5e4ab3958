"""The contact sheet of a dataset: training images of some classes as the network will see them, and their mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alexnet_jax.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CLASSES = 14
IMAGES_PER_CLASS = 7
# Inches.
NAME_WIDTH = 1.55
IMAGE_SIZE = 0.95
GAP = 0.07
MARGIN = 0.3
TOP = 0.85
MEAN_SIZE = 2.4


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """A class: its name, the number of its training images, and some of them, uint8 (n, crop, crop, 3)."""

    name: str
    count: int
    images: Sequence[np.ndarray]


def select_classes(counts: Sequence[int], max_classes: int = MAX_CLASSES) -> list[int]:
    """Return the labels to show of classes with that many images: all, or some from the smallest to the largest."""
    order = np.argsort(counts, kind='stable')
    if len(order) <= max_classes:
        return list(range(len(counts)))
    places = np.linspace(0, len(order) - 1, max_classes).round().astype(int)
    return [int(label) for label in order[places]]


def draw_contact_sheet(
    rows: Sequence[ClassRow], mean: np.ndarray, max_count: int, file: style.FilePath, *, title: str, subtitle: str
) -> None:
    """Draw a row for each class, its bar as long as its share of `max_count`; the mean image at the right."""
    across = max((len(row.images) for row in rows), default=1)
    width = 2 * MARGIN + NAME_WIDTH + across * (IMAGE_SIZE + GAP) + MARGIN + MEAN_SIZE
    height = TOP + max(len(rows) * (IMAGE_SIZE + GAP), MEAN_SIZE + 0.4) + MARGIN
    figure = style.make_figure(width, height, title, subtitle)

    def add_axes(left: float, top: float, wide: float, high: float) -> Axes:
        axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        axes.set_axis_off()
        return axes

    for number, row in enumerate(rows):
        top = TOP + number * (IMAGE_SIZE + GAP)
        label = add_axes(MARGIN, top, NAME_WIDTH, IMAGE_SIZE)
        label.set(xlim=(0, 1), ylim=(0, 1))
        options = {'va': 'center', 'parse_math': False}
        label.text(0, 0.68, style.truncate_name(row.name, 19), color=style.TEXT, fontsize=9, **options)
        count = f'{row.count:,} image{"s" * (row.count != 1)}'
        label.text(0, 0.42, count, color=style.MUTED, fontsize=8, **options)
        for length, color in ((1.0, style.GRID), (row.count / max(max_count, 1), style.TRAIN)):
            label.barh(0.2, 0.88 * length, height=0.07, color=color)
        for place, image in enumerate(row.images):
            left = MARGIN + NAME_WIDTH + place * (IMAGE_SIZE + GAP)
            add_axes(left, top, IMAGE_SIZE, IMAGE_SIZE).imshow(image)
    axes = add_axes(width - MARGIN - MEAN_SIZE, TOP, MEAN_SIZE, MEAN_SIZE)
    axes.imshow(np.clip(np.rint(mean), 0, 255).astype(np.uint8))
    red, green, blue = mean.mean(axis=(0, 1))
    note = f'the mean image: red {red:.0f}, green {green:.0f}, blue {blue:.0f}'
    axes.text(0, -0.04, note, color=style.MUTED, fontsize=8, va='top', transform=axes.transAxes)
    style.save_figure(figure, file)
