"""Specialization of the columns in pictures: kernels by color and orientation, and each difference beside its null."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from alexnet_jax.report.plots import style


class MeasuredDifference(NamedTuple):
    """The difference of the columns' means in one run, its null (permutations,), and its p value."""

    difference: float
    null: np.ndarray
    p_value: float


def plot_specialization(
    color: np.ndarray,
    orientation: np.ndarray,
    differences: Mapping[str, MeasuredDifference],
    file: style.FilePath,
    *,
    title: str = 'Specialization of the columns in conv1',
) -> None:
    """Draw each kernel by its color share and its orientation selectivity, (columns, K), and a histogram of each null.

    `differences` has the tests by the name of their measure.
    """
    subtitle = 'left: one mark for each kernel; right: the measured difference of the columns, and 10,000 shuffles'
    subtitle = subtitle.replace('10,000', f'{len(next(iter(differences.values())).null):,}')
    figure = style.make_figure(10.5, 5.4, title, subtitle)
    grid = figure.add_gridspec(
        len(differences),
        2,
        left=0.07,
        right=0.97,
        top=0.81,
        bottom=0.12,
        width_ratios=(1.15, 1),
        wspace=0.16,
        hspace=0.75,
    )
    axes = figure.add_subplot(grid[:, 0])
    for column, (colors, orientations) in enumerate(zip(color, orientation, strict=True)):
        label = f'column {style.name_column(column)}: means {colors.mean():.2f} and {orientations.mean():.2f}'
        look = {'color': style.SERIES[column % 7], 'marker': style.MARKERS[column % 7]}
        axes.scatter(colors, orientations, s=34, alpha=0.75, linewidths=0, label=label, **look)
        axes.scatter(colors.mean(), orientations.mean(), s=170, edgecolors='white', linewidths=1.5, **look)
    style.style_axes(axes, grid='both')
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_xlabel('color share: squared weights off the gray axis (0 to 1)', color=style.TEXT, fontsize=9.5)
    axes.set_ylabel('orientation selectivity (0 to 1)', color=style.TEXT, fontsize=9.5)
    axes.legend(frameon=False, fontsize=9.5, labelcolor=style.TEXT, loc='upper right')
    for number, (name, measured) in enumerate(differences.items()):
        axes = figure.add_subplot(grid[number, 1])
        axes.hist(measured.null, bins=60, color='#c9cfd6', label='shuffled')
        axes.axvline(measured.difference, color=style.SERIES[1], linewidth=2.5)
        style.style_axes(axes, grid='y')
        axes.set_yticks([])
        axes.set_xlim(0, 1.1 * max(measured.difference, measured.null.max(), 1e-9))
        text = f'{name}: {measured.difference:.3f}, p = {measured.p_value:.2g}'
        axes.set_title(text, loc='left', color=style.TEXT, fontsize=10, fontweight='bold', pad=4)
    axes.set_xlabel("difference of the columns' means (gray: kernels shuffled)", color=style.TEXT, fontsize=9.5)
    style.save_figure(figure, file)


def plot_specialization_of_runs(
    runs: Sequence[tuple[str, Mapping[str, MeasuredDifference]]], file: style.FilePath, *, title: str
) -> None:
    """Draw a row for each run and a panel for each measure: the difference of the columns, and its null in gray.

    `runs` are pairs of a name and its differences, all of the same measures.
    """
    measures = list(runs[0][1])
    subtitle = "difference of the columns' means in conv1; gray: what 95 % of shuffles stay below, line: their mean"
    height = 1.75 + 0.34 * len(runs)
    figure = style.make_figure(11, height, title, subtitle)
    grid = figure.add_gridspec(1, len(measures), left=0.27, right=0.98, top=1 - 1.1 / height, bottom=0.55 / height)
    for number, measure in enumerate(measures):
        axes = figure.add_subplot(grid[0, number])
        for row, (_, differences) in enumerate(runs):
            measured = differences[measure]
            axes.barh(row, np.quantile(measured.null, 0.95), 0.62, color='#dde1e6')
            mean = measured.null.mean()
            axes.plot([mean, mean], [row - 0.31, row + 0.31], color=style.MUTED, linewidth=1.5)
            is_beyond = measured.p_value < 0.05
            axes.plot(
                measured.difference, row, 'o', markersize=8, color=style.SERIES[1 if is_beyond else 0],
                fillstyle='full' if is_beyond else 'none', markeredgewidth=1.8,
            )  # fmt: skip
            axes.annotate(
                f'p {measured.p_value:.2g}', (measured.difference, row), xytext=(7, 0), textcoords='offset points',
                va='center', fontsize=8.5, color=style.TEXT,
            )  # fmt: skip
        style.style_axes(axes, grid='x')
        axes.set_title(measure, loc='left', color=style.TEXT, fontsize=10.5, fontweight='bold')
        names = [textwrap.fill(style.shorten_run_name(name, 60), 34) for name, _ in runs] if number == 0 else []
        axes.set_yticks(range(len(runs)) if number == 0 else [], names, fontsize=8.5, color=style.TEXT)
        axes.set_ylim(len(runs) - 0.4, -0.6)
        axes.set_xlim(0, 1.35 * max(axes.dataLim.x1, 1e-9))
    style.save_figure(figure, file)
