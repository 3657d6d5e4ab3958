"""The point from which a run continues: begun by its seed, or restored from a checkpoint and its record."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from alexnet_jax.commands import factories, finetune, run_dir, training_plan
from alexnet_jax.data import dataset, pipeline
from alexnet_jax.errors import UserError
from alexnet_jax.models.alexnet import get_parameters, with_parameters
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.train.loop import LoopSchedule, MetricAccumulator
from alexnet_jax.train.schedule import ReduceOnPlateau
from alexnet_jax.train.train_step import TrainState

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunContext:
    """The network, data and devices of a run, and its folder."""

    config: ConfigDict
    workdir: str
    data: dataset.Dataset
    arch: Architecture
    mesh: jax.sharding.Mesh
    # As of a run that nothing changed: no other batch size before, nothing skipped.
    train_data: pipeline.TrainPipeline
    plateau: ReduceOnPlateau | None

    @property
    def checkpoint_dir(self) -> Path:
        """Return the folder of the run's checkpoints."""
        return Path(self.workdir) / run_dir.CHECKPOINTS_DIR

    def make_schedule(self, train_data: pipeline.TrainPipeline, step: int = 0) -> LoopSchedule:
        """Return the schedule of a run over `train_data` of which `step` steps are done."""
        layers = self.arch.parameter_counts()
        return training_plan.make_loop_schedule(self.config, train_data, layers, self.plateau, step)

    @property
    def weights_key(self) -> jax.Array:
        """Return the key that the first weights are drawn by."""
        return weights_key(self.config.seed)

    @property
    def dropout_key(self) -> jax.Array:
        """Return the key that the dropout masks are drawn by."""
        return jax.random.fold_in(_run_key(self.config.seed), 1)


def weights_key(seed: int) -> jax.Array:
    """Return the key that the first weights of a run with that seed are drawn by."""
    return jax.random.fold_in(_run_key(seed), 0)


def _run_key(seed: int) -> jax.Array:
    return jax.random.key(seed, impl='threefry2x32')


class ResumePoint(NamedTuple):
    """The state of a run after `step` steps, from which it can continue.

    `metrics` are the sums since the last row, `train_data` begins behind the examples seen so far, `skipped` are the
    ranges to skip, and `unvalidated` says that a signal interrupted the validation of this state.
    """

    step: int
    state: TrainState
    metrics: MetricAccumulator
    train_data: pipeline.TrainPipeline
    schedule: LoopSchedule
    skipped: pipeline.SkipRanges = ()
    unvalidated: bool = False

    def examples(self) -> pipeline.TrainPipeline:
        """Return the training data without what is skipped."""
        return self.train_data.with_skips(self.skipped)

    def is_finished(self, plateau: ReduceOnPlateau | None) -> bool:
        """Return whether no step is left to do."""
        return self.step >= self.schedule.num_steps or (plateau is not None and plateau.finished)


def initial_point(context: RunContext) -> ResumePoint:
    """Return the point before the first step, with weights drawn by the seed, or those that it fine-tunes."""
    model = factories.make_model(context.config, context.arch, key=context.weights_key)
    if context.config.finetune.path:
        drawn = jax.device_get(get_parameters(model))
        model = with_parameters(model, finetune.load_start_weights(context.config, context.arch, drawn))
    state = factories.init_state(context.config, model, context.mesh)
    schedule = context.make_schedule(context.train_data)
    return ResumePoint(0, state, MetricAccumulator(), context.train_data, schedule)


def restored_point(context: RunContext, step: int, arrays: dict[str, Any], record: dict[str, Any]) -> ResumePoint:
    """Return the point of a checkpoint, whose record `make_record` or an older version made; set the plateau."""
    config = context.config
    if context.plateau:
        context.plateau.load_state_dict(record['plateau'])
    batch_size, seen = run_dir.saved_batch(context.workdir, record, step)
    if batch_size != config.train.batch_size:
        log.warning(
            'config.train.batch_size was %d and is now %d: the run resumes after the %s examples it has seen, in '
            'steps of the new size. The learning rate stays config.train.learning_rate.',
            batch_size,
            config.train.batch_size,
            f'{seen:,}',
        )
    skipped = tuple((first, last) for first, last in record.get('skipped', ()))
    train_data = context.train_data.with_skips(())
    schedule = context.make_schedule(train_data)
    # Some of them were seen in batches of another size.
    if seen != train_data.with_skips(skipped).position(step):
        train_data.rebase(step, seen)
        schedule = context.make_schedule(train_data, step)
    _require_same_diary(record.get('diary', ()), schedule.diary_entries(step - 1), step)
    state, metrics = TrainState.from_state_dict(arrays), MetricAccumulator(**record['tally'])
    return ResumePoint(step, state, metrics, train_data, schedule, skipped, record.get('unvalidated', False))


def _require_same_diary(recorded: Sequence[str], entries: Sequence[str], step: int) -> None:
    """Raise UserError unless the entries of the diary that the first `step` steps followed are still the config's."""
    if list(recorded) != list(entries):
        was, now = ('; '.join(each) or 'nothing' for each in (recorded, entries))
        raise UserError(
            f'The diary of the checkpoint of step {step} is {was!r}, but config.train.diary has {now!r} up to there. '
            'Set the same entries; only those to come may change.'
        )


def make_record(
    context: RunContext, start: ResumePoint, step: int, metrics: MetricAccumulator, *, unvalidated: bool
) -> dict[str, Any]:
    """Return the JSON record of a checkpoint, `step` steps into a run that continued from `start`."""
    seen = {'batch': context.config.train.batch_size, 'examples': start.examples().position(step)}
    record: dict[str, Any] = {'tally': metrics.state_dict(), 'seen': seen}
    record |= {'plateau': context.plateau.state_dict()} if context.plateau else {}
    record |= {'skipped': start.skipped} if start.skipped else {}
    entries = start.schedule.diary_entries(step - 1) if step else ()
    record |= {'diary': list(entries)} if entries else {}
    return record | ({'unvalidated': True} if unvalidated else {})
