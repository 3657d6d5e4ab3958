"""A diary: what changes at which epoch of a run, as the authors of 2012 did by hand and noted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

# An entry: its epoch, and {'learning_rate': rate, 'lighting': 'on' or 'off', layer: multiplier of its rates}.
Entry = tuple[float, Mapping[str, float | str]]
LEARNING_RATE, LIGHTING = 'learning_rate', 'lighting'


@dataclasses.dataclass(frozen=True)
class Diary:
    """Entries in the order of their epochs; each is in force from its epoch on, until a later one sets another value.

    Lighting, which is drawn by epoch, changes with the first epoch that begins then.
    """

    entries: tuple[Entry, ...] = ()

    def learning_rate(self, epoch: float, first: float) -> float:
        """Return the base learning rate at `epoch` of a run that began with `first`."""
        rates = [first, *(float(edits[LEARNING_RATE]) for _, edits in self._until(epoch) if LEARNING_RATE in edits)]
        return rates[-1]

    def multipliers(self, epoch: float, first: Mapping[str, float]) -> dict[str, float]:
        """Return the multipliers of layers at `epoch` of a run that began with `first`."""
        multipliers = dict(first)
        for _, edits in self._until(epoch):
            multipliers |= {
                name: float(value) for name, value in edits.items() if name not in (LEARNING_RATE, LIGHTING)
            }
        return multipliers

    def count_before(self, epoch: float) -> int:
        """Return how many entries are in force at `epoch`."""
        return len(self._until(epoch))

    def describe(self) -> tuple[str, ...]:
        """Return a line for each entry, as a config has it."""
        return tuple(f'{epoch:g}: {_format_edits(edits)}' for epoch, edits in self.entries)

    def _until(self, epoch: float) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry[0] <= epoch)


def _format_edits(edits: Mapping[str, float | str]) -> str:
    return ', '.join(f'{name}={value if isinstance(value, str) else f"{value:g}"}' for name, value in edits.items())
