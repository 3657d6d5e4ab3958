"""Timing of a run: seconds by phase over all its starts, images per second, and the time to go.

What was spent is written to timings.jsonl with each row; what a kill undid is written there when the run resumes.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import jax

SUFFIX = '_seconds'  # of a phase's key in a row; training itself is `seconds`, waiting for input included
PHASES = {
    'step': 'step',
    'wait': 'input wait',
    'compile': 'compile',
    'evaluation': 'evaluation',
    'pictures': 'pictures',
    'checkpoint': 'checkpoint',
    'start': 'start',
    'end': 'end',
    'lost': 'lost to kills',
}


class BatchSource(Protocol):
    """Batches on the device, ahead of need, and the seconds that `next` had to wait for them."""

    wait_seconds: float

    def __next__(self) -> dict[str, jax.Array]: ...


class PhaseTimer:
    """Adds up seconds by phase until they are drained, and all of them in `total`."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = collections.defaultdict(float)
        self.total = 0.0

    @contextlib.contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Add the time of this context to `phase`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - began)

    def add(self, phase: str, seconds: float) -> None:
        """Add time that was measured elsewhere."""
        self._seconds[phase] += seconds
        self.total += seconds

    def drain(self) -> dict[str, float]:
        """Return {'evaluation_seconds': 1.5, ...} since the last call."""
        drained: dict[str, float] = {f'{phase}{SUFFIX}': seconds for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        return drained


class ThroughputMeter:
    """Images per second, fraction of waiting and time to go, without the phases of `timer`."""

    def __init__(self, batches: BatchSource, timer: PhaseTimer, first_step: int):
        self._batches, self._timer = batches, timer
        self._restart(first_step)

    def _restart(self, step: int) -> None:
        self._step, self._began, self._excluded = step, time.perf_counter(), self._timer.total
        self.reset_wait()

    def reset_wait(self) -> None:
        """Leave out the waiting so far."""
        self._waited = self._batches.wait_seconds

    def measure(self, step: int, num_steps: int, batch_size: int) -> dict[str, float]:
        """Return the figures since the last call, after `step` of `num_steps` steps."""
        elapsed = time.perf_counter() - self._began - (self._timer.total - self._excluded)
        seconds, steps = max(elapsed, 1e-9), step - self._step
        figures = {
            'seconds': seconds,
            'images': steps * batch_size,
            'images_per_second': steps * batch_size / seconds,
            'waiting': min((self._batches.wait_seconds - self._waited) / seconds, 1.0),
            'seconds_to_go': (num_steps - step) * seconds / max(steps, 1),
        }
        self._restart(step)
        return figures


def format_duration(seconds: float) -> str:
    """Return seconds as people read them: '4 s', '3:07 min', '2:14 h'."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d} min' if minutes < 60 else f'{minutes // 60}:{minutes % 60:02d} h'


def seconds_by_phase(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds by phase in a row of timings.jsonl, whichever version wrote it."""
    seconds = {phase: float(row[f'{phase}{SUFFIX}']) for phase in PHASES if f'{phase}{SUFFIX}' in row}
    if 'seconds' in row:
        wait = seconds.setdefault('wait', row['seconds'] * row.get('waiting', 0.0))
        seconds['step'] = max(row['seconds'] - wait, 0.0)
    return seconds


def sum_phases(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds by phase over all rows."""
    sums: collections.Counter[str] = collections.Counter()
    for row in rows:
        sums.update(seconds_by_phase(row))
    return dict(sums)


def format_time_breakdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the shares of the time so far, in the order of PHASES: 'step 71%, input wait 3%, ...'; '' without rows."""
    rows = list(rows)
    sums, starts = sum_phases(rows), sum('start_seconds' in row for row in rows)
    total = sum(sums.values())
    if not total:
        return ''
    shares = [f'{name} {sums[phase] / total:.1%}' for phase, name in PHASES.items() if sums.get(phase)]
    times = 'once' if starts < 2 else f'{starts} times'
    return f'Where the time went ({total:,.1f} s, started {times}): {", ".join(shares)}.'
