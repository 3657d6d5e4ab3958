"""--mode=evaluate: scores a checkpoint of a run on a split, and chooses what a run reports at its end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import factories, run_dir
from alexnet_jax.data import dataset
from alexnet_jax.distributed import initialize
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate import metrics
from alexnet_jax.models.alexnet import AlexNet, Parameters
from alexnet_jax.report import run_result
from alexnet_jax.report.text import format_percent
from alexnet_jax.runtime import atomic_io, signals
from alexnet_jax.train.loop import LoopSchedule

log = logging.getLogger(__name__)


class LoadedRun(NamedTuple):
    """A trained run: its config and dataset, and its network on the mesh with the parameters of one step."""

    config: ConfigDict
    data: dataset.Dataset
    model: AlexNet
    mesh: jax.sharding.Mesh
    step: int
    params: Parameters


def evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Return errors with their interval, loss, split, views and checkpoint step; write them as evaluation.json."""
    with signals.interrupt_immediately(
        'nothing was written; run the same command again.', multi_process=initialize.is_multi_process()
    ):
        return _evaluate(config, workdir)


def _evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    run = load_run(config, workdir)
    config, data = run.config, run.data
    split, num_views = report_split(config, data.counts), config.evaluate.views
    log.info(
        'Evaluating step %d on the %s images of the %s split with %d view%s.',
        run.step,
        f'{data.counts[split]:,}',
        split,
        num_views,
        's' * (num_views > 1),
    )
    evaluator = factories.make_evaluator(config, data, run.model, run.mesh, num_views=num_views)
    error_rates = evaluator.evaluate(run.params, factories.make_eval_pipeline(config, data, split, run.mesh))
    interval = metrics.top1_interval(error_rates)
    result = {
        **error_rates,
        'split': split,
        'views': num_views,
        'checkpoint_step': run.step,
        'interval': list(interval),
    }
    if is_primary():
        atomic_io.write_json(Path(workdir) / run_result.EVALUATION_FILE, result)
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
    return result


def load_run(config: ConfigDict, workdir: str) -> LoadedRun:
    """Return the run in `workdir` at the checkpoint of config.evaluate.checkpoint, on the devices of `config`.

    The fields that decide the run are read from its folder, so that --config need not be given again. Raises UserError
    if there is no trained run.
    """
    checkpoint_dir = Path(workdir) / run_dir.CHECKPOINTS_DIR
    if run_dir.read_run(workdir) is None or not checkpoint_dir.is_dir():
        raise UserError(
            f'{workdir} has no trained run. Train first: python main.py --workdir={workdir} with the same --config.'
        )
    config = run_dir.restore_config(config, workdir)
    data = factories.open_or_prepare_dataset(config, workdir)
    arch = factories.make_architecture(config, data)
    mesh = factories.make_device_mesh(config, arch, for_training=False)
    checkpoints = CheckpointManager(checkpoint_dir, read_only=True)
    like = factories.abstract_checkpoint(config, arch, mesh)
    step, state, _ = checkpoints.restore(like, report_step(config, checkpoints))
    checkpoints.close()
    return LoadedRun(config, data, factories.make_model(config, arch), mesh, step, state['parameters'])


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


def check_report_step(
    config: ConfigDict, schedule: LoopSchedule, saved: list[int], *, ended: bool = False
) -> None:
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
