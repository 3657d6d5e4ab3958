"""Collect what the page says of one run: from its directory, and where they are at hand its network and its images."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.commands import final_report, image_figures, run_dir, run_figures
from alexnet_jax.commands.figure_source import FigureSource
from alexnet_jax.commands.report_text import (
    describe_curves,
    describe_network,
    describe_progress,
    list_differences,
    list_numbers,
    list_phases,
)
from alexnet_jax.commands.run_facts import RunFacts
from alexnet_jax.commands.run_family import RunAddress
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.report.class_errors import ClassErrors
from alexnet_jax.report.page import Picture, RunPage, Tile, embed_image, embed_picture
from alexnet_jax.report.plots import image_rows
from alexnet_jax.report.plots.run import plot_curves, sample_predictions
from alexnet_jax.report.predictions_file import PREDICTIONS_CSV, EvaluationKey, ScoredSplit, write_predictions
from alexnet_jax.report.text import format_percent

SHOWN_PREDICTIONS = 24


def collect_run(config: ConfigDict, address: RunAddress, facts: RunFacts, scratch: Path) -> RunPage:
    """Return what the page says of a run; its pictures are drawn in the folder `scratch`.

    What needs a checkpoint or the dataset is left out where these are missing, and a note says so.
    """
    notes: list[str] = []
    source = _open_source(config, address, facts, notes)
    scored = _read_scored(source, facts, notes)
    names = source.class_names if source else ()
    phases, time_note = list_phases(facts.timings)
    right, wrong = _prediction_tiles(source, scored, names)
    neighbors, neighbors_note = _neighbor_tiles(source, notes)
    return RunPage(
        name=facts.name,
        verdict=facts.measured.sentence if facts.measured else describe_progress(facts),
        notes=notes,
        numbers=list_numbers(facts, source.arch if source else None),
        curves=_draw_curves(facts, scratch),
        class_errors=_class_errors(scored, names),
        errors_note=_describe_scored(scored) if scored else '',
        confusion=_draw_confusion(source, scored, scratch),
        right_tiles=right,
        wrong_tiles=wrong,
        neighbors=neighbors,
        neighbors_note=neighbors_note,
        kernels=_draw_kernels(source, facts, scratch),
        drawing=_draw_network(source, scratch),
        differences=list_differences(facts.deciding),
        fields=[(field, str(value)) for field, value in facts.fields.items()],
        phases=phases,
        time_note=time_note,
        versions=list(facts.stored['versions'].items()),
        commands=[(when, command) for when, command in facts.stored['commands']],
    )


def _open_source(config: ConfigDict, address: RunAddress, facts: RunFacts, notes: list[str]) -> FigureSource | None:
    """Return the run's network and images, at the checkpoint that was measured; None without a checkpoint."""
    checkpoints = facts.folder / run_dir.CHECKPOINTS_DIR
    step = address.step or (str(facts.measured.checkpoint_step) if facts.measured else '')
    if not any(path.name.isdecimal() for path in checkpoints.glob('*')):
        notes.append('No checkpoint was saved yet: what needs the network is left out.')
        return None
    if facts.measured and not (checkpoints / step).is_dir():
        notes.append(f'The checkpoint of step {step} is gone: kernels and neighbors are those of the newest one.')
        step = ''
    try:
        source = FigureSource(config, address._replace(step=step))
    except UserError as error:
        notes.append(f'What needs the network is left out: {error}')
        return None
    if facts.measured:
        measured = facts.measured
        source.config.evaluate.split = measured.split
        source.evaluation_key = EvaluationKey(
            measured.split, measured.views, measured.checkpoint_step, measured.dataset or source.info.checksum
        )
    if source.dataset is None:
        notes.append('Its dataset is not at hand: what needs its images is left out.')
    return source


def _read_scored(source: FigureSource | None, facts: RunFacts, notes: list[str]) -> ScoredSplit | None:
    """Return the predictions behind the figure: from their file, else computed if the dataset is there."""
    if source is None or facts.measured is None:
        return None
    if source.dataset is None and source.stored_predictions is None:
        return None
    try:
        scored = source.scored
    except UserError as error:
        notes.append(f'Errors by class are left out: {error}')
        return None
    if source.stored_predictions is None:
        # Kept for the next time, if one may.
        with contextlib.suppress(OSError):
            write_predictions(facts.folder / PREDICTIONS_CSV, scored, source.info.class_names)
    return scored


def _class_errors(scored: ScoredSplit | None, names: Sequence[str]) -> list[ClassErrors]:
    """Return the errors by class, most first."""
    return sorted(scored.errors_by_class(names), key=lambda row: -row.top1_error) if scored else []


