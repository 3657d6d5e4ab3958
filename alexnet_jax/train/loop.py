"""The loop: steps in order, their numbers read one step late so that the device never waits, and what is due between.

Knows neither the config nor pictures: it is handed callables for the step, the rates, evaluation and saving.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from alexnet_jax.distributed import heartbeat
from alexnet_jax.runtime import signals
from alexnet_jax.train import schedule
from alexnet_jax.train.metrics_writer import MetricsWriter
from alexnet_jax.train.pace import Feed, ThroughputMeter, format_duration
from alexnet_jax.train.profiler import Profiler
from alexnet_jax.train.stalled_loss import StalledLossDetector
from alexnet_jax.train.timing import PhaseTimer


class NonFiniteLoss(Exception):
    """The loss or its gradient stopped being a finite number; nothing after it was saved.

    `number` counts the steps done before the one that it was seen at.
    """

    def __init__(self, number: int, loss: float, norm: float, rate: float, more: str = ''):
        self.number, self.loss, self.norm, self.rate = number, loss, norm, rate
        super().__init__(
            f"At step {number + 1} the loss is {loss} and its gradient's norm {norm} (rate {rate:g}): nothing of it "
            f'was saved; {more or "begin again with a smaller train.learning_rate or a longer train.warmup_epochs."}'
        )


class StopSignal(Protocol):
    """Who hears that the run shall stop: signals.Stop, or agreement.Agreement of several processes."""

    def look(self) -> str | None: ...


@dataclasses.dataclass
class MetricAccumulator:
    """Sums over the steps since the last logged row; part of the checkpoint, so that a resumed row is the same row."""

    loss: float = 0.0
    top1: float = 0.0
    images: float = 0.0
    steps: int = 0

    def add(self, sums: dict[str, Any]) -> None:
        """Adds one step's sums."""
        self.loss += float(sums['loss'])
        self.top1 += float(sums['top1'])
        self.images += float(sums['images'])
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Mean loss and top-1 error of the training images seen since the last row."""
        return {'loss': self.loss / self.images, 'top1_error': 1 - self.top1 / self.images}


@dataclasses.dataclass(frozen=True)
class LoopSchedule:
    """When what happens, in steps done; `rates(n)` and `epoch(n)` are those of the step that n steps precede."""

    last: int
    log_every: int
    evaluate_every: int  # 0: never on the way
    save_every: int  # 0: only where it evaluates
    rate: Callable[[int], float]
    rates: Callable[[int], np.ndarray]
    epoch: Callable[[int], float]

    def logs(self, done: int) -> bool:
        """Whether a row is due after `done` steps."""
        return is_due(done, self.log_every, self.last)

    def evaluates(self, done: int) -> bool:
        """Whether validation is due after `done` steps."""
        return is_due(done, self.evaluate_every, self.last)

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due after `done` steps; every validated state is saved, since it may be the best."""
        return is_due(done, self.save_every, self.last) or self.evaluates(done)


def is_due(done: int, every: int, last: int) -> bool:
    """Now? Every so many steps, and after the last one."""
    return done == last or (every > 0 and done % every == 0)


def run(
    step: Callable[..., tuple[Any, dict[str, jax.Array]]],
    state: Any,
    feed: Feed,
    plan: LoopSchedule,
    journal: MetricsWriter,
    *,
    first: int,
    unvalidated: bool = False,
    **parts: Any,
) -> tuple[Any, int]:
    """Steps from `first` to `plan.last`, or to where the `plateau` ends the run; the last state and the steps done.

    `parts` are fields of Run. `unvalidated`: a signal left the validation of the first state, which now comes first.
    Raises NotFinite before anything of a diverged state is saved, and signals.Stopped after a signal, everything saved.
    """
    return TrainLoop(step, feed, plan, journal, first, **parts).go(state, unvalidated)


