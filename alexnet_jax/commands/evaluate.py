"""Mode evaluate: a checkpoint of a run, scored on a split."""

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
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.runtime import atomic_io, signals
from alexnet_jax.train import loop
from alexnet_jax.train.train_step import TrainState

log = logging.getLogger(__name__)


def report_split(config: ConfigDict, counts: dict[str, int]) -> str:
    """The split the last figure is measured on: the one asked for, else the one that there is."""
    for split in (config.evaluate.split, 'test', 'validation'):
        if split in counts:
            return split
    raise UserError(
        f'The dataset has only {", ".join(counts)}, and an honest figure needs images that were not trained on; give '
        'another --workdir with --config.prepare.test_fraction above 0, or --config.evaluate.split=train for the error '
        'on the training images.'
    )


def check_report_split(config: ConfigDict, counts: dict[str, int]) -> None:
    """The dataset has the splits that the reported figure needs. Raises UserError."""
    report_split(config, counts)
    if config.evaluate.checkpoint == 'best' and 'validation' not in counts:
        raise UserError(
            'config.evaluate.checkpoint is best, which the validation error chooses, and the dataset has only '
            f'{", ".join(counts)}; give --config.evaluate.checkpoint=final.'
        )


def check_report_step(config: ConfigDict, schedule: loop.LoopSchedule, saved: list[int], *, ended: bool = False) -> None:
    """The step that evaluate.checkpoint names will have a checkpoint when the run has ended. Raises UserError.

    `saved` are the checkpoints that there are; where the run has `ended`, none will come and none will go.
    """
    if not config.evaluate.checkpoint.isdecimal():
        return
    step, newest = int(config.evaluate.checkpoint), max(saved, default=0)
    before = next((done for done in range(schedule.num_steps - 1, newest, -1) if schedule.should_save(done)), newest)
    last, each = [done for done in (before, schedule.num_steps) if done], config.checkpoint.keep_every_steps
    comes = step in saved or (newest < step <= schedule.num_steps and schedule.should_save(step))
    stays = ended or step in last or (each > 0 and step % each == 0)
    if not (comes and stays):
        kept = ', '.join(map(str, saved if ended else last)) + f', each {each}th' * (each > 0 and not ended)
        raise UserError(
            f'config.evaluate.checkpoint is {step}, and of that step no checkpoint is kept, but of {kept} and the '
            'best; give one of these, final, best, or a config.checkpoint.keep_every_steps that keeps it.'
        )


def report_step(config: ConfigDict, checkpoints: CheckpointManager) -> int | None:
    """The step that evaluate.checkpoint means; None: the newest whole one."""
    wanted = config.evaluate.checkpoint
    if wanted == 'final':
        return None
    if wanted == 'best':
        if (best := checkpoints.best()) is None:
            raise UserError(
                'No checkpoint was validated, so none is the best; give --config.evaluate.checkpoint=final.'
            )
        return best
    return int(wanted)


def report_parameters(
    config: ConfigDict,
    checkpoints: CheckpointManager,
    arch: Architecture,
    mesh: jax.sharding.Mesh,
    last: int,
    state: TrainState,
) -> tuple[int, Parameters]:
    """The step and the parameters that the last figure is of: of `state` after the `last` step, or of a checkpoint."""
    wanted = report_step(config, checkpoints)
    if wanted in (None, last):
        return last, state.params
    number, restored, _ = checkpoints.restore(factories.abstract_checkpoint(config, arch, mesh), wanted)
    return number, restored['parameters']


class LoadedRun(NamedTuple):
    """A trained run: its settings and its dataset, and one of its checkpoints on the mesh."""

    config: ConfigDict
    data: dataset.Dataset
    network: AlexNet
    mesh: jax.sharding.Mesh
    step: int
    parameters: Parameters


def load_run(config: ConfigDict, workdir: str) -> LoadedRun:
    """The run in `workdir` at the checkpoint that evaluate.checkpoint means, on the machine that `config` describes.

    What decided that run is read from its folder, so that nobody has to give its card again.
    """
    if run_dir.read_run(workdir) is None or not (Path(workdir) / run_dir.CHECKPOINTS_DIR).is_dir():
        raise UserError(
            f'{workdir} holds no trained run; train first: python main.py --workdir={workdir} with the same --config.'
        )
    config = run_dir.restore_config(config, workdir)
    data = factories.open_or_prepare_dataset(config, workdir)
    arch = factories.make_architecture(config, data)
    mesh = factories.make_device_mesh(config, arch, for_training=False)
    checkpoints = CheckpointManager(Path(workdir) / run_dir.CHECKPOINTS_DIR, read_only=True)
    step, state, _ = checkpoints.restore(factories.abstract_checkpoint(config, arch, mesh), report_step(config, checkpoints))
    checkpoints.close()
    return LoadedRun(config, data, factories.make_network(config, arch), mesh, step, state['parameters'])


def evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Errors with their interval, loss, split, views and checkpoint step; also written as evaluation.json."""
    with signals.interrupt_immediately('nothing was written; run the same command again.', multi_process=initialize.is_multi_process()):
        return _evaluate(config, workdir)


def _evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    run = load_run(config, workdir)
    config, data = run.config, run.data
    split = report_split(config, data.counts)
    log.info(
        'Scoring step %d on %s images of the split %s, %d views.',
        run.step,
        f'{data.counts[split]:,}',
        split,
        config.evaluate.views,
    )
    evaluator = factories.make_evaluator(config, data, run.network, run.mesh, views=config.evaluate.views)
    rates = evaluator.rates(run.parameters, factories.make_eval_pipeline(config, data, split, run.mesh))
    low, high = metrics.wilson_interval(round(rates['top1_error'] * rates['images']), int(rates['images']))
    scored = {
        **rates,
        'split': split,
        'views': config.evaluate.views,
        'checkpoint_step': run.step,
        'interval': [low, high],
    }
    if is_primary():
        atomic_io.write_json(Path(workdir) / 'evaluation.json', scored)
    log.info(
        'Top-1 error %.2f %% (95 %% interval %.2f to %.2f %%), top-5 error %.2f %%, loss %.4f on %s %s images.',
        *(100 * figure for figure in (rates['top1_error'], low, high, rates['top5_error'])),
        rates['loss'],
        f'{rates["images"]:,}',
        split,
    )
    return scored
