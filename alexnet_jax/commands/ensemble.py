"""--mode=ensemble: averages the probabilities of several runs, as the paper's 5 CNNs and 7 CNNs*.

Each run's probabilities, over the views of config.evaluate, are stored as features are: prob.npy with the ids of the
images beside it. A killed command goes on where it was, and other weights cost no forward pass.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.commands import evaluate, factories, run_dir
from alexnet_jax.commands.features import open_named_dataset
from alexnet_jax.commands.published_figures import compare_with_published
from alexnet_jax.commands.run_family import RunAddress, common_folder, find_runs
from alexnet_jax.commands.stored_probabilities import StoredProbabilities, check_same_images, store_probabilities
from alexnet_jax.config import build, validate
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate import averaging, metrics
from alexnet_jax.evaluate.submission import number_classes, submission_lines
from alexnet_jax.evaluate.view_places import Views, describe_views
from alexnet_jax.experiments.published_errors import PublishedError, find_published, find_published_average
from alexnet_jax.prepare.sources.devkit import read_devkit
from alexnet_jax.report import class_errors
from alexnet_jax.report.text import format_percent, format_table
from alexnet_jax.runtime import atomic_io, signals

ENSEMBLE_DIRECTORY = 'ensemble'
RESULT_FILE, SUBMISSION_FILE = 'ensemble.json', 'submission.txt'
ERRORS = ('top1_error', 'top5_error', 'loss')
TOP_K_BY_WEIGHTS = {'top5': metrics.TOP_K, 'top1': 1}

log = logging.getLogger(__name__)


def ensemble(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Store the probabilities of every run that --workdir names, and write errors of the runs and of their average.

    Returns the content of ensemble.json. Images without labels get no errors. Raises UserError, before any work, if the
    weights would be found on the images that are reported, or a run lacks a dataset that is needed.
    """
    validate.validate_workdir(workdir, needed=True, writes=False)
    addresses = find_runs(workdir)
    # What the networks are is said of the first, and of others only where they differ.
    first_config, _ = evaluate.read_trained_run(config, addresses[0].run_dir)
    config = ConfigDict(config.to_dict() | {'model': first_config.model.to_dict()})
    searches = config.ensemble.weights != 'equal'
    numbers = _number_classes(config, addresses[0]) if config.ensemble.devkit else None
    if searches:
        _check_validation_images(config, addresses)
    folder = _make_directory(config, addresses)
    with signals.interrupt_immediately('what was computed is kept; run the same command again to go on.'):
        search = _search_weights(config, addresses) if searches else None
        stored = [store_probabilities(config, address) for address in addresses]
        check_same_images(stored)
        if numbers is not None:
            _write_submission(folder, stored, search, numbers)
        return _score_average(config, folder, stored, search)


def _make_directory(config: ConfigDict, addresses: Sequence[RunAddress]) -> Path:
    """Return the folder of the figures, made: config.ensemble.directory, else beside the runs, or in a single one."""
    folder = Path(config.ensemble.directory or common_folder(addresses) / ENSEMBLE_DIRECTORY).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'{folder} cannot be created ({error.strerror}); choose another --config.ensemble.directory.'
        ) from error
    return folder


def _check_validation_images(config: ConfigDict, addresses: Sequence[RunAddress]) -> None:
    """Raise UserError unless every run has validation images other than those that are reported."""
    for address in addresses:
        run_config, _ = evaluate.read_trained_run(config, address.run_dir)
        data = factories.open_prepared_dataset(run_config, address.run_dir)
        if 'validation' not in data.counts:
            raise UserError(
                f'config.ensemble.weights={config.ensemble.weights} needs a validation split, but the dataset of '
                f'{address.run_dir} has only {", ".join(data.counts)}. Set --config.ensemble.weights=equal.'
            )
        reported = open_named_dataset(config, run_config, address.run_dir)
        if (
            reported is not None
            and reported.checksum == data.checksum
            and evaluate.report_split(config, reported.counts) == 'validation'
        ):
            raise UserError(
                f'config.ensemble.weights={config.ensemble.weights} finds the weights on the validation images, which '
                'are the ones to be reported, and the figure would be too low. Report others by '
                '--config.evaluate.split=test or --images, or set --config.ensemble.weights=equal.'
            )


def _search_weights(config: ConfigDict, addresses: Sequence[RunAddress]) -> averaging.WeightSearch:
    """Return weights with few errors on the validation images of the runs' dataset."""
    validation = ConfigDict(config.to_dict())
    validation.evaluate.split, validation.predict.images = 'validation', ''
    stored = [store_probabilities(validation, address) for address in addresses]
    check_same_images(stored)
    found = averaging.search_weights(
        [each.array for each in stored], stored[0].files.labels, top_k=TOP_K_BY_WEIGHTS[config.ensemble.weights]
    )
    log.info(
        'Weights found on %s validation images: %s (%s errors %s, with equal weights %s).',
        f'{len(stored[0].files):,}',
        ', '.join(f'{weight:.2f}' for weight in found.weights),
        config.ensemble.weights,
        f'{found.errors:,}',
        f'{found.errors_of_equal_weights:,}',
    )
    return found


