"""The pictures of a run that is still training, refreshed at each evaluation: curves, kernels and some predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.analysis.specialization import color_share
from alexnet_jax.commands import final_report
from alexnet_jax.data import dataset
from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.report.plots import run as run_plots
from alexnet_jax.train import metrics_writer
from alexnet_jax.train.metrics_writer import MetricsWriter

NUM_PREDICTIONS = 12


def refresh_pictures(
    writer: MetricsWriter,
    config: ConfigDict,
    data: dataset.Dataset,
    kernels: np.ndarray,
    predictions: Predictions | None,
    *,
    step: int,
    workdir: str,
) -> None:
    """Draw the run as it is after `step` steps into its directory, and show kernels and predictions in TensorBoard.

    `kernels` are conv1's (columns, height, width, 3, maps); `predictions` are those of the validation split, None
    without one. The report at the end of the run draws the same files anew.
    """
    folder = Path(workdir)
    run_plots.plot_curves(
        metrics_writer.read_metrics(folder),
        folder / final_report.CURVES_FILE,
        num_classes=len(data.class_names),
        title=f'{config.name} after {step:,} steps',
    )
    shares = [color_share(column) for column in kernels]
    run_plots.plot_filters(kernels, folder / final_report.FILTERS_FILE, color_shares=shares)
    writer.add_picture(step, 'kernels/conv1', folder / final_report.FILTERS_FILE)
    if predictions is not None:
        sample = run_plots.sample_predictions(predictions, number=NUM_PREDICTIONS)
        records = data.split('validation')
        run_plots.plot_predictions(
            np.stack([records[int(record)][0] for record in sample.id]),
            sample,
            data.short_class_names,
            folder / final_report.PREDICTIONS_FILE,
            subtitle=f'validation images after {step:,} steps; half of these are errors, as far as there are',
        )
        writer.add_picture(step, 'validation/predictions', folder / final_report.PREDICTIONS_FILE)
