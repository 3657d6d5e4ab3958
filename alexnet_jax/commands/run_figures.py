"""Figures of runs as wholes: architecture, kernels of conv1 and their specialization, curves, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.analysis import confusion
from alexnet_jax.analysis.specialization import Specialization, color_share, measure_specialization
from alexnet_jax.commands.figure_source import FigureSource
from alexnet_jax.commands.report_text import format_value
from alexnet_jax.commands.run_family import rows_of_each_run
from alexnet_jax.config import validate
from alexnet_jax.errors import UserError
from alexnet_jax.report.csv_file import write_csv
from alexnet_jax.report.plots.confusion import MAX_NAMED, plot_confusions
from alexnet_jax.report.plots.network import write_network_figure
from alexnet_jax.report.plots.run import plot_filters
from alexnet_jax.report.plots.run_curves import plot_run_curves
from alexnet_jax.report.plots.specialization import MeasuredDifference, plot_specialization, plot_specialization_of_runs
from alexnet_jax.report.text import format_percent
from alexnet_jax.runtime import atomic_io


def draw_architecture(source: FigureSource, folder: Path) -> None:
    """Draw figure 2 for the run's own network."""
    write_network_figure(source.arch, folder / 'architecture')


def draw_kernels(source: FigureSource, folder: Path) -> None:
    """Draw figure 3: the kernels of conv1, column above column."""
    kernel = _first_kernel(source)
    plot_filters(kernel, folder / 'kernels.png', color_shares=[color_share(column) for column in kernel])
    _write_npz(folder / 'kernels.npz', kernel=kernel)


def draw_specialization(sources: Sequence[FigureSource], folder: Path) -> None:
    """Draw how far the columns' kernels differ in color and orientation, and how far shuffled ones do."""
    measured = [measure_specialization(_first_kernel(source)) for source in sources]
    names = name_runs(sources)
    rows = [row for name, each in zip(names, measured, strict=True) for row in _specialization_rows(name, each)]
    write_csv(folder / 'specialization.csv', rows)
    file = folder / 'specialization.png'
    if len(sources) > 1:
        runs = [(name, _plotted_differences(each)) for name, each in zip(names, measured, strict=True)]
        plot_specialization_of_runs(runs, file, title=f'Specialization of the columns in {len(runs)} runs')
        return
    (one,) = measured
    plot_specialization(one.measures['color'], one.measures['orientation'], _plotted_differences(one), file)
    kernels = [
        {'column': 'ab'[column] if len(one.measures['color']) == 2 else column, 'kernel': number, **numbers}
        for column in range(len(one.measures['color']))
        for number in range(one.measures['color'].shape[1])
        for numbers in [{name: float(values[column, number]) for name, values in one.measures.items()}]
    ]
    write_csv(folder / 'specialization_kernels.csv', kernels)


def draw_curves(sources: Sequence[FigureSource], folder: Path) -> None:
    """Draw losses and errors over the epochs, a line for each kind of run."""
    for source in sources:
        if not source.metric_rows:
            raise UserError(f'{source.folder} has no metrics.jsonl, as imported networks; leave out its curves.')
    groups = group_runs(sources)
    rows = {
        name: rows_of_each_run((source.folder, source.metric_rows) for source in members)
        for name, members in groups.items()
    }
    bands = plot_run_curves(rows, folder / 'curves.png', num_classes=sources[0].arch.num_classes)
    points = [
        {
            'run': name,
            'series': series,
            'seeds': band.seeds,
            'epoch': epoch,
            'mean': mean,
            'lowest': low,
            'highest': high,
        }
        for name, by_series in bands.items()
        for series, band in by_series.items()
        for epoch, mean, low, high in zip(
            *(array.tolist() for array in (band.epoch, band.mean, band.lowest, band.highest)), strict=True
        )
    ]
    write_csv(folder / 'curves.csv', points)


def draw_confusion(source: FigureSource, folder: Path) -> None:
    """Draw which classes, or groups of classes, are taken for which, with the worst pairs by name."""
    predictions = source.scored.predictions
    wrong = predictions.label != predictions.predicted
    counts = confusion.count_confusions(predictions.label, predictions.predicted, len(source.class_names))
    groups = confusion.group_classes(counts, MAX_NAMED)
    pairs = confusion.find_worst_pairs(counts, 1000)
    grouped = max(map(len, groups)) > 1
    shown = f'{len(groups)} groups of the {len(counts):,} classes' if grouped else f'{len(counts)} classes'
    plot_confusions(
        confusion.merge_groups(counts, groups),
        groups,
        pairs,
        source.class_names,
        folder / 'confusion.png',
        subtitle=f'{shown}, those that are confused side by side; each row in percent; {len(wrong):,} images, '
        f'top-1 error {format_percent(float(wrong.mean()))}',
    )
    names = source.class_names
    write_csv(
        folder / 'confusion.csv',
        [
            {'class': names[label], 'predicted': names[other], 'images': int(counts[label, other])}
            for label, other in zip(*np.nonzero(counts), strict=True)
        ],
    )


def group_runs(sources: Sequence[FigureSource]) -> dict[str, list[FigureSource]]:
    """Return the runs by what tells their kinds apart: those that differ in their seed or step alone are of one kind.

    Kinds are called by the names of their configs, or by the fields, or datasets, in which they differ.
    """
    kinds: dict[tuple, list[FigureSource]] = {}
    for source in sources:
        fields = {**validate.result_fields(source.config), 'seed': 0, 'dataset': source.info.checksum[:8]}
        kinds.setdefault(tuple(fields.items()), []).append(source)
    names = [members[0].name for members in kinds.values()]
    if len(set(names)) == len(kinds):
        return dict(zip(names, kinds.values(), strict=True))
    differing = [
        [
            f'{field.partition(".")[2] or field}={format_value(value)}'
            for field, value in key
            if any((field, value) not in other for other in kinds)
        ]
        for key in kinds
    ]
    return dict(zip((' '.join(fields) for fields in differing), kinds.values(), strict=True))


def name_runs(sources: Sequence[FigureSource]) -> list[str]:
    """Return a name for each run, in their order: its kind, its seed, and the step of a checkpoint that was named."""
    kinds = {id(source): kind for kind, members in group_runs(sources).items() for source in members}
    return [
        f'{kinds[id(source)]} seed {source.config.seed}' + ('' if source.step is None else f' step {source.step}')
        for source in sources
    ]


def _specialization_rows(name: str, measured: Specialization) -> list[dict[str, Any]]:
    """Return a row for each measure of a run."""
    return [
        {
            'run': name,
            'measure': measure,
            'mean_column_a': float(tested.means[0]),
            'mean_column_b': float(tested.means[1]),
            'difference': tested.difference,
            'null_mean': float(tested.null.mean()),
            'null_95_percent': float(np.quantile(tested.null, 0.95)),
            'p_value': tested.p_value,
        }
        for measure, tested in measured.differences.items()
    ]


def _plotted_differences(measured: Specialization) -> dict[str, MeasuredDifference]:
    return {
        name: MeasuredDifference(tested.difference, tested.null, tested.p_value)
        for name, tested in measured.differences.items()
    }


def _first_kernel(source: FigureSource) -> np.ndarray:
    """Return the kernel of the first layer (columns, height, width, colors, maps)."""
    return np.asarray(source.weights.parameters[source.arch.layers[0].name]['kernel'])


def _write_npz(file: Path, **arrays: np.ndarray) -> None:
    with atomic_io.write_atomic(file, 'wb') as opened:
        np.savez_compressed(opened, **arrays)