def _score_average(
    config: ConfigDict, folder: Path, stored: Sequence[StoredProbabilities], search: averaging.WeightSearch | None
) -> dict[str, Any]:
    """Write the errors of the runs and of their average, and print them; return the content of ensemble.json."""
    parts, labels, num_classes = [each.array for each in stored], stored[0].labels, len(stored[0].readable_class_names)
    weights = None if search is None else search.weights
    result: dict[str, Any] = {
        'runs': [{'run': each.address.run_dir, 'checkpoint_step': each.step} for each in stored],
        'weights': [1.0] * len(parts) if weights is None else weights.tolist(),
        'images': len(parts[0]),
        'source': stored[0].source,
        'split': stored[0].split or 'given',
        'views': build.report_views(config),
        'classes': num_classes,
    }
    if labels is None:
        log.info('The classes of some images are not known, so no error is measured.')
    else:
        for run, part in zip(result['runs'], parts, strict=True):
            run |= averaging.summarize_answers(averaging.answer_images([part], labels), num_classes)
        result['mean'] = {name: float(np.mean([run[name] for run in result['runs']])) for name in ERRORS}
        answers = averaging.answer_images(parts, labels, weights)
        result['average'] = averaging.summarize_answers(answers, num_classes)
        result['interval'] = list(metrics.top1_interval(result['average']))
        if search is not None:
            equal = averaging.answer_images(parts, labels)
            result['equal_weights'] = averaging.summarize_answers(equal, num_classes)
        _report_errors(folder, stored, result, answers)
    atomic_io.write_json(folder / RESULT_FILE, result)
    log.info('Figures: %s', folder)
    return result


def _report_errors(
    folder: Path, stored: Sequence[StoredProbabilities], result: dict[str, Any], answers: averaging.Answers
) -> None:
    """Print the table of errors and the worst classes; write errors by class and the table beside the paper's."""
    rows: list[tuple[str, ...]] = [('network', 'step', 'top-1 error', 'top-5 error', 'loss')]
    rows += [_format_row(Path(run['run']).name, str(run['checkpoint_step']), run) for run in result['runs']]
    if len(stored) > 1:
        rows.append(_format_row(f'mean of {len(stored)}', '', result['mean']))
        found = 'equal_weights' in result
        if found:
            rows.append(_format_row('average, equal weights', '', result['equal_weights']))
        rows.append(_format_row('average, weights found' if found else 'average', '', result['average']))
    log.info('%s', '\n'.join(format_table(rows)))
    names = stored[0].readable_class_names
    by_class = class_errors.count_class_errors(names, stored[0].files.labels, answers.predicted, answers.rank)
    class_errors.write_class_errors(folder, by_class)
    if worst := class_errors.describe_worst_classes(by_class):
        log.info('%s', worst)
    log.info('%s', _describe_average(result))
    published = _find_published(stored, result['views'])
    title = f'The average of {len(stored)}' if len(stored) > 1 else run_dir.read_name(stored[0].address.run_dir)
    compared = result['average'] | {name: result[name] for name in ('views', 'split', 'images', 'classes')}
    if sentence := compare_with_published(folder, title, published, compared, result['source']):
        log.info('%s', sentence)


def _describe_average(result: dict[str, Any]) -> str:
    """Return the figure as one sentence."""
    low, high = (format_percent(bound, 2) for bound in result['interval'])
    average, count = result['average']['top1_error'], len(result['runs'])
    gain = f', {100 * (result["mean"]["top1_error"] - average):.2f} points below the mean of its networks'
    return (
        f'{f"The average of {count}" if count > 1 else "One network"}: top-1 error {format_percent(average, 2)} (95 % '
        f'interval {low} to {high}) on {result["images"]:,} images, {describe_views(result["views"])}'
        f'{gain if count > 1 else ""}.'
    )


def _format_row(name: str, step: str, rates: dict[str, float]) -> tuple[str, ...]:
    percents = (format_percent(rates[error], 2) for error in ('top1_error', 'top5_error'))
    return name, step, *percents, f'{rates["loss"]:.4f}'


def _find_published(stored: Sequence[StoredProbabilities], views: Views) -> PublishedError | None:
    """Return the published error of one network, or of the average of such networks."""
    names = [run_dir.read_name(each.address.run_dir) for each in stored]
    return find_published(names[0], views) if len(stored) == 1 else find_published_average(names)


def _number_classes(config: ConfigDict, address: RunAddress) -> np.ndarray:
    """Return the challenge's number of each class of a run, from its development kit."""
    path = Path(config.ensemble.devkit).expanduser()
    year = re.search(r'ILSVRC(\d{4})', path.name)
    if not (path.is_file() and year):
        raise UserError(
            f'config.ensemble.devkit={config.ensemble.devkit} is no development kit; expected the archive under its '
            'own name, such as ILSVRC2012_devkit_t12.tar.gz.'
        )
    _, info = evaluate.read_trained_run(config, address.run_dir)
    return number_classes(info.class_names, read_devkit(path, int(year[1])).classes, str(path))


def _write_submission(
    folder: Path, stored: Sequence[StoredProbabilities], search: averaging.WeightSearch | None, numbers: np.ndarray
) -> None:
    """Write the challenge's file: five numbers of classes a line, in the order of the images' names."""
    averages = averaging.iterate_averages([each.array for each in stored], None if search is None else search.weights)
    lines = submission_lines(stored[0].files.ids, averages, numbers)
    with atomic_io.write_atomic(folder / SUBMISSION_FILE) as file:
        file.writelines(f'{line}\n' for line in lines)
    log.info('%s: %s lines, in the order of the names of the images.', folder / SUBMISSION_FILE, f'{len(lines):,}')
