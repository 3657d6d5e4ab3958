"""The loop: steps in order, their numbers read one step late so that the device never waits, and what is due between.

Knows neither the config nor pictures: it is handed callables for the step, the rates, evaluation and saving.
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

from alexnet_jax import peers
from alexnet_jax.training import schedule, signals
from alexnet_jax.training.journal import Journal
from alexnet_jax.training.profile import Profile
from alexnet_jax.training.standstill import Standstill


class NotFinite(Exception):
    """The loss or its gradient stopped being a finite number; nothing after it was saved."""


class Feed(Protocol):
    """Batches on the device, ahead of need, and the seconds that `next` had to wait for them."""

    waited: float

    def __next__(self) -> dict[str, jax.Array]: ...


class Asked(Protocol):
    """Who hears that the run shall stop: signals.Stop, or agreement.Agreement of several processes."""

    def look(self) -> str | None: ...


@dataclasses.dataclass
class Tally:
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
class Plan:
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
        return due(done, self.log_every, self.last)

    def evaluates(self, done: int) -> bool:
        """Whether validation is due after `done` steps."""
        return due(done, self.evaluate_every, self.last)

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due after `done` steps; every validated state is saved, since it may be the best."""
        return due(done, self.save_every, self.last) or self.evaluates(done)


def due(done: int, every: int, last: int) -> bool:
    """Now? Every so many steps, and after the last one."""
    return done == last or (every > 0 and done % every == 0)


class Pace:
    """Clock readings between two rows: images per second, share of waiting, time to go."""

    def __init__(self, feed: Feed, first: int):
        self._feed, self._began, self._waited, self._step = feed, time.perf_counter(), feed.waited, first

    def skip(self, seconds: float) -> None:
        """Leaves out what was no training: compilation, evaluation, saving."""
        self._began += seconds

    def read(self, done: int, last: int, batch: int) -> dict[str, float]:
        """Since the last reading; and begins the next."""
        now = time.perf_counter()
        seconds, steps = max(now - self._began, 1e-9), done - self._step
        numbers = {
            'seconds': seconds,
            'images': steps * batch,
            'images_per_second': steps * batch / seconds,
            'waiting': min((self._feed.waited - self._waited) / seconds, 1.0),
            'seconds_to_go': (last - done) * seconds / max(steps, 1),
        }
        self._began, self._waited, self._step = now, self._feed.waited, done
        return numbers


def run(
    step: Callable[..., tuple[Any, dict[str, jax.Array]]],
    state: Any,
    feed: Feed,
    plan: Plan,
    journal: Journal,
    *,
    first: int,
    tally: Tally,
    evaluate: Callable[[Any, int], dict[str, float] | None],
    save: Callable[[Any, int, Tally, float | None], None],
    stop: Asked,
    check: Callable[[], None] = lambda: None,
    plateau: schedule.Plateau | None = None,
    standstill: Standstill | None = None,
    profile: Profile | None = None,
) -> tuple[Any, int]:
    """Steps from `first` to `plan.last`, or to where the `plateau` ends the run; the last state and the steps done.

    Raises NotFinite before anything of a diverged state is saved, and signals.Stopped after a signal, everything saved;
    `check` is called after every step and raises what went wrong with an earlier save.
    """
    pending: tuple[int, dict[str, jax.Array]] | None = None
    pace = Pace(feed, first)
    batch = 0

    def read(number: int, sums: dict[str, jax.Array]) -> None:
        nonlocal batch
        values = jax.device_get(sums)
        if not (math.isfinite(values['loss']) and math.isfinite(values['gradient_norm'])):
            raise NotFinite(
                f"At step {number + 1} the loss is {float(values['loss'] / values['images'])} and its gradient's norm "
                f'{float(values["gradient_norm"])} (rate {plan.rate(number):g}): nothing of it was saved; begin again '
                'with a smaller train.rate or a longer train.warmup_epochs.'
            )
        tally.add(values)
        batch = int(values['images'])
        if standstill and standstill.see(float(values['loss']) / batch):
            journal.line(f'step {number + 1}  {standstill}')
        if plan.logs(number + 1):
            row = {'epoch': plan.epoch(number + 1), 'rate': plan.rate(number), **tally.means()}
            _log(
                journal,
                number + 1,
                plan,
                row,
                pace.read(number + 1, plan.last, batch),
                float(values['gradient_norm']),
            )
            tally.__init__()  # type: ignore[misc]

    for number in range(first, plan.last):
        began = time.perf_counter()
        peers.at(f'waiting for the images of step {number + 1}')
        batch_of_step = next(feed)
        peers.at(f'step {number + 1}')
        with profile.step(number + 1) if profile else contextlib.nullcontext():
            state, sums = step(state, batch_of_step, plan.rates(number), np.uint32(number))
        if profile and (line := profile.ended(number + 1, sums)):
            journal.line(line)
        if number == first:  # the call above traced and compiled
            compiled = time.perf_counter() - began
            journal.timings(first, compile_seconds=compiled)
            pace.skip(compiled)
        if pending:
            read(*pending)
        pending, done = (number, sums), number + 1
        asked = stop.look()  # once a step: a signal that comes from here on is heard after the next one
        if plan.saves(done) or asked:
            read(*pending)
            pending = None
            began = time.perf_counter()
            numbers = None
            peers.at(f'validation or saving after step {done}')
            if plan.evaluates(done) and (numbers := evaluate(state, done)):
                _validated(journal, done, plan, numbers, plateau)
            save(state, done, tally, numbers['top1_error'] if numbers else None)
            pace.skip(time.perf_counter() - began)
        journal.bar(done, plan.last)
        check()
        if plateau and plateau.over:
            return state, done
        if asked and done < plan.last:
            raise signals.Stopped(
                f'{asked} came: everything up to step {done} is saved; run the same command to go on.'
            )
    if pending:
        read(*pending)
    return state, plan.last


def _validated(
    journal: Journal, done: int, plan: Plan, numbers: dict[str, float], plateau: schedule.Plateau | None
) -> None:
    """Writes down what validation gave, and the decision where it makes one."""
    journal.metrics(done, **{f'validation_{name}': value for name, value in numbers.items()})
    journal.line(
        f'step {done}  validation: top-1 error {numbers["top1_error"]:.2%}, loss {numbers["loss"]:.4f}'
    )
    if plateau and done < plan.last and plateau.see(numbers['top1_error']):
        journal.metrics(done, plateaus=plateau.found, next_rate=0.0 if plateau.over else plan.rate(done))
        journal.line(f'step {done}  {plateau}')


def _log(
    journal: Journal,
    done: int,
    plan: Plan,
    row: dict[str, float],
    pace: dict[str, float],
    gradient_norm: float,
) -> None:
    journal.metrics(done, **row, gradient_norm=gradient_norm)
    journal.timings(done, **pace)
    journal.line(
        f'step {done}/{plan.last}  epoch {row["epoch"]:.2f}  loss {row["loss"]:.4f}  '
        f'top-1 error {row["top1_error"]:.1%}  rate {row["rate"]:.2g}  {pace["images_per_second"]:.0f} images/s  '
        f'waiting {pace["waiting"]:.0%}  {clock(pace["seconds_to_go"])} to go'
    )


def clock(seconds: float) -> str:
    """Seconds as people read them: '4 s', '3:07 min', '2:14 h'."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d} min' if minutes < 60 else f'{minutes // 60}:{minutes % 60:02d} h'
