"""The part of the page that compares several runs: their results, curves, and the fields that differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_jax.commands.report_text import format_value
from alexnet_jax.commands.run_facts import RunFacts
from alexnet_jax.commands.run_family import rows_of_each_run
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.report.page import Comparison, Picture, embed_picture
from alexnet_jax.report.plots.run_curves import plot_run_curves
from alexnet_jax.report.text import format_percent
from alexnet_jax.train.timing import format_duration

COLUMNS = ('run', 'top-1 error', '95 % interval', 'top-5 error', 'loss', 'measured on', 'epochs', 'training')


def compare_runs(runs: Sequence[RunFacts], scratch: Path) -> Comparison:
    """Return what the page says of several runs; pictures are drawn in the folder `scratch`."""
    names = unique_names(runs)
    return Comparison(
        verdict=compare_errors(runs, names),
        names=tuple(names),
        columns=COLUMNS,
        rows=[(name, *_result_cells(run)) for name, run in zip(names, runs, strict=True)],
        curves=_draw_curves(runs, names, scratch),
        differences=differing_fields(runs),
    )


def unique_names(runs: Sequence[RunFacts]) -> list[str]:
    """Return a name for each run: its folder's, with the step of a checkpoint, or its path where that is not unique."""
    names = [
        f'{run.folder.absolute().name}, step {run.step}' if run.step else run.folder.absolute().name for run in runs
    ]
    return names if len(set(names)) == len(names) else [f'{run.folder}, step {run.step or "final"}' for run in runs]


def compare_errors(runs: Sequence[RunFacts], names: Sequence[str]) -> str:
    """Return a sentence on the lowest and the highest error, and whether chance alone could make the difference."""
    measured = [
        (run.measured.top1_error, run.measured, name) for run, name in zip(runs, names, strict=True) if run.measured
    ]
    if len(measured) < 2:
        return f'{len(measured)} of {len(runs)} runs is evaluated, so there is nothing to compare yet.'
    splits = {(each.split, each.views, each.images) for _, each, _ in measured}
    (low, best, first), (high, worst, last) = min(measured, key=lambda m: m[0]), max(measured, key=lambda m: m[0])
    counted = f'{len(measured)} of {len(runs)} runs are evaluated' if len(measured) < len(runs) else f'{len(runs)} runs'
    mean = float(np.mean([error for error, *_ in measured]))
    sentence = (
        f'{counted}: top-1 error {format_percent(low)} ({first}) to {format_percent(high)} ({last}), mean '
        f'{format_percent(mean)}.'
    )
    if len(splits) > 1:
        return f'{sentence} They were not measured on the same images and views, so the figures do not compare.'
    if best.interval[1] >= worst.interval[0]:
        return (
            f'{sentence} The 95 % intervals of best and worst overlap, which alone does not tell whether they differ.'
        )
    return f'{sentence} The 95 % intervals of best and worst do not overlap.'


def differing_fields(runs: Sequence[RunFacts]) -> list[tuple[str, ...]]:
    """Return a row for each field that decides the result and is not the same in all runs: its name and the values."""
    deciding = [run.deciding | {'dataset': str(run.stored['deciding'].get('dataset', ''))[:8]} for run in runs]
    return [
        (field, *(format_value(values[field]) for values in deciding))
        for field in deciding[0]
        if len({repr(values[field]) for values in deciding}) > 1
    ]


def _result_cells(run: RunFacts) -> tuple[str, ...]:
    measured, result = run.measured, run.result
    if measured is None:
        return ('not evaluated', '', '', '', '', *_training_cells(run))
    low, high = measured.interval
    cells = (
        format_percent(measured.top1_error),
        f'{format_percent(low)} to {format_percent(high)}',
        format_percent(measured.top5_error),
        '' if measured.loss is None else f'{measured.loss:.3f}',
        f'{measured.images:,} {measured.split}, {describe_views(measured.views)}',
    )
    if result is None:
        return (*cells, *_training_cells(run))
    return (*cells, f'{result["epochs"]:.3g}', format_duration(result['seconds']))


def _training_cells(run: RunFacts) -> tuple[str, str]:
    epoch, seconds = run.last_value('epoch'), sum(row.get('seconds', 0.0) for row in run.timings)
    return ('' if epoch is None else f'{epoch:.3g}', format_duration(seconds) if seconds else '')


def _draw_curves(runs: Sequence[RunFacts], names: Sequence[str], scratch: Path) -> Picture | None:
    """Draw the curves over each other, those of runs that differ in their seed alone as one band."""
    kinds: dict[tuple, list[tuple[RunFacts, str]]] = {}
    for run, name in zip(runs, names, strict=True):
        if run.metrics:
            fields = run.deciding | {'seed': 0, 'dataset': run.stored['deciding'].get('dataset')}
            kinds.setdefault(tuple((field, repr(value)) for field, value in fields.items()), []).append((run, name))
    groups = {
        # Of several checkpoints of a run, the curve is that of the last.
        max(members, key=lambda member: len(member[0].metrics))[1]: rows_of_each_run(
            (run.folder, run.metrics) for run, _ in members
        )
        for members in kinds.values()
    }
    classes = {len(run.info.class_names) for run in runs if run.info}
    if not groups or len(classes) != 1:
        return None
    file = scratch / 'compared.png'
    plot_run_curves(groups, file, num_classes=classes.pop(), title='Runs compared')
    last = '; '.join(
        f'{name}: {format_percent(error)}'
        for run, name in zip(runs, names, strict=True)
        if (error := run.last_value('validation_top1_error')) is not None
    )
    return embed_picture(
        file,
        title='Curves of the runs',
        alt=f'Loss and top-1 error by epoch, training and validation. Newest validation top-1 error: {last or "none"}.',
        caption='Runs that differ in their seed alone share a line: their mean, in a band from the smallest to the '
        'largest.',
    )
