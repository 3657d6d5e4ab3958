"""Errors about config fields: an unknown or old name with the one that was meant, a value with the expected ones."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Mapping

from alexnet_jax.config.migration import RENAMED_FIELDS, renamed_field_message, renamed_value_message
from alexnet_jax.config.schema import FIELDS
from alexnet_jax.errors import UserError

# Fields by today's names, by old ones, and by what other trainers call them.
_FIELDS_BY_NAME: Mapping[str, str] = {
    **{field: field for field in FIELDS},
    **RENAMED_FIELDS,
    'lr': 'train.learning_rate',
    'wd': 'train.weight_decay',
    'epoch': 'train.num_epochs',
    'arch': 'model.preset',
    'dtype': 'model.compute_dtype',
    'data': 'prepare.path',
}


def suggest_fields(name: str) -> list[str]:
    """Return at most two fields that a name may stand for: those with that last word, else the nearest."""
    name = name.replace('-', '_').lower()
    by_word = collections.defaultdict(list)
    for known, field in _FIELDS_BY_NAME.items():
        by_word[known.rpartition('.')[2]].append(field)
    if name.rpartition('.')[2] in by_word:
        near = by_word[name.rpartition('.')[2]]
    elif '.' in name:
        near = [_FIELDS_BY_NAME[known] for known in difflib.get_close_matches(name, _FIELDS_BY_NAME, 1, 0.7)]
    else:
        near = [field for word in difflib.get_close_matches(name, by_word, 1, 0.7) for field in by_word[word]]
    return list(dict.fromkeys(near))[:2]


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
    return UserError(message or f'config.{field} is {value!r}; expected {expected or FIELDS[field].describe()}.')
