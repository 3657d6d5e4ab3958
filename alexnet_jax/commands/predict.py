"""--mode=predict: prints the most probable classes of image files."""

from __future__ import annotations

import logging
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.commands import evaluate, factories, prepare
from alexnet_jax.config import build
from alexnet_jax.data import dataset
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.predict import FilePrediction, find_image_files, predict_files, split_paths
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.prepare.splits import skipped_files_note

TOP_K = 5  # classes printed for each image

log = logging.getLogger(__name__)


def predict(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Print the five most probable classes of each image; return the number of images and of unreadable ones.

    Raises UserError at the end if some could not be read; each of these was named in its place.
    """
    found = find_image_files(split_paths(config.predict.images))
    run_config, info = evaluate.read_trained_run(config, workdir)
    _check_given_dataset(config, info, workdir)
    run, views = evaluate.load_run(run_config, info, workdir), build.report_views(config)
    evaluator = factories.make_evaluator(
        run.config, info, run.model, run.mesh, views=views, num_images=len(found.files)
    )
    for note in found.notes:
        log.info('%s', note)
    if found.skipped:
        log.info('%s', skipped_files_note(found.skipped).strip())
    for error in found.errors:
        log.info('%s', error)
    log.info('Predictions of step %d of the run in %s, %s:', run.step, workdir, describe_views(views))
    unreadable = len(found.errors)
    for prediction in predict_files(
        evaluator, run.params, found.files, info.class_descriptions, image_size=info.image_size, top_k=TOP_K
    ):
        unreadable += bool(prediction.error)
        log.info('%s', format_prediction(prediction))
    if unreadable:
        named = 'files and folders' if found.errors else 'images'
        total = len(found.files) + len(found.errors)
        raise UserError(f'{unreadable} of {total} {named} could not be read; they are named above.')
    return {'images': len(found.files), 'unreadable': unreadable}


def _check_given_dataset(config: ConfigDict, info: DatasetInfo, workdir: str) -> None:
    """Raise UserError if config.data.directory, which predict does not need, names a dataset of other classes."""
    if config.data.directory and prepare.has_dataset(directory := prepare.locate_dataset(config, workdir)):
        evaluate.check_same_classes(info, dataset.read_manifest(directory)['classes'], directory)


def format_prediction(prediction: FilePrediction) -> str:
    """Return the file with a line for each class below it, or the error."""
    if prediction.error:
        return prediction.error
    classes = [f'  {probability:7.2%}  {name}' for name, probability in prediction.classes]
    return '\n'.join([prediction.file, *classes])
