"""The picture of an ablation study: each network's difference from the base, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from alexnet_jax.report.plots import style

ROW_HEIGHT = 0.62  # inches
NAMES_WIDTH = 1.8  # inches


class DifferenceBar(NamedTuple):
    """A row: differences of single seeds, their mean with its interval (NaN: none), and the published one, if any."""

    name: str
    differences: Sequence[float]
    mean: float
    low: float
    high: float
    published: float | None
    verdict: str


def plot_paired_differences(bars: Sequence[DifferenceBar], file: style.FilePath, *, title: str, subtitle: str) -> None:
    """Plot points of top-1 error from the base, the first row at the top; right of zero is worse than the base."""
    height = 2.0 + ROW_HEIGHT * len(bars)
    figure = style.make_figure(10, height, title, subtitle)
    left = NAMES_WIDTH / 10
    axes = figure.add_axes((left, 0.85 / height, 0.97 - left, 1 - 1.75 / height))
    for row, bar in enumerate(bars):
        dots, mean, diamond = axes.plot(
            *(bar.differences, [row + 0.22] * len(bar.differences), 'o'),
            *(bar.mean, row, 'o'),
            *(math.nan if bar.published is None else bar.published, row, 'D'),
        )
        dots.set(ms=3.5, color=style.MUTED)
        mean.set(ms=7, color=style.TRAIN)
        diamond.set(ms=6, mfc='white', mec=style.VALIDATION, mew=1.6, zorder=4)
        axes.plot([bar.low, bar.high], [row] * 2, color=style.TRAIN, lw=2.4, solid_capstyle='butt')
        axes.annotate(
            bar.verdict, (0.003, row - 0.27), xycoords=('axes fraction', 'data'), fontsize=7.5, color=style.MUTED,
            va='center',
        )  # fmt: skip
    axes.axvline(0, color=style.TEXT, lw=1)
    style.style_axes(axes, grid='x')
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=9, color=style.TEXT)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel('points of top-1 error from the base; to the right, worse than it', color=style.MUTED, fontsize=9)
    figure.legend(
        (dots, mean, diamond),
        ('one seed', 'mean and its 95 % interval', 'published'),
        frameon=False,
        fontsize=8.5,
        labelcolor=style.TEXT,
        ncols=3,
        loc='lower left',
        bbox_to_anchor=(0.02, 0.0),
    )
    style.save_figure(figure, file)