@dataclasses.dataclass
class TrainLoop:
    """A run of the loop: what it is handed, and the numbers that have not been read yet."""

    step: Callable[..., tuple[Any, dict[str, jax.Array]]]
    feed: Feed
    plan: LoopSchedule
    journal: MetricsWriter
    first: int
    tally: MetricAccumulator
    evaluate: Callable[[Any, int], dict[str, float] | None]
    save: Callable[..., None]  # (state, done, tally, top1_error, unvalidated=False, overwrite=False)
    stop: StopSignal
    leaving: Callable[..., contextlib.AbstractContextManager[None]] = (
        contextlib.nullcontext
    )  # signals.Stop.leaving
    check: Callable[[], None] = lambda: None  # after every step: raises what went wrong with an earlier save
    plateau: schedule.ReduceOnPlateau | None = None
    standstill: StalledLossDetector | None = None
    profile: Profiler | None = None
    # Examples that are skipped before a step, and the position of the first.
    skipped: Callable[[int], tuple[int, int]] = lambda number: (0, 0)
    ledger: PhaseTimer = dataclasses.field(default_factory=PhaseTimer)
    shares: bool = False  # a line about where the time went with each row

    def __post_init__(self) -> None:
        self._pace = ThroughputMeter(self.feed, self.first)
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._asked: str | None = None

    def go(self, state: Any, unvalidated: bool) -> tuple[Any, int]:
        """The steps."""
        if unvalidated:
            self._validate_and_save(state, self.first, overwrite=True)
        for number in range(self.first, self.plan.last):
            if self.plateau and self.plateau.over:
                return state, number
            state, done = self._one(state, number), number + 1
            asked = self._asked = (
                self.stop.look()
            )  # once a step: what comes from here on is heard after the next
            if self.plan.saves(done) or asked:
                heartbeat.at(f'validation or saving after step {done}')
                self._read()
                self._validate_and_save(state, done)
            self.journal.update_progress(done, self.plan.last)
            with self._of_checkpoint():
                self.check()
            if asked and done < self.plan.last and not (self.plateau and self.plateau.over):
                raise self._stopped(done)
        self._read()
        return state, self.plan.last

    def _one(self, state: Any, number: int) -> Any:
        """One step, in which the numbers of the one before are read."""
        began = time.perf_counter()
        heartbeat.at(f'waiting for the images of step {number + 1}')
        try:
            with self.leaving():
                batch = next(self.feed)
        except signals.Asked as asked:
            self._asked = str(asked)
            self._read()
            if number > self.first:
                self._save(state, number, None)
            raise self._stopped(number) from None
        begins = number == self.first
        nothing = f'nothing is lost after step {number}; run the same command to go on.'
        heartbeat.at(f'step {number + 1}')
        with self.leaving(nothing) if begins else contextlib.nullcontext():
            with self.profile.step(number + 1) if self.profile else contextlib.nullcontext():
                state, sums = self.step(state, batch, self.plan.rates(number), np.uint32(number))
        if self.profile and (line := self.profile.ended(number + 1, sums)):
            self.journal.print_line(line)
        if begins:  # the call above traced and compiled
            compiled = time.perf_counter() - began
            self.journal.write_timings(number, compile_seconds=compiled, **self.ledger.take())
            self._pace.skip(compiled)
            self._pace.ignore_waiting()
        count, place = self.skipped(number)
        self._read()
        if count:
            self.journal.write_metrics(number + 1, skipped_examples=count, first_skipped=place)
        self._pending = number, sums
        return state

    def _read(self) -> None:
        """The numbers of the last step, which the device may still be computing."""
        if self._pending is None:
            return
        (number, sums), self._pending = self._pending, None
        values, plan = jax.device_get(sums), self.plan
        loss, norm = float(values['loss'] / values['images']), float(values['gradient_norm'])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteLoss(number, loss, norm, plan.rate(number))
        self.tally.add(values)
        if self.standstill and self.standstill.see(loss):
            self.journal.print_line(f'step {number + 1}  {self.standstill}')
        if plan.logs(number + 1):
            row = {'epoch': plan.epoch(number + 1), 'rate': plan.rate(number), **self.tally.means()}
            pace = self._pace.read(number + 1, plan.last, int(values['images']))
            _log_metrics(self.journal, number + 1, plan, row, pace | self.ledger.take(), norm)
            if self.shares:
                self.journal.print_line(self.journal.time_breakdown())
            self.tally.__init__()  # type: ignore[misc]

    def _validate_and_save(self, state: Any, done: int, *, overwrite: bool = False) -> None:
        """The validation that is due, and the save; left by a signal, the state is saved as not yet validated."""
        numbers = None
        if self.plan.evaluates(done):
            began = time.perf_counter()
            try:
                with self.leaving(), self.ledger.of('evaluation'):
                    numbers = self.evaluate(state, done)
            except signals.Asked as asked:
                self._asked = str(asked)
                if not overwrite:
                    self._save(state, done, None, unvalidated=True)
                raise self._stopped(done) from None
            self._pace.skip(time.perf_counter() - began)
            if numbers:
                _log_validation(self.journal, done, self.plan, numbers, self.plateau)
        self._save(state, done, numbers['top1_error'] if numbers else None, overwrite=overwrite)

    def _save(self, state: Any, done: int, top1_error: float | None, **how: bool) -> None:
        with self._of_checkpoint():
            self.save(state, done, self.tally, top1_error, **how)

    @contextlib.contextmanager
    def _of_checkpoint(self) -> Iterator[None]:
        """Saving, and the reading back of what was saved, are no training."""
        began = time.perf_counter()
        with self.ledger.of('checkpoint'):
            yield
        self._pace.skip(time.perf_counter() - began)

    def _stopped(self, done: int) -> signals.Stopped:
        return signals.Stopped(
            f'{self._asked} came: everything up to step {done} is saved; run the same command to go on.'
        )


def _log_validation(
    journal: MetricsWriter, done: int, plan: LoopSchedule, numbers: dict[str, float], plateau: schedule.ReduceOnPlateau | None
) -> None:
    """Writes down what validation gave, and the decision where it makes one."""
    journal.write_metrics(done, **{f'validation_{name}': value for name, value in numbers.items()})
    journal.print_line(
        f'step {done}  validation: top-1 error {numbers["top1_error"]:.2%}, loss {numbers["loss"]:.4f}'
    )
    if plateau and done < plan.last and plateau.see(numbers['top1_error']):
        journal.write_metrics(done, plateaus=plateau.found, next_rate=0.0 if plateau.over else plan.rate(done))
        journal.print_line(f'step {done}  {plateau}')


def _log_metrics(
    journal: MetricsWriter,
    done: int,
    plan: LoopSchedule,
    row: dict[str, float],
    pace: dict[str, float],
    gradient_norm: float,
) -> None:
    journal.write_metrics(done, **row, gradient_norm=gradient_norm)
    journal.write_timings(done, **pace)
    journal.print_line(
        f'step {done}/{plan.last}  epoch {row["epoch"]:.2f}  loss {row["loss"]:.4f}  '
        f'top-1 error {row["top1_error"]:.1%}  rate {row["rate"]:.2g}  {pace["images_per_second"]:.0f} images/s  '
        f'waiting {pace["waiting"]:.0%}  {format_duration(pace["seconds_to_go"])} to go'
    )
