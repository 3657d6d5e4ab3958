"""Parse the text of config fields that hold lists, so that they can be given on the command line.

Each function takes the text of a field and raises ValueError if it is malformed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

MAX_CUTOUTS = 10_000_000  # images of a split


def increasing_epochs(text: str) -> tuple[float, ...]:
    """Parse '30,60,80' to (30.0, 60.0, 80.0)."""
    epochs = _numbers(text, float)
    if any(a >= b for a, b in zip((0.0, *epochs), epochs, strict=False)):
        raise ValueError('not increasing')
    return epochs


def layer_multipliers(text: str) -> dict[str, float]:
    """Parse 'conv1=0.1,fc8=2' to {'conv1': 0.1, 'fc8': 2.0}."""
    multipliers: dict[str, float] = {}
    for part in filter(None, text.split(',')):
        layer, _, number = map(str.strip, part.partition('='))
        (multiplier,) = _numbers(number, float)
        if not layer or layer in multipliers or multiplier < 0:
            raise ValueError(f'{part!r} is not a layer with a multiplier from 0, or the layer is given twice')
        multipliers[layer] = multiplier
    return multipliers


def diary(text: str) -> tuple[tuple[float, dict[str, float | str]], ...]:
    """Parse '23: learning_rate=0.001; 68: conv1=0.1, lighting=off' to ((23.0, {'learning_rate': 0.001}), ...).

    The keys are learning_rate (above 0), lighting (on or off) and layers (multipliers from 0); epochs increase.
    """
    entries = []
    for part in filter(str.strip, text.split(';')):
        when, _, what = part.partition(':')
        (epoch,) = _numbers(when, float)
        edits = dict(_parse_edit(edit) for edit in what.split(','))
        if len(edits) < len(what.split(',')):
            raise ValueError(f'{part!r} sets something twice')
        entries.append((epoch, edits))
    epochs = [epoch for epoch, _ in entries]
    if any(epoch < 0 for epoch in epochs) or any(a >= b for a, b in itertools.pairwise(epochs)):
        raise ValueError('epochs do not increase from 0')
    return tuple(entries)


def _parse_edit(text: str) -> tuple[str, float | str]:
    """Parse 'conv1=0.1' to ('conv1', 0.1), and 'lighting=off' to ('lighting', 'off')."""
    key, _, value = map(str.strip, text.partition('='))
    if key == 'lighting' and value in ('on', 'off'):
        return key, value
    (number,) = _numbers(value, float)
    if not key or key == 'lighting' or number < 0 or (key == 'learning_rate' and number == 0):
        raise ValueError(f'{text!r} is no edit')
    return key, number


def layer_names(text: str) -> tuple[str, ...] | None:
    """Parse 'conv3,fc6' to ('conv3', 'fc6'), 'none' to () and an empty text to None."""
    names = tuple(filter(None, map(str.strip, text.split(','))))
    return () if names == ('none',) else names or None


def map_numbers(text: str) -> tuple[int, ...]:
    """Parse '3,17' to (3, 17) and an empty text to ()."""
    numbers = _numbers(text, int)
    if any(number < 0 for number in numbers):
        raise ValueError('below 0')
    return numbers


def split_counts(text: str) -> tuple[int, int, int]:
    """Parse '8000,1000,1000' to the numbers of train, validation and test images."""
    train, validation, test = _numbers(text, int)
    if not all(1 <= count <= MAX_CUTOUTS for count in (train, validation, test)):
        raise ValueError(f'not from 1 to {MAX_CUTOUTS}')
    return train, validation, test


def step_range(text: str) -> tuple[int, int] | None:
    """Parse '10:15' to (10, 15), first and last step, and an empty text to None."""
    if not text:
        return None
    first, last = map(int, text.split(':'))
    if not 1 <= first <= last:
        raise ValueError('not a range of steps')
    return first, last


def mesh_shape(text: str) -> tuple[int, int] | None:
    """Parse '4,2' to the numbers of devices along data and column, and 'auto' to None."""
    if text == 'auto':
        return None
    data, column = _numbers(text, int)
    if min(data, column) < 1:
        raise ValueError('not positive')
    return data, column


def checkpoint_choice(text: str) -> str | int:
    """Parse the step of a checkpoint; 'final' and 'best' stay as they are."""
    if text in ('final', 'best'):
        return text
    if not text.isdecimal():
        raise ValueError('neither final, best nor a step')
    return int(text)


def _numbers(text: str, number_type: Callable[[str], float]) -> tuple:
    """Parse comma-separated finite numbers; an empty text is ()."""
    numbers = tuple(number_type(part) for part in text.split(',')) if text.strip() else ()
    if not all(map(math.isfinite, numbers)):
        raise ValueError('not finite')
    return numbers
