"""Progress of work on many images, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time

import tqdm

SECONDS_BETWEEN_LINES = 10


class ImageProgress:
    """Shows how many of `total` images are done, at what rate, and the time to go; `done` of them were done before.

    `description` is such as 'prepared'. With `show_end` the last count stays to be read.
    Shows nothing unless `enabled`.
    """

    def __init__(self, total: int, description: str, *, done: int = 0, enabled: bool = True, show_end: bool = False):
        self._total, self._first, self.done, self._enabled = total, done, done, enabled
        self._show_end = show_end
        self._description, self._began = description, time.monotonic()
        self._told = self._began
        self._bar = None
        if enabled and sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=total, initial=done, desc=description, unit=' images', leave=show_end)

    def __enter__(self) -> ImageProgress:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def images_per_second(self) -> float:
        """Return the rate so far."""
        return (self.done - self._first) / (time.monotonic() - self._began + 1e-9)

    def advance(self, number: int) -> None:
        """Count so many more images, and show it if it is time to."""
        self.done += number
        if self._bar is not None:
            self._bar.update(number)
        elif self._enabled and number and self._is_due():
            self._told, rate = time.monotonic(), self.images_per_second
            left = (self._total - self.done) / (rate + 1e-9)
            counts = f'{self._description} {self.done:,} of {self._total:,} images'
            print(f'{counts}, {rate:,.0f} a second, {left:,.0f} s left', file=sys.stderr, flush=True)

    def _is_due(self) -> bool:
        at_end = self._show_end and self.done == self._total
        return at_end or time.monotonic() - self._told >= SECONDS_BETWEEN_LINES
