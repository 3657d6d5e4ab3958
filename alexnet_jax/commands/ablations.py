"""--mode=ablations: trains a network and its ablations with the same seeds and budget, and writes the table.

The workdir gets a folder for each network with a run directory for each seed, and table.md, table.csv, table.png.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.commands import factories, prepare, run_dir
from alexnet_jax.commands.ablation_cards import BASE_CARD, AblationCard, apply_card, read_cards
from alexnet_jax.commands.ablation_runs import PlannedRun, RunQueue, share_devices
from alexnet_jax.config import schema, validate
from alexnet_jax.data.dataset import Dataset
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.experiments import ablation_table
from alexnet_jax.experiments.ablation_table import AblationRow
from alexnet_jax.report.plots.paired_differences import DifferenceBar, plot_paired_differences
from alexnet_jax.report.run_result import RESULT_FILE
from alexnet_jax.runtime import atomic_io, signals

STUDY_FILE, LOCK_FILE = 'ablations.json', '.ablations'
# Fields that a run may change midway, and the runs of a study may not: how they are scored, and what training does.
STUDY_FIELDS = (
    'evaluate.views',
    'evaluate.view_list',
    'evaluate.split',
    'evaluate.checkpoint',
    'train.diary',
    'train.on_nonfinite',
)
MARKDOWN_FILE, CSV_FILE, PLOT_FILE = 'table.md', 'table.csv', 'table.png'

log = logging.getLogger(__name__)


def ablations(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Train what has no result yet and write the table; return mean differences and verdicts by network.

    Raises UserError before anything is trained if a card does not fit, and afterwards if runs failed.
    """
    cards = [BASE_CARD, *read_cards(config.ablations.cards)]
    configs = {card.name: apply_card(config, card) for card in cards}
    shares = share_devices(config.ablations.parallel)
    message = f'Another process trains the study in {workdir}; wait for it to end, or choose another --workdir.'
    with atomic_io.lock_file(run_dir.ensure_run_dir(workdir) / LOCK_FILE, message):
        data = factories.open_or_prepare_dataset(config, workdir)
        for each in configs.values():
            factories.make_architecture(each, data)
        _check_same_study(config, cards, data, workdir)
        runs = plan_runs(config, configs, workdir)
        queue = RunQueue(runs, shares)
        log.info(
            '%d runs: %s, %d seeds each; %d are finished.',
            *(len(runs), ', '.join(configs), config.ablations.seeds, len(runs) - len(queue.waiting)),
        )
        with signals.SignalHandler() as handler:
            queue.run_all(handler)
            rows = write_tables(config, cards, runs, data, Path(workdir))
    left = sum(not run.is_finished() for run in runs)
    if queue.failures:
        again = ' A loss that is not finite comes again: leave its card out, or change the base.' * queue.has_diverged
        raise UserError(
            f'{left} of {len(runs)} runs have no result. {" ".join(f"{failure}." for failure in queue.failures)} The '
            f'same command tries them again.{again}'
        )
    if left:
        raise signals.StoppedGracefully(
            f'Received {handler.received}; {len(runs) - left} of {len(runs)} runs are finished, and the others are '
            'saved as far as they came. Run the same command to continue.'
        )
    return {
        row.name: {'top1_difference': row.top1.mean, 'verdict': row.verdict} for row in rows if row.top1 is not None
    }


def plan_runs(config: ConfigDict, configs: dict[str, ConfigDict], workdir: str) -> list[PlannedRun]:
    """Return the runs of the study, all networks of a seed before the next seed, on one dataset."""
    directory = os.path.abspath(prepare.locate_dataset(config, workdir))
    runs = []
    for seed in range(config.seed, config.seed + config.ablations.seeds):
        for network, network_config in configs.items():
            own = ConfigDict(network_config.to_dict())
            # Neither the seed, which makes no other kind of run, nor the bare name of a card of configs/, whose
            # published error is of another base.
            own.seed, own.data.directory, own.name = seed, directory, f'{config.name} {network}'
            runs.append(PlannedRun(network, seed, own, Path(workdir) / network / f'seed{seed}'))
    return runs


