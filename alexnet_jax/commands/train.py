"""Mode train: from a config and a folder to a trained network, its figure and its pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import consistency, evaluate, factories, final_report, training_plan
from alexnet_jax.commands import run_dir as folder
from alexnet_jax.config import validate
from alexnet_jax.data import dataset, pipeline, prefetch
from alexnet_jax.distributed import initialize, sync
from alexnet_jax.distributed.mesh import batch_sharding, compiler_options, is_primary
from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.runtime import signals
from alexnet_jax.train import loop, nonfinite, optimizer, schedule, train_step
from alexnet_jax.train.metrics_writer import MetricsWriter, read_metrics
from alexnet_jax.train.profiler import Profiler
from alexnet_jax.train.timing import PhaseTimer

PROFILE_DIR = 'profile'  # the folder of traces in the workdir

log = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Goes on with the run in `workdir` or begins it; the content of result.json.

    What does not fit is refused before the folder is made, and so is a folder in which another process trains.
    """
    mesh = factories.mesh_of(config, factories.outline(config))  # first: one that cannot be costs no images
    data = factories.open_dataset(config, workdir)
    shape = factories.architecture_of(config, data)
    factories.check_cache(config, data, mesh)
    stream = factories.training_of(config, data, shape, mesh)
    consistency.compare({'the dataset (its checksum)': data.checksum})
    plateau = training_plan.make_plateau(config, data.counts)
    plan = training_plan.make_loop_schedule(config, stream, shape.parameters(), plateau)
    evaluate.check_figure(config, data.counts)
    if not (Path(workdir) / folder.CHECKPOINTS).exists():
        evaluate.check_step(config, plan, [])
    with (
        folder.alone(workdir) if is_primary() else contextlib.nullcontext(),
        signals.Stop(together=initialize.many()) as stop,
    ):
        return run_training(config, workdir, data, shape, mesh, stream, plateau, plan, stop)


