"""The training loop: steps in order, their metrics fetched one step late so that the device never waits, and what is
due between them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from alexnet_jax.distributed import heartbeat
from alexnet_jax.exit_codes import ExitCode
from alexnet_jax.runtime import signals
from alexnet_jax.train.metrics_writer import MetricsWriter
from alexnet_jax.train.profiler import Profiler
from alexnet_jax.train.schedule import ReduceOnPlateau
from alexnet_jax.train.stalled_loss import StalledLossDetector
from alexnet_jax.train.timing import BatchSource, PhaseTimer, ThroughputMeter, format_duration


class NonFiniteLoss(Exception):
    """The loss or its gradient is not a finite number; nothing of that step or a later one was saved.

    `step` is the number of steps done before the one at which it was seen.
    """

    exit_code = ExitCode.NONFINITE_LOSS

    def __init__(self, step: int, loss: float, gradient_norm: float, learning_rate: float, hint: str = ''):
        self.step, self.loss = step, loss
        self.gradient_norm, self.learning_rate = gradient_norm, learning_rate
        hint = hint or 'Start again with a smaller train.learning_rate or a longer train.warmup_epochs.'
        super().__init__(
            f'At step {step + 1} the loss is {loss} and the gradient norm {gradient_norm} (learning rate '
            f'{learning_rate:g}). Nothing of that step was saved. {hint}'
        )


class StopSignal(Protocol):
    """The first signal that asked the run to stop: SignalHandler, or SignalSync of several processes."""

    def poll(self) -> str | None: ...


@dataclasses.dataclass
class MetricAccumulator:
    """Sums over the steps since the last logged row; part of the checkpoint, so that a resumed row is the same row."""

    loss: float = 0.0
    top1: float = 0.0
    images: float = 0.0
    steps: int = 0

    def add(self, sums: dict[str, Any]) -> None:
        """Add one step's sums."""
        self.loss += float(sums['loss'])
        self.top1 += float(sums['top1'])
        self.images += float(sums['images'])
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Return the mean loss and top-1 error of the training images seen since the last row."""
        return {'loss': self.loss / self.images, 'top1_error': 1 - self.top1 / self.images}

    def state_dict(self) -> dict[str, float]:
        """Return the sums under the keys that checkpoints have; MetricAccumulator(**state) continues from them."""
        return {'loss': self.loss, 'top1': self.top1, 'images': self.images, 'steps': self.steps}

    def reset(self) -> None:
        """Start a new row."""
        self.loss, self.top1, self.images, self.steps = 0.0, 0.0, 0.0, 0


@dataclasses.dataclass(frozen=True)
class LoopSchedule:
    """The cadences of a run in steps; `learning_rate(n)` and `epoch(n)` are those of the step that n steps precede."""

    num_steps: int
    log_every: int
    evaluate_every: int  # 0: only at the end
    save_every: int  # 0: only with an evaluation
    learning_rate: Callable[[int], float]
    learning_rates: Callable[[int], np.ndarray]
    epoch: Callable[[int], float]
    # The entries of the diary that are in force for that step.
    diary_entries: Callable[[int], tuple[str, ...]] = lambda step: ()

    def should_log(self, step: int) -> bool:
        """Return whether a row is due after `step` steps."""
        return is_due(step, self.log_every, self.num_steps)

    def should_evaluate(self, step: int) -> bool:
        """Return whether validation is due after `step` steps."""
        return is_due(step, self.evaluate_every, self.num_steps)

    def should_save(self, step: int) -> bool:
        """Return whether a checkpoint is due after `step` steps; a validated state is saved, as it may be the best."""
        return is_due(step, self.save_every, self.num_steps) or self.should_evaluate(step)


def is_due(step: int, every: int, last: int) -> bool:
    """Return true every `every` steps (0: never) and after the last one."""
    return step == last or (every > 0 and step % every == 0)


@dataclasses.dataclass
class TrainLoop:
    """One pass of the loop from `first_step` to the schedule's last step, or to where the `plateau` ends the run."""

    train_step: Callable[..., tuple[Any, dict[str, jax.Array]]]
    batches: BatchSource
    schedule: LoopSchedule
    writer: MetricsWriter
    first_step: int
    metrics: MetricAccumulator
    evaluate: Callable[[Any, int], dict[str, float] | None]
    save: Callable[..., None]  # (state, step, metrics, top1_error, unvalidated=False, overwrite=False)
    stop_signal: StopSignal
    # Called when an evaluation was due and its state is saved: (state, step).
    draw_pictures: Callable[[Any, int], None] = lambda state, step: None
    # signals.SignalHandler.interruptible
    interruptible: Callable[..., contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    raise_if_save_failed: Callable[[], None] = lambda: None
    plateau: ReduceOnPlateau | None = None
    stalled_loss: StalledLossDetector | None = None
    profiler: Profiler = dataclasses.field(default_factory=Profiler)
    # How many examples are skipped before a step, and the position of the first.
    skips_before: Callable[[int], tuple[int, int]] = lambda step: (0, 0)
    timer: PhaseTimer = dataclasses.field(default_factory=PhaseTimer)
    log_time_breakdown: bool = False

    def __post_init__(self) -> None:
        self._throughput = ThroughputMeter(self.batches, self.timer, self.first_step)
        self._pending: tuple[int, dict[str, jax.Array]] | None = None

    def run(self, state: Any, *, unvalidated: bool = False) -> tuple[Any, int]:
        """Return the last state and the number of steps done.

        `unvalidated`: a signal interrupted the validation of the first state, which now comes first. Raises
        NonFiniteLoss before anything of a diverged state is saved, and StoppedGracefully after a signal, with
        everything saved.
        """
        if unvalidated:
            self._validate_and_save(state, self.first_step, overwrite=True)
        for number in range(self.first_step, self.schedule.num_steps):
            if self._finished_early():
                return state, number
            state, step = self._train_one_step(state, number), number + 1
            # Polled once a step: a signal that arrives after this line is seen after the next step.
            stop_signal = self.stop_signal.poll()
            if self.schedule.should_save(step) or stop_signal:
                heartbeat.set_phase(f'validation or saving after step {step}')
                self._fetch_metrics()
                self._validate_and_save(state, step)
            self.writer.update_progress(step, self.schedule.num_steps)
            with self.timer.measure('checkpoint'):
                self.raise_if_save_failed()
            if stop_signal and step < self.schedule.num_steps and not self._finished_early():
                raise _stop_error(stop_signal, step)
        self._fetch_metrics()
        return state, self.schedule.num_steps

    def _finished_early(self) -> bool:
        return self.plateau is not None and self.plateau.finished

    def _train_one_step(self, state: Any, number: int) -> Any:
        """Run one step and fetch the metrics of the step before it."""
        began = time.perf_counter()
        heartbeat.set_phase(f'waiting for the images of step {number + 1}')
        try:
            with self.interruptible():
                batch = next(self.batches)
        except signals.InterruptNow as interrupt:
            self._fetch_metrics()
            if number > self.first_step:
                self._save(state, number, None)
            raise _stop_error(interrupt, number) from None
        compiles = number == self.first_step
        message = f'nothing is lost after step {number}; run the same command to resume.'
        heartbeat.set_phase(f'step {number + 1}')
        with self.interruptible(message) if compiles else contextlib.nullcontext():
            with self.profiler.trace_step(number + 1):
                learning_rates = self.schedule.learning_rates(number)
                state, sums = self.train_step(state, batch, learning_rates, np.uint32(number))
        if line := self.profiler.after_step(number + 1, sums):
            self.writer.print_line(line)
        if compiles:
            self.timer.add('compile', time.perf_counter() - began)
            self.writer.write_timings(number, **self.timer.drain())
            self._throughput.reset_wait()
        count, position = self.skips_before(number)
        self._fetch_metrics()
        if count:
            self.writer.write_metrics(number + 1, skipped_examples=count, first_skipped=position)
        self._log_diary(number)
        self._pending = number, sums
        return state

    def _log_diary(self, number: int) -> None:
        """Write which entries of the diary came into force with this step."""
        entries = self.schedule.diary_entries(number)
        before = self.schedule.diary_entries(number - 1) if number else ()
        if len(entries) > len(before):
            self.writer.write_metrics(number + 1, diary_entries=len(entries))
        for entry in entries[len(before) :]:
            self.writer.print_line(f'step {number + 1}  diary: from epoch {entry}')

    def _fetch_metrics(self) -> None:
        """Read the last step's metrics, which the device may still be computing, and log the row that is due."""
        if self._pending is None:
            return
        (number, sums), self._pending = self._pending, None
        values, step = jax.device_get(sums), number + 1
        loss, norm = float(values['loss'] / values['images']), float(values['gradient_norm'])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteLoss(number, loss, norm, self.schedule.learning_rate(number))
        self.metrics.add(values)
        if self.stalled_loss and self.stalled_loss.update(loss):
            self.writer.print_line(f'step {step}  {self.stalled_loss}')
        if self.schedule.should_log(step):
            self._log_row(step, norm, batch_size=int(values['images']))

    def _log_row(self, step: int, gradient_norm: float, *, batch_size: int) -> None:
        schedule, means = self.schedule, self.metrics.means()
        epoch, learning_rate = schedule.epoch(step), schedule.learning_rate(step - 1)
        timings = self._throughput.measure(step, schedule.num_steps, batch_size)
        self.writer.write_metrics(step, epoch=epoch, rate=learning_rate, **means, gradient_norm=gradient_norm)
        self.writer.write_timings(step, **timings, **self.timer.drain())
        self.writer.print_line(
            f'step {step}/{schedule.num_steps}  epoch {epoch:.2f}  loss {means["loss"]:.4f}  '
            f'top-1 error {means["top1_error"]:.1%}  rate {learning_rate:.2g}  '
            f'{timings["images_per_second"]:.0f} images/s  waiting {timings["waiting"]:.0%}  '
            f'{format_duration(timings["seconds_to_go"])} to go'
        )
        if self.log_time_breakdown:
            self.writer.print_line(self.writer.time_breakdown())
        self.metrics.reset()

    def _validate_and_save(self, state: Any, step: int, *, overwrite: bool = False) -> None:
        """Validate if it is due, and save; if a signal interrupts that, save the state as not yet validated."""
        results = None
        if self.schedule.should_evaluate(step):
            try:
                with self.timer.measure('evaluation'), self.interruptible():
                    results = self.evaluate(state, step)
            except signals.InterruptNow as interrupt:
                if not overwrite:
                    self._save(state, step, None, unvalidated=True)
                raise _stop_error(interrupt, step) from None
            if results:
                self._log_validation(step, results)
        self._save(state, step, results['top1_error'] if results else None, overwrite=overwrite)
        if self.schedule.should_evaluate(step):
            with self.timer.measure('pictures'):
                self.draw_pictures(state, step)

    def _log_validation(self, step: int, results: dict[str, float]) -> None:
        """Write the results of a validation, and the plateau that they make, if any."""
        self.writer.write_metrics(step, **{f'validation_{name}': value for name, value in results.items()})
        self.writer.print_line(
            f'step {step}  validation: top-1 error {results["top1_error"]:.2%}, loss {results["loss"]:.4f}'
        )
        plateau = self.plateau
        if plateau and step < self.schedule.num_steps and plateau.step(results['top1_error']):
            next_rate = 0.0 if plateau.finished else self.schedule.learning_rate(step)
            self.writer.write_metrics(step, plateaus=plateau.num_plateaus, next_rate=next_rate)
            self.writer.print_line(f'step {step}  {plateau}')

    def _save(self, state: Any, step: int, top1_error: float | None, **options: bool) -> None:
        with self.timer.measure('checkpoint'):
            self.save(state, step, self.metrics, top1_error, **options)


def _stop_error(signal_name: object, step: int) -> signals.StoppedGracefully:
    return signals.StoppedGracefully(
        f'Received {signal_name}; everything up to step {step} is saved. Run the same command to resume.'
    )
