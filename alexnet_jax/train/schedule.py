"""Rates: from how far the run is to a weight and a bias rate for each layer. Plain numbers, no arrays of jax.

Because the step takes rates as an argument, a change of schedule, a frozen layer or a drop compiles nothing anew.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MAX_REDUCTIONS = 3  # how often the paper's authors divided the rate (section 5)

# Each word: (progress in epochs after the warm-up began, Schedule) -> factor on the base rate.
SCHEDULES: Mapping[str, Callable[[float, LearningRateSchedule], float]] = {
    # Divided by ten at each of the given epochs; the paper did so by hand, three times (section 5).
    'step': lambda epoch, schedule: 0.1 ** bisect.bisect_right(schedule.drops, epoch),
    # Half a cosine from the base rate to zero over what the warm-up leaves of the run.
    'cosine': lambda epoch, schedule: 0.5 + 0.5 * math.cos(math.pi * schedule.done(epoch)),
    # The base rate; what a Plateau divides it by depends on validation and not on the epoch.
    'plateau': lambda epoch, schedule: 1.0,
}


@dataclasses.dataclass(frozen=True)
class LearningRateSchedule:
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


@dataclasses.dataclass
class ReduceOnPlateau:
    """The paper's heuristic by rule: at each of three plateaus of the validation error the rate is divided by ten
    (section 5), and the fourth is the end. The last three fields are its state, which belongs into a checkpoint.
    """

    patience: int  # evaluations without improvement that make a plateau
    min_delta: (
        float  # how far an error must lie below the best one so far to be an improvement, as a share of one
    )
    best: float | None = None
    waited: int = 0  # evaluations since the last improvement or plateau
    found: int = 0  # plateaus

    @property
    def factor(self) -> float:
        """What the base rate is multiplied by."""
        return 0.1**self.found

    @property
    def over(self) -> bool:
        """Whether the run has come to its end."""
        return self.found > MAX_REDUCTIONS

    def see(self, error: float) -> bool:
        """Takes the next validation error in; whether it made a plateau."""
        fallen = math.inf if self.best is None else self.best - error
        if fallen > 0 and fallen >= self.min_delta:
            self.best, self.waited = error, 0
            return False
        self.waited += 1
        if self.waited < self.patience:
            return False
        self.waited, self.found = 0, self.found + 1
        return True

    def __str__(self) -> str:
        """The last plateau and what follows from it."""
        follows = 'this is the end of the run' if self.over else 'the rate is divided by ten'
        return (
            f'plateau {self.found} of {MAX_REDUCTIONS + 1}: for {self.patience} evaluations the validation error has not '
            f'fallen by {self.min_delta:.2%} below {self.best:.2%}, so {follows}'
        )

    def state(self) -> dict[str, Any]:
        """What `Plateau(patience, min_delta, **state)` goes on from."""
        return {'best': self.best, 'waited': self.waited, 'found': self.found}


def layer_learning_rates(
    layers: tuple[str, ...], rate: float, factors: Mapping[str, float] | None = None, *, biases: float = 1.0
) -> np.ndarray:
    """Weight and bias rate of each layer, float32 (layers, 2); a factor of 0 freezes a layer.

    `biases` multiplies the rates of all biases: 1 is the paper's text, 2 the 2012 source's and Caffe's.
    """
    rates = [rate * (factors or {}).get(name, 1.0) for name in layers]
    each = [[weights, weights * biases] for weights in rates]
    return np.array(each, np.float32)