def run_training(
    config: ConfigDict,
    workdir: str,
    data: dataset.Dataset,
    shape: Architecture,
    mesh: jax.sharding.Mesh,
    stream: pipeline.TrainPipeline,
    plateau: schedule.ReduceOnPlateau | None,
    plan: loop.LoopSchedule,
    stop: signals.Stop,
) -> dict[str, Any]:
    """The run itself: it continues from its own newest whole checkpoint, else begins from weights drawn by its seed."""
    began = time.perf_counter()
    if is_primary():
        folder.check_room(workdir, numbers=2 * sum(shape.parameters().values()))
        folder.settle(workdir, config, dataset=data.checksum)
    for line in training_plan.describe_run(config, data, shape, plan, workdir) + factories.describe(
        shape, mesh
    ):
        log.info('%s', line)
    with (
        MetricsWriter(workdir, tensorboard=config.log.tensorboard, writer=is_primary()) as journal,
        Profiler(validate.profile(config), Path(workdir) / PROFILE_DIR) as profile,
        # However the run ends, a save that was begun becomes whole before the process does.
        contextlib.closing(
            CheckpointManager(Path(workdir) / folder.CHECKPOINTS, keep_every=config.checkpoint.keep_every_steps)
        ) as checkpoints,
    ):
        network = factories.network_of(config, shape)
        run = RunContext(config, workdir, data, network, mesh, stream, plateau, stop, journal, profile, checkpoints)
        with stop.leaving('nothing was done since the last checkpoint; run the same command to go on.'):
            checkpoints.require_fresh_run(any(row['step'] for row in read_metrics(workdir)))
            start = restore_or_init(run)
            if is_primary() and not (Path(workdir) / final_report.EXAMPLES).exists():
                final_report.draw_examples(stream, data, workdir, mean_kind=config.augment.mean)
        ended = start.done >= start.plan.last or bool(plateau and plateau.over)
        evaluate.check_step(config, start.plan, checkpoints.steps(), ended=ended)
        run.ledger.add('start', time.perf_counter() - began)
        return finish_run(run, train_with_recovery(run, start))


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What one run holds from its beginning to its end."""

    config: ConfigDict
    workdir: str
    data: dataset.Dataset
    network: AlexNet
    mesh: jax.sharding.Mesh
    stream: pipeline.TrainPipeline  # as of a run that nothing changed: no other batch before, nothing skipped
    plateau: schedule.ReduceOnPlateau | None
    stop: signals.Stop
    journal: MetricsWriter
    profile: Profiler
    checkpoints: CheckpointManager
    ledger: PhaseTimer = dataclasses.field(default_factory=PhaseTimer)

    @property
    def key(self) -> jax.Array:
        """What the weights and the masks are drawn by."""
        return jax.random.key(self.config.seed)

    def plan(self, stream: pipeline.TrainPipeline, done: int = 0) -> loop.LoopSchedule:
        """Steps, cadences and rates along a stream."""
        layers = self.network.architecture.parameters()
        return training_plan.make_loop_schedule(self.config, stream, layers, self.plateau, done)


class ResumePoint(NamedTuple):
    """Where a run stands: steps done, state, sums since the last row, the stream behind the examples it has seen and
    its plan, ranges that are skipped, and whether a signal left the validation of this state.
    """

    done: int
    state: train_step.TrainState
    tally: loop.MetricAccumulator
    stream: pipeline.TrainPipeline
    plan: loop.LoopSchedule
    skipped: pipeline.SkipRanges = ()
    unvalidated: bool = False

    def images(self) -> pipeline.TrainPipeline:
        """The stream without what is skipped."""
        return self.stream.skipping(self.skipped)


def restore_or_init(run: RunContext) -> ResumePoint:
    """The newest whole checkpoint's, else a fresh network's. The plateau is put where it was."""
    shape, config = run.network.architecture, run.config
    if not run.checkpoints.steps():
        run.journal.truncate_after(0)
        fresh = factories.network_of(config, shape, key=jax.random.fold_in(run.key, 0))
        return ResumePoint(
            0, train_step.init_train_state(fresh, run.mesh), loop.MetricAccumulator(), run.stream, run.plan(run.stream)
        )
    done, state, record = run.checkpoints.restore(factories.abstract_state(shape, run.mesh))
    run.journal.truncate_after(done)
    log.info('Going on from the checkpoint of step %d.', done)
    if run.plateau:
        vars(run.plateau).update(record['plateau'])
    batch, seen = folder.batch_of(run.workdir, record, done)
    if batch != config.train.batch_size:
        log.warning(
            'config.train.batch_size was %d and is now %d: the run goes on behind the %s examples it has seen, in steps '
            'of the new size; the rate stays what config.train.learning_rate says.',
            batch,
            config.train.batch_size,
            f'{seen:,}',
        )
    skipped = tuple((first, last) for first, last in record.get('skipped', ()))
    stream, plan = run.stream.skipping(()), run.plan(run.stream)
    if seen != stream.skipping(skipped).position(done):  # some of them were seen in batches of another size
        stream.go_on(done, seen)
        plan = run.plan(stream, done)
    unvalidated = record.get('unvalidated', False)
    return ResumePoint(done, state, loop.MetricAccumulator(**record['tally']), stream, plan, skipped, unvalidated)


def train_with_recovery(run: RunContext, start: ResumePoint) -> ResumePoint:
    """All steps from there, going back where the loss explodes and the config says so; where the run stands then."""
    while start.unvalidated or start.done < start.plan.last and not (run.plateau and run.plateau.over):
        try:
            state, done = run_loop(run, start)
            return start._replace(done=done, state=state, unvalidated=False)
        except loop.NonFiniteLoss as end:
            end = nonfinite.with_examples(end, start.images(), run.workdir)
            if run.config.train.on_nonfinite == 'stop':
                raise end from None
            skipped = nonfinite.ranges_to_skip(end, start.images())
            run.checkpoints.delete_after(nonfinite.first_bad_step(end))
            if run.plateau:
                vars(run.plateau).update(vars(training_plan.make_plateau(run.config, run.data.counts)))
            start = restore_or_init(run)._replace(skipped=skipped)
    return start


def run_loop(run: RunContext, start: ResumePoint) -> tuple[train_step.TrainState, int]:
    """The steps from where the run stands to the last one, and its number."""
    config, stream = run.config, start.images()
    held = factories.cache_of(config, run.data, run.mesh)
    made = made_step(run, held.images if held else None)
    cached = stream.without_pixels(held.labels) if held else stream
    batches = cached.batches(start.done, start.plan.last)
    with prefetch.prefetch_to_device(batches, batch_sharding(run.mesh), ahead=config.data.prefetch) as fed:
        return loop.run(
            made,
            start.state,
            fed,
            start.plan,
            run.journal,
            first=start.done,
            unvalidated=start.unvalidated,
            tally=start.tally,
            evaluate=make_validator(run),
            save=make_saver(run, start.skipped, stream),
            stop=sync.Agreement(run.stop, run.mesh) if initialize.many() else run.stop,
            leaving=run.stop.leaving,
            check=run.checkpoints.raise_if_save_failed,
            plateau=run.plateau,
            standstill=training_plan.make_stalled_loss_detector(config, len(run.data.classes)),
            profile=run.profile,
            skipped=stream.skipped_before,
            ledger=run.ledger,
            shares=config.log.time_breakdown,
        )


def made_step(run: RunContext, images: jax.Array | None) -> Callable[..., Any]:
    """The compiled step as the config has it; `images` are those that the devices hold themselves."""
    train = run.config.train
    layers = tuple(run.network.architecture.parameters())
    return train_step.make_train_step(
        run.network,
        optimizer.paper_sgd(
            layers, momentum=train.momentum, decay=train.weight_decay, decay_biases=train.decay_biases
        ),
        run.mesh,
        mean=run.data.mean,
        mean_kind=run.config.augment.mean,
        key=jax.random.fold_in(run.key, 1),
        accumulate=train.grad_accumulation,
        images=images,
        compiler_options=compiler_options(run.config.machine.ynnpack_dots_only),
    )


def make_validator(run: RunContext) -> Callable[[train_step.TrainState, int], dict[str, float] | None]:
    """What gives the rates on the validation split, None where there is none."""
    if 'validation' not in run.data.counts:
        return lambda state, done: None
    center = factories.evaluator_of(run.config, run.data, run.network, run.mesh, views=1)
    return lambda state, done: center.rates(
        state['parameters'], factories.scoring_of(run.config, run.data, 'validation', run.mesh)
    )


def make_saver(run: RunContext, skipped: pipeline.SkipRanges, stream: pipeline.TrainPipeline) -> Callable[..., None]:
    """What saves a state of a run along that stream, as loop.Run.save says."""

    def save(
        state: train_step.TrainState,
        done: int,
        tally: loop.MetricAccumulator,
        top1_error: float | None,
        unvalidated: bool = False,
        overwrite: bool = False,
    ) -> None:
        run.journal.flush()
        seen = {'batch': run.config.train.batch_size, 'examples': stream.position(done)}
        record: dict[str, Any] = {'tally': vars(tally), 'seen': seen}
        record |= {'plateau': run.plateau.state()} if run.plateau else {}
        record |= {'skipped': skipped} if skipped else {}
        record |= {'unvalidated': True} if unvalidated else {}
        run.checkpoints.save(done, state, record, top1_error=top1_error, overwrite=overwrite)

    return save


def finish_run(run: RunContext, start: ResumePoint) -> dict[str, Any]:
    """The figure of a run that is through, when all of it is saved."""
    config, ledger = run.config, run.ledger
    with ledger.of('checkpoint'):
        run.checkpoints.wait()
    run.journal.close_progress()
    with run.stop.leaving('the training is done and saved, its figure is not; run the same command for it.'):
        with ledger.of('end'):
            shape = run.network.architecture
            number, parameters = evaluate.reported(
                config, run.checkpoints, shape, run.mesh, start.done, start.state
            )
            result = final_report.conclude(
                config, run.data, run.network, run.mesh, run.workdir, parameters, number, start.images()
            )
        run.journal.write_timings(start.done, **ledger.take())
        log.info('%s', run.journal.time_breakdown())
    return result
