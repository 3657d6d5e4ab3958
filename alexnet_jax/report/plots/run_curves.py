"""Curves of one or several runs laid over each other: a line for each kind of run, its seeds as a band."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_jax.report.plots import style
from alexnet_jax.report.plots.run import read_series, smooth_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What rows of metrics.jsonl have, and what the axes say.
SERIES_NAMES: Mapping[str, str] = {
    'loss': 'training loss (nats)',
    'validation_loss': 'validation loss (nats)',
    'top1_error': 'training top-1 error (%)',
    'validation_top1_error': 'validation top-1 error (%)',
}
# Points to which the curves of several seeds are interpolated.
POINTS = 200


@dataclasses.dataclass(frozen=True)
class CurveBand:
    """A number of several seeds by epoch: float64 arrays of one length, and how many seeds they are of."""

    epoch: np.ndarray
    mean: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    seeds: int


def make_band(runs: Sequence[Sequence[Mapping[str, Any]]], series: str) -> CurveBand | None:
    """Return mean, smallest and largest of one of SERIES_NAMES over the runs' rows; None if none has it.

    One run keeps its own epochs, smoothed where there are many; several are interpolated up to the end of the shortest.
    """
    curves = [smooth_series(*read_series(rows, series)) for rows in runs]
    curves = [(epochs, values) for epochs, values in curves if len(epochs)]
    if not curves:
        return None
    if len(curves) == 1:
        ((epochs, values),) = curves
        return CurveBand(epochs, values, values, values, 1)
    first, last = max(epochs[0] for epochs, _ in curves), min(epochs[-1] for epochs, _ in curves)
    longest = max(len(epochs) for epochs, _ in curves)
    grid = np.linspace(first, last, min(POINTS, longest)) if last > first else np.array([last])
    stacked = np.stack([np.interp(grid, epochs, values) for epochs, values in curves])
    return CurveBand(grid, stacked.mean(axis=0), stacked.min(axis=0), stacked.max(axis=0), len(curves))


def plot_run_curves(
    groups: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    file: style.FilePath,
    *,
    num_classes: int,
    title: str = 'Training',
) -> dict[str, dict[str, CurveBand]]:
    """Plot the losses and errors of each group of runs, which differ in their seed alone; return what was plotted.

    `groups` has by name the rows of metrics.jsonl of each run. Bands go from the smallest to the largest of the seeds.
    """
    bands = {
        name: {series: band for series in SERIES_NAMES if (band := make_band(runs, series)) is not None}
        for name, runs in groups.items()
    }
    several = max((len(runs) for runs in groups.values()), default=1) > 1
    subtitle = 'training: augmented images, with dropout; validation: center view, without'
    subtitle += '; lines are means over seeds, bands go from the smallest to the largest' * several
    figure = style.make_figure(10.5, 7.4, title, subtitle)
    grid = figure.add_gridspec(2, 2, left=0.065, right=0.98, top=0.86, bottom=0.13, hspace=0.32, wspace=0.18)
    for number, (series, label) in enumerate(SERIES_NAMES.items()):
        axes = figure.add_subplot(grid[number % 2, number // 2])
        scale = 100 if 'error' in series else 1
        for place, (name, by_series) in enumerate(bands.items()):
            if band := by_series.get(series):
                _plot_band(axes, band, place, name, scale)
        chance = 100 * (1 - 1 / num_classes) if scale == 100 else np.log(num_classes)
        axes.axhline(chance, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            'chance', (1, chance), xycoords=axes.get_yaxis_transform(), xytext=(-2, 2), textcoords='offset points',
            ha='right', va='bottom', color=style.MUTED, fontsize=8.5,
        )  # fmt: skip
        style.style_axes(axes, grid='y')
        axes.set_title(label, loc='left', color=style.TEXT, fontsize=10.5, fontweight='bold', pad=5)
        # A jump at the start would flatten all the rest.
        axes.set_ylim(0, min(1.08 * max(axes.dataLim.y1, chance), 3 * chance))
        axes.set_xlim(left=0)
        axes.tick_params(labelsize=9)
        if number % 2:
            axes.set_xlabel('epoch', color=style.MUTED, fontsize=9.5)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc='lower left', bbox_to_anchor=(0.05, 0.0), ncols=min(3, max(1, len(labels))), frameon=False,
        fontsize=9.5, labelcolor=style.TEXT,
    )  # fmt: skip
    style.save_figure(figure, file)
    return bands


def _plot_band(axes: Axes, band: CurveBand, place: int, name: str, scale: float) -> None:
    """Plot a line with markers of its own, for readers who cannot tell its color, and the band around it."""
    color, marker = style.SERIES[place % len(style.SERIES)], style.MARKERS[place % len(style.MARKERS)]
    label = style.shorten_run_name(name, 60) + f', {band.seeds} seeds' * (band.seeds > 1)
    if band.seeds > 1:
        axes.fill_between(band.epoch, scale * band.lowest, scale * band.highest, color=color, alpha=0.18, linewidth=0)
    axes.plot(
        band.epoch, scale * band.mean, color=color, linewidth=1.8, label=label, marker=marker, markersize=4.5,
        markevery=max(1, len(band.epoch) // 8),
    )  # fmt: skip
