"""Learning rates: from how far the run is to a weight and a bias rate for each layer, in plain Python numbers.

The step takes learning rates as an argument, so a change of schedule, a frozen layer or a drop compiles nothing anew.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alexnet_jax.train.diary import Diary

MAX_REDUCTIONS = 3  # how often the paper's authors divided the learning rate (section 5)

# Each schedule: (progress in epochs after the warm-up began, LearningRateSchedule) -> factor on the base rate.
SCHEDULES: Mapping[str, Callable[[float, LearningRateSchedule], float]] = {
    # Divided by ten at each of the given epochs; the paper did so by hand, three times (section 5).
    'step': lambda epoch, schedule: 0.1 ** bisect.bisect_right(schedule.milestones, epoch),
    # Half a cosine from the base rate to zero over what the warm-up leaves of the run.
    'cosine': lambda epoch, schedule: 0.5 + 0.5 * math.cos(math.pi * schedule.progress(epoch)),
    # The square of what is left of the run (You et al. 2017).
    'polynomial': lambda epoch, schedule: (1 - schedule.progress(epoch)) ** 2,
    # Divided by `plateau` alone, which depends on validation and not on the epoch.
    'plateau': lambda epoch, schedule: 1.0,
    # What the diary says, which has rates and not factors.
    'diary': lambda epoch, schedule: schedule.diary.learning_rate(epoch, schedule.base) / schedule.base,
}


# By what the base rate is multiplied for a batch that is so many times larger.
BATCH_SCALINGS: Mapping[str, Callable[[float], float]] = {
    'none': lambda ratio: 1.0,
    # Goyal et al. 2017.
    'linear': lambda ratio: ratio,
    # Krizhevsky 2014, section 5: keeps the variance of an update.
    'square_root': math.sqrt,
}


@dataclasses.dataclass
class ReduceOnPlateau:
    """The paper's heuristic by rule (section 5): at each of three plateaus of the validation error the learning rate is
    divided by ten, and the fourth is the end. The last three fields are its state, which belongs in a checkpoint.
    """

    # Evaluations without improvement that make a plateau.
    patience: int
    # How far an error must lie below the best one so far to be an improvement, as a fraction of one.
    min_delta: float
    best: float | None = None
    bad_evals: int = 0  # evaluations since the last improvement or plateau
    num_plateaus: int = 0

    @property
    def factor(self) -> float:
        """Return what the base rate is multiplied by."""
        return 0.1**self.num_plateaus

    @property
    def finished(self) -> bool:
        """Return whether the run has come to its end."""
        return self.num_plateaus > MAX_REDUCTIONS

    def step(self, error: float) -> bool:
        """Take in the next validation error; return whether it makes a plateau."""
        improvement = math.inf if self.best is None else self.best - error
        if improvement > 0 and improvement >= self.min_delta:
            self.best, self.bad_evals = error, 0
            return False
        self.bad_evals += 1
        if self.bad_evals < self.patience:
            return False
        self.bad_evals, self.num_plateaus = 0, self.num_plateaus + 1
        return True

    def __str__(self) -> str:
        """Describe the last plateau and what follows from it."""
        action = 'this is the end of the run' if self.finished else 'the learning rate is divided by ten'
        return (
            f'plateau {self.num_plateaus} of {MAX_REDUCTIONS + 1}: the validation error has not fallen by '
            f'{self.min_delta:.2%} below {self.best:.2%} for {self.patience} evaluations; {action}'
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state under the keys that checkpoints have."""
        return {'best': self.best, 'waited': self.bad_evals, 'found': self.num_plateaus}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.best, self.bad_evals, self.num_plateaus = state['best'], state['waited'], state['found']

    def reset(self) -> None:
        """Return to the state before the first evaluation."""
        self.best, self.bad_evals, self.num_plateaus = None, 0, 0


@dataclasses.dataclass(frozen=True)
class LearningRateSchedule:
    """The base rate at each epoch; `milestones` and `warmup` in epochs, counted from the beginning of the run."""

    kind: str
    base: float
    num_epochs: float
    milestones: tuple[float, ...] = ()
    warmup: float = 0.0
    plateau: ReduceOnPlateau | None = None
    diary: Diary = Diary()

    def progress(self, epoch: float) -> float:
        """Return the fraction of the run after the warm-up that is over at `epoch`, 0 to 1."""
        return min(max((epoch - self.warmup) / max(self.num_epochs - self.warmup, 1e-9), 0.0), 1.0)

    def learning_rate(self, epoch: float) -> float:
        """Return the base rate at `epoch`, which may be a fraction, divided by ten for each plateau so far."""
        if epoch < self.warmup:
            rate = self.base * epoch / self.warmup
        else:
            rate = self.base * SCHEDULES[self.kind](epoch, self)
        return rate * (self.plateau.factor if self.plateau else 1.0)


def layer_learning_rates(
    layers: tuple[str, ...],
    base: float,
    multipliers: Mapping[str, float] | None = None,
    *,
    bias_multiplier: float = 1.0,
) -> np.ndarray:
    """Return the weight and bias rate of each layer, float32 (layers, 2); a multiplier of 0 freezes a layer.

    `bias_multiplier` applies to all biases: 1 is the paper's text, 2 the 2012 source's and Caffe's.
    """
    rates = [base * (multipliers or {}).get(name, 1.0) for name in layers]
    return np.array([[rate, rate * bias_multiplier] for rate in rates], np.float32)
