"""Standstill: notices a loss that stays where guessing leaves it, at ln(classes), and says once what may be behind it.

Knows nothing of the network but the name of how its weights began. Takes losses step by step; writes nothing.
"""

from __future__ import annotations

import math

TOLERANCE = 0.005  # of ln(classes): how far a loss may lie from it and still be a guesser's
WINDOWS = 10  # means over so many parts of the steps are compared, as single steps scatter

_PAPER = (
    "the paper's initialization, which stands on such a plateau before it starts, so that it is no bug "
    '(wait, or give --config.model.initialization=source2012 or he)'
)
_OTHER = (
    'the initialization {}, if the signal dies out in it (--config.model.initialization=he keeps it alive)'
)
_CAUSES = (
    'a --config.train.learning_rate too small to move, or so large that all units have died',
    'labels that do not belong to their images',
    'pixels in another range than 0 to 255 (examples.png shows what the network sees)',
)


class StalledLossDetector:
    """Has the loss stayed within half a percent of ln(classes) for `steps` steps? Told once in a process's life."""

    def __init__(self, classes: int, steps: int, *, initialization: str = 'paper'):
        self._level, self._steps, self._told = math.log(classes), steps, False
        self._first = {'paper': [_PAPER], 'he': []}.get(initialization, [_OTHER.format(initialization)])
        self._size = -(-steps // WINDOWS)  # steps of a part
        self._part: list[float] = []
        self._close = 0  # steps in parts that followed one another, all of them close

    def see(self, loss: float) -> bool:
        """Takes the next step's mean loss (nats) in; whether it is time to speak."""
        self._part.append(loss)
        if len(self._part) == self._size:
            mean = math.fsum(self._part) / self._size
            close = abs(mean - self._level) <= TOLERANCE * self._level
            self._close, self._part = (self._close + self._size if close else 0), []
        spoken, self._told = self._told, self._told or self._close >= self._steps
        return self._told and not spoken

    def __str__(self) -> str:
        """The warning: what is seen, and the likely causes, the likeliest first."""
        causes = '; '.join(f'{number}. {cause}' for number, cause in enumerate([*self._first, *_CAUSES], 1))
        return (
            f'warning: for {self._steps:,} steps the loss has stayed within half a percent of {self._level:.4f}, the '
            f'logarithm of the number of classes, which guessing gives. Likely causes, in this order: {causes}.'
        )
