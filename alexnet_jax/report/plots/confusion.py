"""Which classes are taken for which: a matrix that stays readable at 1,000 classes, and the worst pairs by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alexnet_jax.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Rows and columns that have names.
MAX_NAMED = 30
MAX_PAIRS = 20
# Inches.
MIN_CELL, MAX_CELL, MATRIX = 0.27, 0.45, 4.6
NAME_WIDTH, PAIR_WIDTH, PAIR_HEIGHT, TOP, MARGIN = 1.9, 4.6, 0.235, 0.95, 0.3


def plot_confusions(
    counts: np.ndarray,
    groups: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int, int, float]],
    class_names: Sequence[str],
    file: style.FilePath,
    *,
    title: str = 'What is taken for what',
    subtitle: str = '',
) -> None:
    """Draw the matrix of groups of classes, and at its right the most frequent errors as bars with names.

    `counts` is (groups, groups), images by the group of their class (rows) and of the prediction; `groups` are the
    labels in each. A cell's darkness is its share of the row. `pairs` are (label, predicted, count, share of the images
    of that label).
    """
    pairs, side = pairs[:MAX_PAIRS], len(groups) * min(MAX_CELL, max(MIN_CELL, MATRIX / len(groups)))
    names = [_name_group(group, class_names) for group in groups]
    width = 2 * MARGIN + NAME_WIDTH + side + 0.5 + PAIR_WIDTH
    height = TOP + max(side + 1.75, 0.6 + len(pairs) * PAIR_HEIGHT) + MARGIN
    figure = style.make_figure(width, height, title, subtitle)
    axes = style.place_axes(figure, MARGIN + NAME_WIDTH, TOP, side, side)
    _draw_matrix(axes, counts, names)
    if pairs:
        list_axes = style.place_axes(
            figure, MARGIN + NAME_WIDTH + side + 0.5, TOP, PAIR_WIDTH, 0.35 + len(pairs) * PAIR_HEIGHT
        )
        _list_pairs(list_axes, pairs, class_names)
    style.save_figure(figure, file)


def _name_group(group: Sequence[int], class_names: Sequence[str]) -> str:
    if len(group) == 1:
        return style.truncate_name(class_names[group[0]], 20)
    return f'{style.truncate_name(class_names[group[0]], 13)} + {len(group) - 1}'


def _draw_matrix(axes: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw the shares of each row, with numbers where the cells are few."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    # The square root shows one percent beside ninety.
    axes.imshow(np.sqrt(shares), cmap='Blues', vmin=0, vmax=1, aspect='auto')
    axes.set_axis_on()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8.5, colors=style.TEXT, labelbottom=True)
    options = {'fontsize': 8.5, 'color': style.TEXT, 'parse_math': False}
    axes.set_xticks(range(len(names)), names, rotation=90, **options)
    axes.set_yticks(range(len(names)), names, **options)
    axes.set_xlabel('predicted', color=style.MUTED, fontsize=9.5)
    axes.set_ylabel('class', color=style.MUTED, fontsize=9.5)
    for row, column in zip(*np.nonzero(shares > 0.005), strict=True):
        share = shares[row, column]
        color = 'white' if share > 0.35 else style.TEXT
        axes.text(column, row, f'{100 * share:.0f}', ha='center', va='center', fontsize=7.5, color=color)


def _list_pairs(axes: Axes, pairs: Sequence[tuple[int, int, int, float]], class_names: Sequence[str]) -> None:
    """Draw a bar for each pair, as long as the share of the class that is taken for the other."""
    longest = max(share for *_, share in pairs)
    axes.set(xlim=(0, 1), ylim=(len(pairs) - 0.4, -1.6))
    axes.text(0, -1.1, 'The most frequent errors: class, and what it was taken for', color=style.TEXT, fontsize=10)
    for place, (label, predicted, count, share) in enumerate(pairs):
        text = f'{style.truncate_name(class_names[label], 17)} \N{RIGHTWARDS ARROW} '
        text += style.truncate_name(class_names[predicted], 17)
        axes.text(0, place, text, va='center', fontsize=9, color=style.TEXT, parse_math=False)
        axes.barh(place, 0.2 * share / longest, 0.62, left=0.62, color=style.WRONG)
        times = f'{count:,} ({100 * share:.0f} %)'
        axes.text(0.63 + 0.2 * share / longest, place, times, va='center', fontsize=8.5, color=style.MUTED)
