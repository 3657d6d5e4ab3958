"""The declaration of a config field: its default, its meaning and the values it accepts."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Collection
from typing import Any

MAX_SEED = 2**32 - 1  # what JAX, NumPy and grain all take
MAX_INT = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Field:
    """A config field. Its type is that of its default.

    `choices` are the allowed values, or the dotted name of the registry that holds them, beside the default. `parse`
    reads a text and raises ValueError unless it is as `expected` says. A field that is not `resumable` decides the
    result of a run: a resume under another value is refused. One that is `per_host` may differ between hosts.
    """

    default: bool | int | float | str
    help: str
    low: float = -math.inf
    high: float = math.inf
    exclusive_low: bool = False
    exclusive_high: bool = False
    choices: Collection | str = ()
    parse: Callable[[str], Any] | None = None
    expected: str = ''
    resumable: bool = False
    per_host: bool = False

    @property
    def type(self) -> type:
        """The type of the values."""
        return type(self.default)

    def accepts(self, value: object) -> bool:
        """Return whether a value has the type and lies in the range; an int passes for a float, a bool for no number.

        Choices that are a registry's are not looked up, as that may import jax.
        """
        types = (int, float) if self.type is float else self.type
        if not isinstance(value, types) or (isinstance(value, bool) and self.type is not bool):
            return False
        if isinstance(value, str):
            return self._parses(value)
        if self.choices or isinstance(value, bool):
            return not self.choices or value in self.choices
        assert isinstance(value, int | float)
        above = value > self.low if self.exclusive_low else value >= self.low
        below = value < self.high if self.exclusive_high else value <= self.high
        return math.isfinite(value) and above and below

    def _parses(self, text: str) -> bool:
        try:
            self.parse(text) if self.parse else None
        except ValueError:
            return False
        return isinstance(self.choices, str) or not self.choices or text in self.choices

    def all_choices(self) -> list:
        """Return the allowed values, the default among them; [] for a field without choices. May import jax."""
        if not isinstance(self.choices, str):
            return list(self.choices)
        module, _, name = self.choices.rpartition('.')
        choices = list(getattr(importlib.import_module(module), name))
        return choices if self.default in choices else [self.default, *choices]

    def describe(self) -> str:
        """Return what values are expected, as an error and the list of fields say it."""
        if self.choices:
            own = " or '' for the preset's own" if isinstance(self.choices, str) and self.default == '' else ''
            return 'one of ' + ', '.join(str(choice) for choice in self.all_choices() if choice != '') + own
        if self.type in (bool, str):
            return 'True or False' if self.type is bool else self.expected or 'text'
        noun = 'a whole number' if self.type is int else 'a number'
        low = f' {"above" if self.exclusive_low else "from"} {self.low:g}'
        if self.high in (math.inf, MAX_INT):
            return noun + low
        return f'{noun}{low} {"and below" if self.exclusive_high else "to"} {self.high:.10g}'


def seed_field(help: str) -> Field:
    """Return a field that decides random draws."""
    return Field(0, help, 0, MAX_SEED)


def fraction_field(default: float, help: str) -> Field:
    """Return a field from 0 and below 1."""
    return Field(default, help, 0, 1, exclusive_high=True)
