"""Pace: how fast a run goes, from one row to the next. Knows clocks and the feed, no numbers of the network."""

from __future__ import annotations

import time
from typing import Protocol

import jax


class Feed(Protocol):
    """Batches on the device, ahead of need, and the seconds that `next` had to wait for them."""

    waited: float

    def __next__(self) -> dict[str, jax.Array]: ...


class ThroughputMeter:
    """Clock readings between two rows: images per second, share of waiting, time to go."""

    def __init__(self, feed: Feed, first: int):
        self._feed, self._began, self._waited, self._step = feed, time.perf_counter(), feed.waited, first

    def skip(self, seconds: float) -> None:
        """Leaves out what was no training: compilation, evaluation, saving."""
        self._began += seconds

    def ignore_waiting(self) -> None:
        """Leaves out the waiting so far, which was no training either."""
        self._waited = self._feed.waited

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


def format_duration(seconds: float) -> str:
    """Seconds as people read them: '4 s', '3:07 min', '2:14 h'."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d} min' if minutes < 60 else f'{minutes // 60}:{minutes % 60:02d} h'
