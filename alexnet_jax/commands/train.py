"""--mode=train: trains a network from a config in a folder, and reports its error with pictures."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import evaluate, factories, final_report, finetune, run_dir, training_pictures, training_plan
from alexnet_jax.commands.resume_point import ResumePoint, RunContext, initial_point, make_record, restored_point
from alexnet_jax.config import build, parse, validate
from alexnet_jax.data import prefetch
from alexnet_jax.distributed import consistency, initialize, sync
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.distributed.sharding import batch_sharding, gather_to_host
from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.runtime import signals
from alexnet_jax.train import nonfinite
from alexnet_jax.train.loop import MetricAccumulator, NonFiniteLoss, TrainLoop
from alexnet_jax.train.metrics_writer import MetricsWriter, read_metrics
from alexnet_jax.train.profiler import Profiler
from alexnet_jax.train.timing import PhaseTimer
from alexnet_jax.train.train_step import TrainState

PROFILE_DIR = 'profile'  # the folder of traces in the workdir

log = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Resume the run in `workdir` or begin it; return the content of result.json.

    What does not fit raises UserError before the folder is made, and so does a folder in which another process trains.
    """
    # First the mesh: a wrong one costs no preparation.
    config = finetune.adopt_network(config, workdir)
    mesh = factories.make_device_mesh(config, build.preset_architecture(config))
    data = finetune.adopt_preprocessing(config, factories.open_or_prepare_dataset(config, workdir), workdir)
    arch = factories.make_architecture(config, data)
    factories.require_cache_fits(config, data, mesh)
    train_data = factories.make_train_pipeline(config, data, arch, mesh)
    consistency.assert_equal_across_hosts({'the dataset (its checksum)': data.checksum})
    plateau = training_plan.make_plateau(config, data.counts)
    context = RunContext(config, workdir, data, arch, mesh, train_data, plateau)
    training_plan.check_batch_size(config, data, mesh, run_dir.read_run(workdir))
    evaluate.check_report_split(config, data.counts)
    evaluate.check_report_views(config, data.image_size, arch.crop_size)
    if not context.checkpoint_dir.exists():
        schedule = context.make_schedule(train_data)
        evaluate.check_report_step(config, schedule, [])
        if warning := training_plan.few_steps_warning(schedule.num_steps):
            log.warning('%s', warning)
    with (
        run_dir.lock_run_dir(workdir) if is_primary() else contextlib.nullcontext(),
        signals.SignalHandler(multi_process=initialize.is_multi_process()) as handler,
    ):
        return run_training(context, handler)


def run_training(context: RunContext, handler: signals.SignalHandler) -> dict[str, Any]:
    """Train from the newest whole checkpoint, else from weights drawn by the seed; return the result."""
    began = time.perf_counter()
    config, workdir, arch, train_data = context.config, context.workdir, context.arch, context.train_data
    if is_primary():
        run_dir.require_checkpoint_space(workdir, numbers=2 * sum(arch.parameter_counts().values()))
        run_dir.init_or_validate(workdir, config, context.data)
    num_steps = context.make_schedule(train_data).num_steps
    for line in training_plan.describe_run(config, context.data, arch, num_steps, workdir):
        log.info('%s', line)
    for line in factories.describe_placement(arch, context.mesh):
        log.info('%s', line)
    with (
        MetricsWriter(workdir, tensorboard=config.log.tensorboard, enabled=is_primary()) as writer,
        Profiler(parse.step_range(config.train.profile_steps), Path(workdir) / PROFILE_DIR) as profiler,
        # However the run ends, a save that was begun becomes whole before the process does.
        contextlib.closing(
            CheckpointManager(context.checkpoint_dir, keep_every=config.checkpoint.keep_every_steps)
        ) as checkpoints,
    ):
        trainer = Trainer(context, handler, writer, profiler, checkpoints)
        with handler.interruptible('nothing was done since the last checkpoint; run the same command to resume.'):
            checkpoints.require_fresh_run(any(row['step'] for row in read_metrics(workdir)))
            start = trainer.restore_or_init()
            if is_primary() and not (Path(workdir) / final_report.EXAMPLES_FILE).exists():
                final_report.draw_examples(train_data, context.data, workdir)
        evaluate.check_report_step(
            config, start.schedule, checkpoints.steps(), ended=start.is_finished(context.plateau)
        )
        fields = validate.flatten_config(config).items()
        writer.add_text(start.step, 'config', '\n'.join(f'    {name} = {value!r}' for name, value in fields))
        trainer.timer.add('start', time.perf_counter() - began)
        return trainer.finish(trainer.train_with_recovery(start))


