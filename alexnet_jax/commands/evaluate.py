"""--mode=evaluate: scores a checkpoint of a run on a split, and chooses what a run reports at its end."""

from __future__ import annotations

import errno
import glob
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import factories, published_figures, run_dir
from alexnet_jax.config import build
from alexnet_jax.data import dataset, dataset_info
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.distributed import initialize
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate import metrics
from alexnet_jax.evaluate.view_places import describe_views, place_views
from alexnet_jax.experiments.published_errors import find_published
from alexnet_jax.models.alexnet import AlexNet, Parameters
from alexnet_jax.report import class_errors, run_result
from alexnet_jax.report.predictions_file import PREDICTIONS_CSV, ScoredSplit, write_predictions
from alexnet_jax.report.text import format_percent
from alexnet_jax.runtime import atomic_io, signals
from alexnet_jax.train.loop import LoopSchedule

MAX_LISTED = 3  # classes that a sentence names

log = logging.getLogger(__name__)


class LoadedRun(NamedTuple):
    """A trained run: its config, what its network needs of the dataset, and that network at one step on the mesh."""

    config: ConfigDict
    info: DatasetInfo
    model: AlexNet
    mesh: jax.sharding.Mesh
    step: int
    params: Parameters


def evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Return errors with their interval, loss, split, views and checkpoint step; write them as evaluation.json."""
    if glob.has_magic(workdir) and not Path(workdir).exists():
        raise UserError(
            f'--workdir={workdir} names several runs; --mode=ensemble scores each of them, and their average. Name one '
            'run to evaluate it alone.'
        )
    with signals.interrupt_immediately(
        'nothing was written; run the same command again.', multi_process=initialize.is_multi_process()
    ):
        return _evaluate(config, workdir)


def _evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    config, info = read_trained_run(config, workdir)
    data = factories.open_prepared_dataset(config, workdir)
    check_same_classes(info, data.class_names, data.directory)
    check_same_image_size(info, data)
    split, views = report_split(config, data.counts), build.report_views(config)
    if note := other_dataset_note(info, data):
        log.warning('%s.', note)
    run = load_run(config, info, workdir)
    log.info(
        'Evaluating step %d on the %s images of the %s split: %s.',
        run.step,
        f'{data.counts[split]:,}',
        split,
        describe_views(views),
    )
    evaluator = factories.make_evaluator(config, info, run.model, run.mesh, views=views, num_images=data.counts[split])
    error_rates, predictions = evaluator.evaluate_and_predict(
        run.params, factories.make_eval_pipeline(config, data, split, run.mesh)
    )
    interval = metrics.top1_interval(error_rates)
    result = {
        **error_rates,
        'split': split,
        'views': views,
        'checkpoint_step': run.step,
        'interval': list(interval),
        'classes': len(info.class_names),
        'dataset': data.checksum,
        'note': note,
    }
    low, high = (format_percent(bound, 2) for bound in interval)
    log.info(
        'Top-1 error %s (95 %% interval %s to %s), top-5 error %s, loss %.4f on %s %s images.',
        format_percent(error_rates['top1_error'], 2),
        low,
        high,
        format_percent(error_rates['top5_error'], 2),
        error_rates['loss'],
        f'{error_rates["images"]:,}',
        split,
    )
    scored = ScoredSplit(predictions, split, views, run.step, data.checksum)
    log.info('%s', class_errors.describe_worst_classes(scored.errors_by_class(info.readable_class_names)))
    if is_primary():
        _write_evaluation(workdir, result, scored, info, data.name)
    return result


def _write_evaluation(
    workdir: str, result: dict[str, Any], scored: ScoredSplit, info: DatasetInfo, dataset_name: str
) -> None:
    """Write the figures, predictions, errors by class and the table beside the published ones, where one may write."""
    file = Path(workdir) / run_result.EVALUATION_FILE
    try:
        atomic_io.write_json(file, result)
        write_predictions(Path(workdir) / PREDICTIONS_CSV, scored, info.class_names)
        class_errors.write_class_errors(workdir, scored.errors_by_class(info.readable_class_names))
        name = run_dir.read_name(workdir)
        published = find_published(name, result['views'])
        if sentence := published_figures.compare_with_published(workdir, name, published, result, dataset_name):
            log.info('%s', sentence)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        log.warning('%s was not written (%s): these figures are in this output alone.', file, error.strerror)


def read_trained_run(config: ConfigDict, workdir: str) -> tuple[ConfigDict, DatasetInfo]:
    """Return `config` with the fields that decided the run in `workdir`, and what its network needs of its dataset.

    Both are read from the run's folder, so that neither --config nor the dataset need be given again. Older versions
    kept no dataset info: their runs need their dataset. Raises UserError if there is no trained run.
    """
    stored_run = run_dir.read_run(workdir)
    if stored_run is None or not (Path(workdir) / run_dir.CHECKPOINTS_DIR).is_dir():
        raise UserError(
            f'{workdir} has no trained run. Train first: python main.py --workdir={workdir} with the same --config.'
        )
    config = run_dir.restore_config(config, workdir)
    if info := dataset_info.read_dataset_info(Path(workdir) / run_dir.DATASET_INFO_FILE):
        return config, info
    data = factories.open_prepared_dataset(config, workdir)
    if stored_run['deciding'].get('dataset') not in (data.checksum, data.manifest_checksum):
        raise UserError(
            f'{data.directory} is not the dataset that the run in {workdir} was trained on, which kept neither its '
            'class names nor its mean image. Set --config.data.directory to that dataset.'
        )
    return config, data


def load_run(config: ConfigDict, info: DatasetInfo, workdir: str) -> LoadedRun:
    """Return the run in `workdir` at the checkpoint of config.evaluate.checkpoint, on the devices of `config`.

    `config` and `info` are those of `read_trained_run`.
    """
    arch = build.preset_architecture(config, len(info.class_names))
    mesh = factories.make_device_mesh(config, arch, for_training=False)
    checkpoints = CheckpointManager(Path(workdir) / run_dir.CHECKPOINTS_DIR, read_only=True)
    like = factories.abstract_checkpoint(config, arch, mesh)
    step, state, _ = checkpoints.restore(like, report_step(config, checkpoints))
    checkpoints.close()
    return LoadedRun(config, info, factories.make_model(config, arch), mesh, step, state['parameters'])


def check_same_classes(info: DatasetInfo, class_names: Sequence[str], directory: str | Path) -> None:
    """Raise UserError unless `class_names`, of the dataset in `directory`, are those of the network, in their order."""
    if tuple(class_names) != info.class_names:
        other = [name for name in class_names if name not in info.class_names]
        missing = [name for name in info.class_names if name not in class_names]
        difference = ' and '.join(
            f'{subject} {", ".join(names[:MAX_LISTED])}{", ..." * (len(names) > MAX_LISTED)}'
            for subject, names in (('the network has no class', other), ('the dataset has no class', missing))
            if names
        )
        raise UserError(
            f'{directory} has other classes than the network was trained on: '
            f'{difference or "they are in another order"}. Choose a dataset of the same classes.'
        )


def check_same_image_size(info: DatasetInfo, data: dataset.Dataset) -> None:
    """Raise UserError unless the dataset's images have the size of those that the network was trained on."""
    if data.image_size != info.image_size:
        raise UserError(
            f'{data.directory} has images of {data.image_size} pixels, but the network was trained on '
            f'{info.image_size}. Prepare them with --config.prepare.image_size={info.image_size}.'
        )


