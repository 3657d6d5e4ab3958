"""Named departures from a network: what exchanges, which function, how it pools, normalizes and drops out.

Each takes layers and gives layers, so that they can follow one another. Points are named for their operation: with
tanh, relu1 becomes tanh1.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping

from alexnet_jax.errors import UserError
from alexnet_jax.models import layers as operations
from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    ResponseNormalization,
)

Layers = tuple[Layer, ...]
Variation = Callable[[Layers], Layers]


def behind(layers: Layers, name: str, *more: Layer) -> Layers:
    """The layers with others put in behind the one of that name."""
    place = next(number for number, layer in enumerate(layers) if layer.name == name) + 1
    return (*layers[:place], *more, *layers[place:])


def exchanging(architecture: Architecture, names: Collection[str]) -> Architecture:
    """The network whose layers of these names see all columns, and all others their own. Raises UserError."""
    able = [
        layer.name
        for layer in architecture.layers
        if isinstance(layer, Convolution | Dense) and layer.sees != 'image'
    ]
    if architecture.columns == 1:
        raise UserError(f'{architecture.name} has one column, so that no layer exchanges anything.')
    if strangers := [name for name in names if name not in able]:
        raise UserError(
            f'{" and ".join(strangers)} cannot exchange in {architecture.name}; layers that can: {", ".join(able)}.'
        )
    return dataclasses.replace(
        architecture,
        layers=tuple(
            dataclasses.replace(layer, sees='all' if layer.name in names else 'own')
            if layer.name in able
            else layer
            for layer in architecture.layers
        ),
    )


def _activated(layers: Layers, function: str) -> Layers:
    return tuple(
        Activation(layer.name.replace(layer.function, function), function)
        if isinstance(layer, Activation)
        else layer
        for layer in layers
    )


def _changed(layers: Layers, record: type, **values: object) -> Layers:
    """Every layer of that kind with other values."""
    return tuple(
        dataclasses.replace(layer, **values) if isinstance(layer, record) else layer for layer in layers
    )


def _without_dropout(layers: Layers) -> Layers:
    return tuple(layer for layer in layers if not isinstance(layer, Dropout))


def _dropping(layers: Layers, *, before: bool) -> Layers:
    """Dropout before each hidden dense layer (drop5 before fc6), or behind its activation (drop6 behind relu6)."""
    found = [layer for layer in layers if isinstance(layer, Dropout)]
    hidden = [layer for layer in layers if isinstance(layer, Dense)][:-1]
    layers = _without_dropout(layers)
    for dense in hidden if found else ():
        place = layers.index(dense)
        if not before:
            place += 2 if isinstance(layers[place + 1], Activation) else 1
        dropout = dataclasses.replace(found[0], name=f'drop{int(dense.name[2:]) - before}')
        layers = (*layers[:place], dropout, *layers[place:])
    return layers


ACTIVATIONS: Mapping[str, Variation] = {
    function: functools.partial(_activated, function=function) for function in operations.ACTIVATIONS
}
POOLINGS: Mapping[str, Variation] = {
    kind: functools.partial(_changed, record=Pooling, kind=kind) for kind in ('max', 'average')
}
# The paper's alpha multiplies the sum as it is; the 2012 source and Caffe divide it by n first.
ALPHAS: Mapping[str, Variation] = {
    'false': functools.partial(_changed, record=ResponseNormalization, divided=False),
    'true': functools.partial(_changed, record=ResponseNormalization, divided=True),
}
# Times keep at test (paper, section 4.2), divided by keep in training (Caffe, torch), or not at all.
DROPOUTS: Mapping[str, Variation] = {
    'paper': functools.partial(_changed, record=Dropout, inverted=False),
    'inverted': functools.partial(_changed, record=Dropout, inverted=True),
    'none': _without_dropout,
}
# Behind fc6 and fc7 (paper: drop6, drop7) or before them (torchvision: drop5, drop6).
DROPOUT_POSITIONS: Mapping[str, Variation] = {
    'after': functools.partial(_dropping, before=False),
    'before': functools.partial(_dropping, before=True),
}
