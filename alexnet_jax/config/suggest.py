"""Errors about config fields: an unknown or old name with the one that was meant, a value with the expected ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from alexnet_jax.config.migration import renamed_field_message, renamed_value_message
from alexnet_jax.config.schema import FIELDS
from alexnet_jax.errors import UserError

# What other trainers call a field.
ALIASES: Mapping[str, str] = {
    'lr': 'train.learning_rate',
    'wd': 'train.weight_decay',
    'epoch': 'train.num_epochs',
    'epochs': 'train.num_epochs',
    'arch': 'model.preset',
    'model': 'model.preset',
    'data': 'prepare.path',
    'dtype': 'model.compute_dtype',
}


def suggest_fields(name: str) -> list[str]:
    """Return at most two fields that a name may stand for: those of that last word, an alias, or the nearest."""
    last = name.rpartition('.')[2].replace('-', '_').lower()
    if same := [field for field in FIELDS if field.rpartition('.')[2] == last]:
        return same[:2]
    if last in ALIASES:
        return [ALIASES[last]]
    names = {field if '.' in name else field.rpartition('.')[2]: field for field in reversed(FIELDS)}
    return [names[near] for near in difflib.get_close_matches(name.lower(), names, 2, cutoff=0.7)]


def unknown_field_error(name: str) -> UserError:
    """Return the error about a field that does not exist, with its new name or with fields that come near."""
    if message := renamed_field_message(name):
        return UserError(message)
    if own := [field for field in FIELDS if field.startswith(f'{name}.')]:
        return UserError(f'config.{name} is a section and not a field; its fields are {", ".join(own)}.')
    near = [f'config.{field}' for field in suggest_fields(name)]
    hint = f'did you mean {" or ".join(near)}?' if near else 'docs/config.md lists all fields.'
    return UserError(f'There is no field config.{name}; {hint}')


def invalid_field_error(field: str, value: object, expected: str = '') -> UserError:
    """Return the error about the value of a field; what is expected is the field's own unless given."""
    message = renamed_value_message(field, value)
    return UserError(
        message or f'config.{field} is {value!r}; expected {expected or FIELDS[field].describe()}.'
    )
