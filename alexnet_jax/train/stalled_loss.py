"""Warns once if the loss stays where guessing leaves it, at ln(classes), with the likely causes."""

from __future__ import annotations

import math

TOLERANCE = 0.005  # of ln(classes): how far a loss may lie from it and still be a guesser's
WINDOWS = 10  # means over so many parts of the steps are compared, as single steps scatter

_PAPER = (
    "the paper's initialization, which stands on such a plateau before it starts, so that it is no bug "
    '(wait, or give --config.model.initialization=source2012 or he)'
)
_OTHER = 'the initialization {}, if the signal dies out in it (--config.model.initialization=he keeps it alive)'
_CAUSES = (
    'a --config.train.learning_rate too small to move, or so large that all units have died',
    'labels that do not belong to their images',
    'pixels in another range than 0 to 255 (examples.png shows what the network sees)',
)


class StalledLossDetector:
    """Reports a loss that stays within half a percent of ln(classes) for `steps` steps, once in a process's life."""

    def __init__(self, num_classes: int, steps: int, *, initialization: str = 'paper'):
        self._level, self._steps, self._reported = math.log(num_classes), steps, False
        self._first_cause = {'paper': [_PAPER], 'he': []}.get(initialization, [_OTHER.format(initialization)])
        self._window_size = -(-steps // WINDOWS)
        self._window: list[float] = []
        self._stalled_steps = 0  # in windows that followed one another, all of them close

    def update(self, loss: float) -> bool:
        """Take in the next step's mean loss (nats); return whether to warn now."""
        self._window.append(loss)
        if len(self._window) == self._window_size:
            mean = math.fsum(self._window) / self._window_size
            close = abs(mean - self._level) <= TOLERANCE * self._level
            self._stalled_steps, self._window = (self._stalled_steps + self._window_size if close else 0), []
        reported, self._reported = self._reported, self._reported or self._stalled_steps >= self._steps
        return self._reported and not reported

    def __str__(self) -> str:
        """Describe what is seen, and the likely causes, the likeliest first."""
        causes = '; '.join(f'{number}. {cause}' for number, cause in enumerate([*self._first_cause, *_CAUSES], 1))
        return (
            f'warning: for {self._steps:,} steps the loss has stayed within half a percent of {self._level:.4f}, the '
            f'logarithm of the number of classes, which guessing gives. Likely causes, in this order: {causes}.'
        )
