"""Rates: from how far the run is to a weight and a bias rate for each layer. Plain numbers, no arrays of jax.

Because the step takes rates as an argument, a change of schedule, a frozen layer or a drop compiles nothing anew.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

# Each word: (progress in epochs after the warm-up began, Schedule) -> factor on the base rate.
SCHEDULES: Mapping[str, Callable[[float, Schedule], float]] = {
    # Divided by ten at each of the given epochs; the paper did so by hand, three times (section 5).
    'drops': lambda epoch, schedule: 0.1 ** bisect.bisect_right(schedule.drops, epoch),
    # Half a cosine from the base rate to zero over what the warm-up leaves of the run.
    'cosine': lambda epoch, schedule: 0.5 + 0.5 * math.cos(math.pi * schedule.done(epoch)),
}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The rate at each epoch; `drops` and `warmup` in epochs, counted from the beginning of the run."""

    kind: str
    rate: float
    epochs: float
    drops: tuple[float, ...] = ()
    warmup: float = 0.0

    def done(self, epoch: float) -> float:
        """Share of the run after the warm-up that is over at `epoch`, 0 to 1."""
        return min(max((epoch - self.warmup) / max(self.epochs - self.warmup, 1e-9), 0.0), 1.0)

    def at(self, epoch: float) -> float:
        """The base rate at `epoch`, which may be a fraction."""
        if epoch < self.warmup:
            return self.rate * epoch / self.warmup
        return self.rate * SCHEDULES[self.kind](epoch, self)


def layer_rates(
    layers: tuple[str, ...], rate: float, factors: Mapping[str, float] | None = None
) -> np.ndarray:
    """Weight and bias rate of each layer, float32 (layers, 2); a factor of 0 freezes a layer."""
    each = [[rate * (factors or {}).get(name, 1.0)] * 2 for name in layers]
    return np.array(each, np.float32)
