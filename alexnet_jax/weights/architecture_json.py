"""An architecture as JSON, for files of weights, and back, trusting nothing that is read."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from typing import Any

from alexnet_jax.errors import UserError
from alexnet_jax.models import architecture
from alexnet_jax.models.architecture import Architecture, Convolution, Dense, Layer
from alexnet_jax.models.layers import ACTIVATIONS

_LAYER_TYPES: Mapping[str, type] = {each.__name__: each for each in typing.get_args(Layer)}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    'input_from': ('image', 'own', 'all'),
    'rounding': ('floor', 'ceil', 'exact'),
    'kind': ('max', 'average'),
    'function': tuple(ACTIVATIONS),
}
# From zero: pads. From one: everything else that is counted.
_PADS = ('pad', 'pad_after')
_MAX_NUMBER = 2**20
_MAX_LAYERS = 100
_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]{0,31}')


def architecture_to_dict(arch: Architecture) -> dict[str, Any]:
    """Return the architecture as a dict that json writes; every field of every layer is in it."""
    layers = [{'type': type(layer).__name__, **dataclasses.asdict(layer)} for layer in arch.layers]
    return {**dataclasses.asdict(arch), 'equivalent_crops': list(arch.equivalent_crops), 'layers': layers}


def architecture_from_dict(content: object) -> Architecture:
    """Return the architecture that `architecture_to_dict` was called on.

    Raises UserError for unknown or missing fields, values out of range, names that occur twice and layers that do not
    fit one another.
    """
    fields = _read_fields(Architecture, content, 'the architecture')
    if len(fields['layers']) > _MAX_LAYERS:
        raise UserError(f'The architecture has {len(fields["layers"]):,} layers; {_MAX_LAYERS} are the most.')
    arch = Architecture(**fields | {'layers': tuple(_read_layer(each) for each in fields['layers'])})
    names = [layer.name for layer in arch.layers]
    if not names or len(set(names)) < len(names):
        raise UserError(f'The layers of the architecture need names of their own, not {", ".join(names) or "none"}.')
    check_divisible(arch)
    return arch


def check_divisible(arch: Architecture) -> None:
    """Raise UserError unless columns and groups divide maps evenly and every layer can take its input."""
    inputs = arch.input_shapes()
    if arch.num_classes < 1 or arch.layers[0].name not in inputs:
        raise UserError('The architecture has no output.')
    for layer in arch.layers:
        if not isinstance(layer, Convolution | Dense):
            continue
        groups = getattr(layer, 'groups', 1)
        parts = (arch.columns if layer.input_from == 'own' else 1) * groups
        is_last = layer is arch.layers[-1]
        if inputs[layer.name][-1] % parts or (not is_last and layer.features % (arch.columns * groups)):
            raise UserError(
                f'{layer.name} has {inputs[layer.name][-1]} maps in and {layer.features} out, which {arch.columns} '
                f'columns and {groups} groups do not divide evenly.'
            )


def _read_layer(content: object) -> Layer:
    if not isinstance(content, dict) or content.get('type') not in _LAYER_TYPES:
        kind = content.get('type') if isinstance(content, dict) else content
        raise UserError(f'The architecture has a layer of type {str(kind)[:40]!r}; known: {", ".join(_LAYER_TYPES)}.')
    layer_type = _LAYER_TYPES[content['type']]
    values = {name: value for name, value in content.items() if name != 'type'}
    return layer_type(**_read_fields(layer_type, values, f'a layer of type {layer_type.__name__}'))


def _read_fields(record: type, content: object, what: str) -> dict[str, Any]:
    """Return the fields of a record by name, each checked."""
    names = [field.name for field in dataclasses.fields(record)]
    if not isinstance(content, dict) or set(content) != set(names):
        found = ', '.join(map(str, content))[:200] if isinstance(content, dict) else type(content).__name__
        raise UserError(f'The fields of {what} must be {", ".join(names)}; found: {found}.')
    types = typing.get_type_hints(record, vars(architecture))
    return {name: _read_value(name, content[name], types[name]) for name in names}


def _read_value(name: str, value: object, expected: Any) -> Any:
    """Return the value of a field. Raises UserError if it is of another type or out of range."""
    valid = False
    if typing.get_origin(expected) is tuple:
        valid = isinstance(value, list) and (name == 'layers' or all(_is_count(each, 1) for each in value))
        value = tuple(value) if valid and isinstance(value, list) else value
    elif expected is bool:
        valid = isinstance(value, bool)
    elif expected is int:
        valid = _is_count(value, 0 if name in _PADS else 1)
    elif expected is float:
        valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    elif expected is str:
        valid = isinstance(value, str) and (
            value in _CHOICES[name] if name in _CHOICES else bool(_NAME.fullmatch(value))
        )
    if not valid:
        raise UserError(f'The architecture has {name} {str(value)[:40]!r}, which no network can have.')
    return value


def _is_count(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= _MAX_NUMBER
