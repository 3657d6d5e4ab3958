"""The end of a run: its figure, held against what needs no network, in a file, a sentence and four pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.commands import evaluate, factories
from alexnet_jax.data import augment, dataset, pipeline
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.distributed.sharding import gather_to_host
from alexnet_jax.evaluate import nearest_neighbor
from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.report import run_result
from alexnet_jax.report.plots import run
from alexnet_jax.train import metrics_writer, train_step

EXAMPLES_FILE, CURVES_FILE, FILTERS_FILE, PREDICTIONS_FILE = 'examples.png', 'curves.png', 'kernels.png', 'answers.png'
NUM_EXAMPLES = 40  # pictures on a sheet

log = logging.getLogger(__name__)


def draw_examples(train_data: pipeline.TrainPipeline, data: dataset.Dataset, workdir: str) -> None:
    """Draw the first training examples as the network sees them, cropped, flipped and lit, but with the mean."""
    batch = train_data.batch(0)
    file = Path(workdir) / EXAMPLES_FILE
    images, labels = augment.preview_images(batch)[:NUM_EXAMPLES], batch['label'][:NUM_EXAMPLES]
    run.plot_examples(images, labels, data.short_class_names, file)
    log.info('What the network will see: %s', file)


def split_note(split: str, counts: Mapping[str, int]) -> str:
    """What must be said beside a figure of that split; empty for the test split."""
    if split == 'test':
        return ''
    why = 'was asked for' if 'test' in counts else 'is reported for want of a test split'
    return f'the {split} split {why}, and the run {"learned from it" if split == "train" else "may be steered by it"}'


def write_final_report(
    config: ConfigDict,
    data: dataset.Dataset,
    network: AlexNet,
    mesh: jax.sharding.Mesh,
    workdir: str,
    parameters: train_step.Parameters,
    done: int,
    stream: pipeline.TrainPipeline,
) -> dict[str, Any]:
    """Scores the network on the split that is reported, writes result.json and the pictures, says the sentence.

    Processes that do not write have the rates alone.
    """
    split = evaluate.report_split(config, data.counts)
    evaluator = factories.make_evaluator(config, data, network, mesh, views=config.evaluate.views)
    rates, outcomes = evaluator.outcomes(parameters, factories.make_eval_pipeline(config, data, split, mesh))
    kernel = gather_to_host(parameters['conv1']['kernel'], mesh)
    if not is_primary():
        return rates
    seconds, rate = training_throughput(metrics_writer.read_timings(workdir), done)
    result = run_result.build_result(
        rates,
        split=split,
        views=config.evaluate.views,
        baseline=nearest_neighbor.baseline_errors(
            data.split('train'), data.split(split), seed=config.seed, threads=config.data.num_threads
        ),
        epochs=stream.epoch(done),
        seconds=seconds,
        images_per_second=rate,
        checkpoint_step=done,
        classes=len(data.class_names),
        note=split_note(split, data.counts),
    )
    run_result.write_result(workdir, result)
    draw_plots(data, kernel, outcomes, result, workdir, name=config.name)
    log.info('%s', run_result.summarize_result(result))
    log.info(
        'Pictures and figures: %s',
        ', '.join(str(Path(workdir) / name) for name in (run_result.RESULT_FILE, CURVES_FILE, FILTERS_FILE, PREDICTIONS_FILE)),
    )
    log.info('%s', suggest_next_command(config))
    return result


def training_throughput(timings: list[dict[str, Any]], done: int) -> tuple[float, float]:
    """Seconds of training up to a step, and images a second in them."""
    rows = [row for row in timings if row['step'] <= done]
    seconds = sum(row.get('seconds', 0.0) for row in rows)
    return seconds, sum(row.get('images', 0) for row in rows) / max(seconds, 1e-9)


def draw_plots(
    data: dataset.Dataset,
    kernel: np.ndarray,
    outcomes: Predictions,
    result: dict[str, Any],
    workdir: str,
    *,
    name: str,
) -> None:
    """curves.png, kernels.png and answers.png."""
    folder, rows = Path(workdir), metrics_writer.read_metrics(workdir)
    run.plot_curves(
        rows, folder / CURVES_FILE, classes=len(data.class_names), baseline=result['baseline']['best'], title=name
    )
    run.plot_filters(kernel, folder / FILTERS_FILE)
    chosen = run.sample_predictions(outcomes.label, outcomes.predicted)
    records = data.split(result['split'])
    run.plot_predictions(
        np.stack([records[int(outcomes.id[place])][0] for place in chosen]),
        outcomes.label[chosen],
        outcomes.predicted[chosen],
        outcomes.probability[chosen],
        data.short_class_names,
        folder / PREDICTIONS_FILE,
        subtitle=f'half of this sheet is wrong answers; of all {result["images"]:,} it is {result["top1_error"]:.1%}',
    )


def suggest_next_command(config: ConfigDict) -> str:
    """What to try next, as it is typed."""
    if config.prepare.source == 'cutouts':
        return (
            'Next, your own photographs, a folder for each class: python main.py --config=configs/folder.py '
            '--config.prepare.path=FOLDER --workdir=ANOTHER'
        )
    return 'Next, the same network scored again, or another split: python main.py --mode=evaluate with the same flags'