class Trainer:
    """Takes one run from its first or newest state to its result."""

    def __init__(
        self,
        context: RunContext,
        handler: signals.SignalHandler,
        writer: MetricsWriter,
        profiler: Profiler,
        checkpoints: CheckpointManager,
    ):
        self.context, self.handler, self.writer = context, handler, writer
        self.profiler, self.checkpoints, self.timer = profiler, checkpoints, PhaseTimer()
        self.model = factories.make_model(context.config, context.arch)
        # Of the newest validation.
        self._predictions: Predictions | None = None

    def restore_or_init(self) -> ResumePoint:
        """Return the point of the newest whole checkpoint, else that of a new run; the plateau is set accordingly."""
        context = self.context
        if context.plateau:
            context.plateau.reset()
        if not self.checkpoints.steps():
            self.writer.truncate_after(0)
            return initial_point(context)
        like = factories.abstract_checkpoint(context.config, context.arch, context.mesh)
        step, arrays, record = self.checkpoints.restore(like)
        self.writer.truncate_after(step)
        log.info('Resuming from the checkpoint of step %d.', step)
        return restored_point(context, step, arrays, record)

    def train_with_recovery(self, point: ResumePoint) -> ResumePoint:
        """Run all steps from `point`; where the loss is not finite, go back and skip examples if the config says so."""
        while point.unvalidated or not point.is_finished(self.context.plateau):
            try:
                state, step = self._run_loop(point)
                return point._replace(step=step, state=state, unvalidated=False)
            except NonFiniteLoss as error:
                error = nonfinite.with_examples(error, point.examples(), self.context.workdir)
                if self.context.config.train.on_nonfinite == 'stop':
                    raise error from None
                skipped = nonfinite.ranges_to_skip(error, point.examples())
                self.checkpoints.delete_after(nonfinite.first_bad_step(error))
                point = self.restore_or_init()._replace(skipped=skipped)
        return point

    def _run_loop(self, point: ResumePoint) -> tuple[TrainState, int]:
        """Return the state after the last step, and that step."""
        context, config, train_data = self.context, self.context.config, point.examples()
        cache = factories.make_device_cache(config, context.data, context.mesh)
        train_step = factories.make_step(
            config,
            self.model,
            context.mesh,
            context.data,
            key=context.dropout_key,
            num_steps=point.schedule.num_steps,
            cached_images=cache.images if cache else None,
        )
        inputs = train_data.metadata_only(cache.labels) if cache else train_data
        host_batches = inputs.batches(point.step, point.schedule.num_steps)
        handler = self.handler
        with prefetch.prefetch_to_device(
            host_batches, batch_sharding(context.mesh), depth=config.data.prefetch
        ) as batches:
            loop = TrainLoop(
                train_step,
                batches,
                point.schedule,
                self.writer,
                point.step,
                point.metrics,
                evaluate=self._make_validator(),
                save=self._make_saver(point),
                draw_pictures=self._draw_pictures if config.log.pictures else lambda state, step: None,
                stop_signal=sync.SignalSync(handler, context.mesh) if handler.multi_process else handler,
                interruptible=handler.interruptible,
                raise_if_save_failed=self.checkpoints.raise_if_save_failed,
                plateau=context.plateau,
                stalled_loss=training_plan.make_stalled_loss_detector(config, len(context.data.class_names)),
                profiler=self.profiler,
                skips_before=train_data.skips_before,
                timer=self.timer,
                log_time_breakdown=config.log.time_breakdown,
            )
            return loop.run(point.state, unvalidated=point.unvalidated)

    def _make_validator(self) -> Callable[[TrainState, int], dict[str, float] | None]:
        """Return what scores a state on the validation split; it returns None if there is no such split."""
        config, data, mesh = self.context.config, self.context.data, self.context.mesh
        if 'validation' not in data.counts:
            return lambda state, step: None
        evaluator = factories.make_evaluator(
            config, data, self.model, mesh, views=1, num_images=data.counts['validation']
        )

        def validate(state: TrainState, step: int) -> dict[str, float]:
            batches = factories.make_eval_pipeline(config, data, 'validation', mesh)
            error_rates, self._predictions = evaluator.evaluate_and_predict(state.params, batches)
            return error_rates

        return validate

    def _draw_pictures(self, state: TrainState, step: int) -> None:
        """Refresh the pictures of the run after an evaluation."""
        context = self.context
        kernels = gather_to_host(state.params['conv1']['kernel'], context.mesh)
        if is_primary():
            training_pictures.refresh_pictures(
                self.writer,
                context.config,
                context.data,
                kernels,
                self._predictions,
                step=step,
                workdir=context.workdir,
            )

    def _make_saver(self, start: ResumePoint) -> Callable[..., None]:
        """Return what saves a state of a run that continued from `start`, as TrainLoop.save says."""

        def save(
            state: TrainState,
            step: int,
            metrics: MetricAccumulator,
            top1_error: float | None,
            unvalidated: bool = False,
            overwrite: bool = False,
        ) -> None:
            self.writer.flush()
            record = make_record(self.context, start, step, metrics, unvalidated=unvalidated)
            arrays = state.state_dict()
            self.checkpoints.save(step, arrays, record, top1_error=top1_error, overwrite=overwrite)

        return save

    def finish(self, point: ResumePoint) -> dict[str, Any]:
        """Wait until all is saved, and write the final report; return its figures."""
        context = self.context
        with self.timer.measure('checkpoint'):
            self.checkpoints.wait()
        self.writer.close_progress()
        message = 'the training is done and saved, its final report is not; run the same command for it.'
        with self.handler.interruptible(message):
            with self.timer.measure('end'):
                last = evaluate.LoadedRun(
                    context.config, context.data, self.model, context.mesh, point.step, point.state.params
                )
                run = evaluate.at_report_step(last, self.checkpoints)
                epochs = point.examples().epoch(run.step)
                result = final_report.write_final_report(run, context.data, context.workdir, epochs=epochs)
            self.writer.write_timings(point.step, **self.timer.drain())
            log.info('%s', self.writer.time_breakdown())
        return result
