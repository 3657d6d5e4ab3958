"""The picture of where a training step spends its time: a bar for each layer, forward and backward, and its floor."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from alexnet_jax.report.layer_benchmark import LayerTiming
from alexnet_jax.report.plots.run import (
    DPI,
    GRID,
    MUTED,
    TEXT,
    TRAIN,
    VALIDATION,
    File,
    draw_title,
    save_figure,
)

HEIGHT = 0.3  # inches of a bar and the room around it


def plot_layer_times(layers: Sequence[LayerTiming], file: File, *, title: str, subtitle: str) -> None:
    """Milliseconds of each layer alone, the first at the top; a dark mark where the machine's floor ends."""
    figure = Figure(figsize=(10, 1.7 + HEIGHT * len(layers)), dpi=DPI, facecolor='white')
    draw_title(figure, title, subtitle)
    high = figure.get_size_inches()[1]
    axes = figure.add_axes((0.09, 0.55 / high, 0.87, 1 - 1.45 / high))
    longest = 1e3 * max(each.forward + each.backward for each in layers)
    for place, each in enumerate(layers):
        forward, backward = 1e3 * each.forward, 1e3 * each.backward
        first = place == 0
        axes.barh(place, forward, 0.62, color=TRAIN, label='forward' if first else None)
        axes.barh(place, backward, 0.62, left=forward, color=VALIDATION, label='backward' if first else None)
        floor = 1e3 * (each.forward_floor + each.backward_floor)
        axes.plot(
            [floor] * 2, [place - 0.42, place + 0.42], color=TEXT, lw=2, label='floor' if first else None
        )
        axes.text(
            max(forward + backward, floor) + 0.008 * longest,
            place,
            f'{forward + backward:.3g}',
            va='center',
            fontsize=8,
            color=MUTED,
        )
    axes.set_yticks(range(len(layers)), [each.name for each in layers], fontsize=9, color=TEXT)
    axes.set(ylim=(len(layers) - 0.4, -0.6), xlim=(0, 1.08 * longest))
    axes.set_xlabel('milliseconds', color=MUTED, fontsize=9)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(MUTED)
    axes.grid(axis='x', color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis='x', colors=MUTED, labelsize=8, length=0)
    axes.tick_params(axis='y', length=0)
    axes.legend(frameon=False, fontsize=9, labelcolor=TEXT, loc='lower right')
    save_figure(figure, file)