def other_dataset_note(info: DatasetInfo, data: dataset.Dataset) -> str:
    """Return that the dataset is not the one of the training; '' if it is."""
    if data.checksum == info.checksum:
        return ''
    return (
        f'{data.directory} is another dataset than the network was trained on, of the same classes; its images are '
        "scored with the training images' mean"
    )


def report_split(config: ConfigDict, counts: dict[str, int]) -> str:
    """Return the split to report on: config.evaluate.split if it exists, else test, else validation.

    Raises UserError if there is none of them.
    """
    for split in (config.evaluate.split, 'test', 'validation'):
        if split in counts:
            return split
    raise UserError(
        f'The dataset has only {", ".join(counts)}, but an error rate needs images that were not trained on. Choose '
        'another --workdir with --config.prepare.test_fraction above 0, or --config.evaluate.split=train for the error '
        'on the training images.'
    )


def check_report_split(config: ConfigDict, counts: dict[str, int]) -> None:
    """Raise UserError unless the dataset has the splits that the report needs."""
    report_split(config, counts)
    if config.evaluate.checkpoint == 'best' and 'validation' not in counts:
        raise UserError(
            'config.evaluate.checkpoint=best needs a validation split, but the dataset has only '
            f'{", ".join(counts)}. Set --config.evaluate.checkpoint=final.'
        )


def check_report_views(config: ConfigDict, image_size: int, crop_size: int) -> None:
    """Raise UserError unless images of that size have the views that the report needs."""
    place_views(build.report_views(config), image_size, crop_size)


def check_report_step(config: ConfigDict, schedule: LoopSchedule, saved: list[int], *, ended: bool = False) -> None:
    """Raise UserError unless the step of config.evaluate.checkpoint will have a checkpoint at the end of the run.

    `saved` are the steps of the present checkpoints; if the run has `ended`, none is added or deleted any more.
    """
    if not config.evaluate.checkpoint.isdecimal():
        return
    step, newest = int(config.evaluate.checkpoint), max(saved, default=0)
    later = range(schedule.num_steps - 1, newest, -1)
    last_but_one = next((done for done in later if schedule.should_save(done)), newest)
    last_two = [done for done in (last_but_one, schedule.num_steps) if done]
    keep_every = config.checkpoint.keep_every_steps
    is_saved = step in saved or (newest < step <= schedule.num_steps and schedule.should_save(step))
    is_kept = ended or step in last_two or (keep_every > 0 and step % keep_every == 0)
    if not (is_saved and is_kept):
        kept = [str(done) for done in (saved if ended else last_two)]
        if keep_every and not ended:
            kept.append(f'every {keep_every}th')
        raise UserError(
            f'No checkpoint will be kept for config.evaluate.checkpoint={step} (kept: {", ".join(kept)}, best). Set it '
            'to one of these, to final or best, or set config.checkpoint.keep_every_steps so that it is kept.'
        )


def report_step(config: ConfigDict, checkpoints: CheckpointManager) -> int | None:
    """Return the step of config.evaluate.checkpoint; None: the newest valid one. Raises UserError if no best exists."""
    wanted = config.evaluate.checkpoint
    if wanted == 'final':
        return None
    if wanted == 'best':
        if (best := checkpoints.best()) is None:
            raise UserError(
                'No checkpoint was validated, so there is no best one. Set --config.evaluate.checkpoint=final.'
            )
        return best
    return int(wanted)


def at_report_step(run: LoadedRun, checkpoints: CheckpointManager) -> LoadedRun:
    """Return an ended run as it is, or with the parameters of the checkpoint that it reports instead."""
    wanted = report_step(run.config, checkpoints)
    if wanted in (None, run.step):
        return run
    like = factories.abstract_checkpoint(run.config, run.model.arch, run.mesh)
    step, state, _ = checkpoints.restore(like, wanted)
    return run._replace(step=step, params=state['parameters'])
