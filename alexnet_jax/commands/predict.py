"""--mode=predict: the most probable classes of image files, on the terminal, as JSON lines and as a picture."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.commands import evaluate, factories, prepare
from alexnet_jax.config import build
from alexnet_jax.data import dataset
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.distributed import initialize
from alexnet_jax.distributed.mesh import padded_batch_size
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.find_images import FoundImages, find_image_files, find_listed_files, split_paths
from alexnet_jax.evaluate.image_files import ImageFiles
from alexnet_jax.evaluate.metrics import TOP_K
from alexnet_jax.evaluate.predict import FilePrediction, predict_files
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.prepare.splits import skipped_files_note
from alexnet_jax.report.plots.top_five import plot_top_five
from alexnet_jax.runtime import atomic_io, signals, streams
from alexnet_jax.runtime.progress import ImageProgress

MAX_PICTURED = 24  # images
STANDARD_STREAM = '-'

log = logging.getLogger(__name__)


def predict(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Tell the five most probable classes of each image; return the number of images and of unreadable ones.

    Raises UserError at the end if some could not be read; each of these was named in its place.
    """
    if config.predict.json == STANDARD_STREAM:
        # Where the JSON goes nothing else may go.
        streams.log_to_stderr()
    _check_outputs(config)
    found = _find_images(config)
    message = 'the predictions so far were printed.' if config.predict.json in ('', STANDARD_STREAM) else ''
    with signals.interrupt_immediately(
        message or f'{config.predict.json} was not written; run the same command again.',
        multi_process=initialize.is_multi_process(),
    ):
        unreadable = _predict_found(config, workdir, found)
    if unreadable:
        named = 'files and folders' if found.errors else 'images'
        total = len(found.files) + len(found.errors)
        raise UserError(f'{unreadable} of {total} {named} could not be read; they are named above.')
    return {'images': len(found.files), 'unreadable': unreadable}


def _predict_found(config: ConfigDict, workdir: str, found: FoundImages) -> int:
    """Predict the images that were found and tell the classes; return how many could not be read."""
    run_config, info = evaluate.read_trained_run(config, workdir)
    _check_given_dataset(config, info, workdir)
    run, views, num_images = evaluate.load_run(run_config, info, workdir), build.report_views(config), len(found.files)
    run.config.evaluate.batch_size = padded_batch_size(num_images, config.evaluate.batch_size, run.mesh)
    evaluator = factories.make_evaluator(run.config, info, run.model, run.mesh, views=views, num_images=num_images)
    for note in [*found.notes, *([skipped_files_note(found.skipped).strip()] if found.skipped else []), *found.errors]:
        log.info('%s', note)
    log.info('Predictions of step %d of the run in %s, %s:', run.step, workdir, describe_views(views))
    predictions = predict_files(
        evaluator,
        run.params,
        ImageFiles(found.files, '', info.image_size, info.class_names),
        info.class_descriptions,
        top_k=TOP_K,
        threads=config.data.num_threads,
    )
    unreadable, pictured = len(found.errors), []
    with (
        open_json_lines(config.predict.json) as lines,
        ImageProgress(num_images, 'predicted', enabled=lines is not None) as progress,
    ):
        for prediction in predictions:
            unreadable += bool(prediction.error)
            if config.predict.picture and not prediction.error and len(pictured) < MAX_PICTURED:
                pictured.append(prediction)
            if lines is None or prediction.error:
                log.info('%s', format_prediction(prediction))
            if lines is not None:
                lines.write(json.dumps(prediction_row(prediction, info.class_names)) + '\n')
                progress.advance(1)
    if lines is not None:
        where = 'standard output' if config.predict.json == STANDARD_STREAM else config.predict.json
        log.info(
            'Predictions of %s images in %s (%.1f images/s).', f'{progress.done:,}', where, progress.images_per_second
        )
    if pictured and initialize.is_primary():
        _draw_picture(config.predict.picture, pictured, info, num_images)
    return unreadable


def _draw_picture(file: str, pictured: Sequence[FilePrediction], info: DatasetInfo, num_images: int) -> None:
    """Draw images with their most probable classes as bars; a label is known where a folder has a class's name."""
    plot_top_five(
        np.stack([each.pixels for each in pictured]),
        [each.label for each in pictured],
        np.stack([each.probabilities for each in pictured]),
        info.short_class_names,
        file,
        image_names=[os.path.basename(each.file) for each in pictured],
        subtitle=f'the first {len(pictured):,} of {num_images:,} images: the class by whose name the folder goes, else '
        'the name of the file, and the most probable classes',
    )
    log.info('Picture: %s', file)


def _find_images(config: ConfigDict) -> FoundImages:
    """Return the images of --images; '-': those that standard input lists."""
    paths = split_paths(config.predict.images)
    if paths != [STANDARD_STREAM]:
        return find_image_files(paths)
    if initialize.is_multi_process():
        raise UserError('--images=- reads a list from standard input, which only one process has; name a folder.')
    if sys.stdin.isatty():
        log.info('Type the names of images, one on each line; Ctrl-D ends the list.')
    return find_listed_files(os.fsdecode(sys.stdin.buffer.read()))


def _check_outputs(config: ConfigDict) -> None:
    """Raise UserError unless the files that are asked for can be written."""
    if config.predict.json not in ('', STANDARD_STREAM):
        atomic_io.require_folder_of(config.predict.json, '--config.predict.json')
    if picture := config.predict.picture:
        atomic_io.require_folder_of(picture, '--config.predict.picture')
        if not picture.lower().endswith('.png'):
            raise UserError(f'--config.predict.picture={picture} must end in .png, as it is written in that format.')


@contextlib.contextmanager
def open_json_lines(path: str) -> Iterator[IO[str] | None]:
    """Yield what JSON lines are written to: a file that is whole or not there, standard output for '-', None for ''."""
    if not path or not initialize.is_primary():
        yield None
    elif path == STANDARD_STREAM:
        try:
            yield sys.stdout
        except BrokenPipeError:
            streams.discard_output(sys.stdout)
    else:
        with atomic_io.write_atomic(path) as file:
            yield file


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


def prediction_row(prediction: FilePrediction, class_names: Sequence[str]) -> dict[str, Any]:
    """Return what a JSON line says of a file: its classes, each with its number, name and words; or the error."""
    if prediction.error:
        return {'file': prediction.file, 'error': prediction.error}
    classes = [
        {'label': label, 'class': class_names[label], 'name': name, 'probability': probability}
        for label, (name, probability) in zip(prediction.labels, prediction.classes, strict=True)
    ]
    return {'file': prediction.file, 'predictions': classes}
