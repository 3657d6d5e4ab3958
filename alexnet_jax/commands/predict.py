"""Mode predict: a person's own images, and what the network of a run takes them for."""

from __future__ import annotations

import logging
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.commands import evaluate, factories
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.predict import FilePrediction, find_image_files, predict_files

TOP_K = 5  # classes that are shown of each image

log = logging.getLogger(__name__)


def predict(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Says of each image the five most probable classes; how many there were, and how many could not be read.

    What cannot be read is named in its place; when the others are done a UserError counts them.
    """
    files = find_image_files(path.strip() for path in config.predict.images.split(',') if path.strip())
    run = evaluate.load_run(config, workdir)
    evaluator = factories.make_evaluator(
        run.config, run.data, run.network, run.mesh, views=config.evaluate.views
    )
    log.info('Step %d of the run in %s says, by %d views:', run.step, workdir, config.evaluate.views)
    unreadable = 0
    for prediction in predict_files(
        evaluator, run.parameters, files, run.data.class_descriptions, side=run.data.image_size, top=TOP_K
    ):
        unreadable += bool(prediction.problem)
        log.info('%s', '\n'.join(format_prediction(prediction)))
    if unreadable:
        raise UserError(
            f'{unreadable} of {len(files)} images could not be read and are named above; the others were done.'
        )
    return {'images': len(files), 'unreadable': unreadable}


def format_prediction(prediction: FilePrediction) -> list[str]:
    """The file, and below it a line for each class; or the sentence about the file."""
    if prediction.problem:
        return [prediction.problem]
    return [prediction.file, *(f'  {share:7.2%}  {name}' for name, share in prediction.choices)]
