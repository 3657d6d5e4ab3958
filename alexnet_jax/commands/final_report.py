"""The report at the end of a training: result.json, one sentence, and pictures. The examples are drawn at its start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.analysis.specialization import color_share
from alexnet_jax.commands import factories, published_figures
from alexnet_jax.commands.evaluate import LoadedRun, report_split
from alexnet_jax.config import build
from alexnet_jax.data import augment, dataset, pipeline
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.distributed.sharding import gather_to_host
from alexnet_jax.evaluate import nearest_neighbor
from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.experiments.published_errors import find_published
from alexnet_jax.report import class_errors, run_result
from alexnet_jax.report.plots import run as run_plots
from alexnet_jax.report.predictions_file import PREDICTIONS_CSV, ScoredSplit, write_predictions
from alexnet_jax.report.text import format_percent
from alexnet_jax.train import metrics_writer

EXAMPLES_FILE, CURVES_FILE = 'examples.png', 'curves.png'
FILTERS_FILE, PREDICTIONS_FILE = 'kernels.png', 'answers.png'
NUM_EXAMPLES = 40

log = logging.getLogger(__name__)


def draw_examples(train_data: pipeline.TrainPipeline, data: dataset.Dataset, workdir: str) -> None:
    """Draw the first training examples as the network sees them: crops, flips and lighting, the mean not subtracted."""
    batch = train_data.batch(0)
    file = Path(workdir) / EXAMPLES_FILE
    run_plots.plot_examples(
        augment.preview_images(batch)[:NUM_EXAMPLES], batch['label'][:NUM_EXAMPLES], data.short_class_names, file
    )
    log.info('Training examples: %s', file)


def write_final_report(run: LoadedRun, data: dataset.Dataset, workdir: str, *, epochs: float) -> dict[str, Any]:
    """Evaluate a run on its dataset after `epochs` of training, write result.json and the pictures, print the sentence.

    Returns the content of result.json; on processes that are not primary, the error rates alone.
    """
    config = run.config
    split, views = report_split(config, data.counts), build.report_views(config)
    evaluator = factories.make_evaluator(config, data, run.model, run.mesh, views=views, num_images=data.counts[split])
    error_rates, predictions = evaluator.evaluate_and_predict(
        run.params, factories.make_eval_pipeline(config, data, split, run.mesh)
    )
    filters = gather_to_host(run.params['conv1']['kernel'], run.mesh)
    if not is_primary():
        return error_rates
    baseline = nearest_neighbor.baseline_errors(
        data.split('train'), data.split(split), seed=config.seed, threads=config.data.num_threads
    )
    timings = metrics_writer.read_timings(workdir)
    result = run_result.build_result(
        error_rates,
        run_result.TrainingCost(run.step, epochs, *training_throughput(timings, run.step)),
        baseline=baseline,
        num_classes=len(data.class_names),
        split=split,
        views=views,
        note=split_note(split, data.counts),
    )
    run_result.write_result(workdir, result)
    scored = ScoredSplit(predictions, split, views, run.step, data.checksum)
    write_predictions(Path(workdir) / PREDICTIONS_CSV, scored, data.class_names)
    class_errors.write_class_errors(workdir, scored.errors_by_class(data.readable_class_names))
    draw_plots(config.name, data, filters, predictions, result, Path(workdir))
    log.info('%s', run_result.summarize_result(result))
    published = find_published(config.name, views)
    if sentence := published_figures.compare_with_published(workdir, config.name, published, result, data.name):
        log.info('%s', sentence)
    names = (run_result.RESULT_FILE, CURVES_FILE, FILTERS_FILE, PREDICTIONS_FILE)
    log.info('Result and pictures: %s', ', '.join(str(Path(workdir) / name) for name in names))
    log.info('%s', suggest_next_command(config))
    return result


def split_note(split: str, counts: Mapping[str, int]) -> str:
    """Return how that split limits the error measured on it; '' for the test split."""
    if split == 'test':
        return ''
    reason = 'as config.evaluate.split says' if 'test' in counts else 'as there is no test split'
    bias = 'was trained on it' if split == 'train' else 'may have been tuned on it'
    return f'measured on the {split} split, {reason}; the network {bias}'


def training_throughput(timings: list[dict[str, Any]], step: int) -> tuple[float, float]:
    """Return the seconds of training up to a step, and the images per second."""
    rows = [row for row in timings if row['step'] <= step]
    seconds = sum(row.get('seconds', 0.0) for row in rows)
    return seconds, sum(row.get('images', 0) for row in rows) / max(seconds, 1e-9)


def draw_plots(
    title: str,
    data: dataset.Dataset,
    filters: np.ndarray,
    predictions: Predictions,
    result: dict[str, Any],
    folder: Path,
) -> None:
    """Draw curves.png, under a title, kernels.png and answers.png."""
    run_plots.plot_curves(
        metrics_writer.read_metrics(folder),
        folder / CURVES_FILE,
        num_classes=len(data.class_names),
        baseline=result['baseline']['best'],
        title=title,
    )
    run_plots.plot_filters(filters, folder / FILTERS_FILE, color_shares=[color_share(column) for column in filters])
    sample = run_plots.sample_predictions(predictions)
    records = data.split(result['split'])
    run_plots.plot_predictions(
        np.stack([records[int(record)][0] for record in sample.id]),
        sample,
        data.short_class_names,
        folder / PREDICTIONS_FILE,
        subtitle=f'half of these are errors; of all {result["images"]:,} images, '
        f'{format_percent(result["top1_error"])} are',
    )


def suggest_next_command(config: ConfigDict) -> str:
    """Return what to try next."""
    if config.prepare.source == 'cutouts':
        return (
            'Next, train on your own photographs, one folder per class:\n'
            '  python main.py --config=configs/folder.py --config.prepare.path=FOLDER --workdir=ANOTHER'
        )
    return 'Next, evaluate on another split or with other views: the same flags with --mode=evaluate'