def _check_same_study(config: ConfigDict, cards: Sequence[AblationCard], data: Dataset, workdir: str) -> None:
    """Record what decides the study's figures, or raise UserError if the workdir holds one that differs in it.

    Seeds and cards may be added.
    """
    file = Path(workdir) / STUDY_FILE
    fields = {
        name: value
        for name, value in validate.flatten_config(config).items()
        if name != 'seed' and (name in schema.RESULT_FIELDS or name in STUDY_FIELDS)
    }
    fields['dataset'] = data.checksum
    changes = {card.name: dict(card.changes) for card in cards}
    if file.exists():
        try:
            stored = json.loads(file.read_text())
            recorded, known = stored['fields'], stored['cards']
            # A field that is newer than the study had been at its default.
            recorded = {name: field.default for name, field in schema.FIELDS.items() if name in fields} | recorded
            different = validate.describe_differences(recorded, fields)
            different += [
                f'The card {name} changed {known[name]} and now changes {changes[name]}.'
                for name in changes
                if name in known and known[name] != changes[name]
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f'{file} is damaged ({error}); restore it, or choose another --workdir.') from error
        if different:
            raise UserError(
                f'{workdir} holds another study: {" ".join(different)} Choose another --workdir, or the same settings.'
            )
        changes = known | changes
    atomic_io.write_json(file, {'fields': fields, 'cards': changes})


def write_tables(
    config: ConfigDict, cards: Sequence[AblationCard], runs: Sequence[PlannedRun], data: Dataset, folder: Path
) -> list[AblationRow]:
    """Write table.md, table.csv and table.png of the finished runs, log the table; [] if the base has none."""
    errors: dict[str, dict[int, tuple[float, float]]] = {card.name: {} for card in cards}
    for run in runs:
        if run.is_finished():
            errors[run.network][run.seed] = run.read_errors()
    base_runs = [run for run in runs if run.network == BASE_CARD.name and run.is_finished()]
    if not base_runs:
        return []
    rows = ablation_table.make_rows(errors, {card.name: card.published for card in cards[1:]})
    heading = _describe_study(config, data, json.loads((base_runs[0].folder / RESULT_FILE).read_text()))
    text = ablation_table.format_markdown(rows, heading)
    with atomic_io.write_atomic(folder / MARKDOWN_FILE) as file:
        file.write(text)
    with atomic_io.write_atomic(folder / CSV_FILE) as file:
        file.write(ablation_table.format_csv(rows))
    bars = [
        DifferenceBar(
            row.name,
            [100 * (error[0] - errors[BASE_CARD.name][seed][0]) for seed, error in row.errors.items()
             if seed in errors[BASE_CARD.name]],
            *(row.top1.mean, row.top1.low, row.top1.high),
            row.published.top1 if row.published else None,
            row.verdict,
        )
        for row in rows
        if row.top1 is not None
    ]  # fmt: skip
    if bars:
        plot_paired_differences(bars, folder / PLOT_FILE, title=f'Ablations of {config.name}', subtitle=heading)
    for row in rows[1:]:
        log.info('%s: %s %s', row.name, ablation_table.format_difference(row.top1), row.verdict)
    log.info('Table and picture: %s', ', '.join(str(folder / name) for name in (MARKDOWN_FILE, CSV_FILE, PLOT_FILE)))
    return rows


def _describe_study(config: ConfigDict, data: Dataset, result: dict[str, Any]) -> str:
    """Return what all runs have in common in one line."""
    return (
        f'{config.name}: {config.train.num_epochs:g} epochs of {data.counts["train"]:,} images, errors on '
        f'{result["images"]:,} {result["split"]} images, {describe_views(result["views"])}'
    )