def _describe_scored(scored: ScoredSplit) -> str:
    return (
        f'On the {len(scored.predictions.label):,} images of the {scored.split} split, '
        f'{describe_views(scored.views)}, at step {scored.checkpoint_step:,}.'
    )


def _prediction_tiles(
    source: FigureSource | None, scored: ScoredSplit | None, names: Sequence[str]
) -> tuple[list[Tile], list[Tile]]:
    """Return tiles of right and of wrong predictions, drawn at random."""
    # Predictions name their images by number, which in another dataset are others.
    if source is None or scored is None or source.dataset is None or source.dataset.checksum != scored.dataset:
        return [], []
    images, tiles = source.dataset.split(scored.split), ([], [])
    for record, label, predicted, probability, _ in zip(
        *sample_predictions(scored.predictions, number=SHOWN_PREDICTIONS), strict=True
    ):
        truth, answer, share = names[label], names[predicted], format_percent(float(probability), 0)
        is_right = bool(label == predicted)
        lines = (f'{answer} {share}',) if is_right else (f'{answer} {share}', f'is {truth}')
        alt = f'Image {int(record)}, of the class {truth}'
        tiles[not is_right].append(Tile(embed_image(images[int(record)][0]), alt, lines, is_right))
    return tiles


def _neighbor_tiles(source: FigureSource | None, notes: list[str]) -> tuple[list[list[Tile]], str]:
    """Return an image and its neighbors in each row, and a sentence about the search."""
    if source is None or source.training_images is None:
        return [], ''
    try:
        found = image_figures.find_hidden_neighbors(source)
    except UserError as error:
        notes.append(f'Neighbors are left out: {error}')
        return [], ''
    rows = [[_neighbor_tile(each, is_query=not place) for place, each in enumerate(row)] for row in found.tiles]
    return rows, f'By the activations of the last hidden layer ({found.layer}); {found.description}.'


def _neighbor_tile(tile: image_rows.Tile, *, is_query: bool) -> Tile:
    kind = 'Image' if is_query else 'Near image'
    return Tile(embed_image(tile.image), f'{kind}, of the class {tile.caption}', (tile.caption,), tile.same_class)


def _draw_curves(facts: RunFacts, scratch: Path) -> Picture | None:
    """Draw the curves anew, as the run may have gone on since its last picture."""
    if not any('loss' in row or 'validation_loss' in row for row in facts.metrics) or facts.info is None:
        return None
    file = scratch / 'curves.png'
    baseline = facts.result['baseline']['best'] if facts.result else None
    plot_curves(facts.metrics, file, num_classes=len(facts.info.class_names), baseline=baseline, title=facts.name)
    return embed_picture(
        file,
        title='Curves',
        alt=describe_curves(facts),
        caption='Loss, top-1 error and learning rate by epoch. Training: augmented images, with dropout; validation: '
        'center view, without.',
    )


def _draw_confusion(source: FigureSource | None, scored: ScoredSplit | None, scratch: Path) -> Picture | None:
    if source is None or scored is None:
        return None
    run_figures.draw_confusion(source, scratch)
    rows = scored.errors_by_class(source.class_names)
    worst = sorted((row for row in rows if row.confusions), key=lambda row: -row.confusions)[:5]
    pairs = '; '.join(f'{row.name} as {row.confused_with}, {row.confusions:,} times' for row in worst)
    return embed_picture(
        scratch / 'confusion.png',
        title='Confusion of classes',
        alt=f'Matrix of classes (rows) and predictions (columns). Most frequent errors: {pairs or "none"}.',
        caption='Each row in percent of the images of its class, or group of classes; right, the most frequent errors.',
    )


def _draw_kernels(source: FigureSource | None, facts: RunFacts, scratch: Path) -> Picture | None:
    file = facts.folder / final_report.FILTERS_FILE
    if source:
        run_figures.draw_kernels(source, scratch)
        file = scratch / 'kernels.png'
    elif not file.is_file():
        return None
    return embed_picture(
        file,
        title='Kernels of conv1',
        alt='The kernels of the first layer as small color images, one column of the network above the other.',
        caption='Each kernel is scaled by its own largest weight; gray is zero.',
    )


def _draw_network(source: FigureSource | None, scratch: Path) -> Picture | None:
    if source is None:
        return None
    run_figures.draw_architecture(source, scratch)
    return embed_picture(
        scratch / 'architecture.png',
        title='The network',
        alt=describe_network(source.arch),
        caption='Drawn from the architecture that was trained, as figure 2 of the paper.',
    )
