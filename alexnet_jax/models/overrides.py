"""Named changes to a preset: its widths, which layers exchange, which activation, how it pools, normalizes, drops out.

Activations are named for their operation: with tanh, relu1 becomes tanh1.
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
    SpatialResponseNormalization,
)

Layers = tuple[Layer, ...]
Override = Callable[[Layers], Layers]
_REMOVABLE = ('conv2', 'conv3', 'conv4', 'conv5')


@dataclasses.dataclass(frozen=True)
class ArchitectureOverrides:
    """Changes to a preset; a field left at its default keeps the preset's own. Choices are the tables below."""

    crop_size: int = 0
    # Parts of the network; 0 for the preset's own number.
    columns: int = 0
    # Convolutions that are left out, each with its activation.
    removed_layers: Collection[str] = ()
    # On the numbers of features of layers: {'conv1': 0.5}.
    feature_multipliers: Mapping[str, float] | None = None
    # Layers that see all columns; () for none.
    exchange_layers: Collection[str] | None = None
    activation: str = ''
    pooling: str = ''
    pool_overlap: str = ''
    normalization: str = ''
    alpha_over_n: str = ''
    dropout: str = ''
    dropout_position: str = ''


def apply_overrides(arch: Architecture, overrides: ArchitectureOverrides) -> Architecture:
    """Return the architecture with the overrides. Raises UserError if one does not fit it."""
    arch = _without_layers(arch, overrides.removed_layers)
    arch = _with_features(arch, overrides.feature_multipliers or {})
    arch = _with_columns(arch, overrides.columns or arch.columns)
    if overrides.exchange_layers is not None:
        arch = _with_exchange(arch, overrides.exchange_layers)
    layers = arch.layers
    for table, choice in (
        (ACTIVATIONS, overrides.activation),
        (POOLINGS, overrides.pooling),
        (POOL_OVERLAPS, overrides.pool_overlap),
        (NORMALIZATIONS, overrides.normalization),
        (ALPHA_OVER_N, overrides.alpha_over_n),
        (DROPOUTS, overrides.dropout),
        (DROPOUT_POSITIONS, overrides.dropout_position),
    ):
        if choice:
            layers = table[choice](layers)
    return dataclasses.replace(arch, crop_size=overrides.crop_size or arch.crop_size, layers=layers)


def derive_overrides(arch: Architecture, preset: Architecture) -> ArchitectureOverrides:
    """Return overrides under which the preset has all that they decide as `arch`, but for numbers of features."""
    exchanging = [layer.name for layer in arch.layers if getattr(layer, 'input_from', '') == 'all']
    removed = preset.parameter_counts().keys() - arch.parameter_counts().keys()
    dropout = _first_layer(arch, Dropout)
    normalization = _first_layer(arch, ResponseNormalization)
    normalizations = [layer.name for layer in arch.layers if isinstance(layer, ResponseNormalization)]
    pooling = _first_layer(arch, Pooling)
    apart = pooling is not None and (pooling.window, pooling.rounding) == (pooling.stride, 'floor')
    return ArchitectureOverrides(
        crop_size=arch.crop_size,
        columns=arch.columns,
        removed_layers=[name for name in _REMOVABLE if name in removed],
        exchange_layers=exchanging if arch.columns > 1 else None,
        activation=getattr(_first_layer(arch, Activation), 'function', ''),
        pooling=getattr(pooling, 'kind', ''),
        pool_overlap='none' if apart else '',
        normalization='norm1' if normalizations == ['norm1'] else '' if normalizations else 'none',
        alpha_over_n=str(normalization.alpha_over_n).lower() if normalization else '',
        dropout='none' if dropout is None else 'inverted' if dropout.inverted else 'paper',
        dropout_position='' if dropout is None else 'before' if dropout.name == 'drop5' else 'after',
    )


def derive_feature_multipliers(arch: Architecture, base: Architecture) -> dict[str, float]:
    """Return the override `feature_multipliers` under which layers of `base` have as many features as in `arch`."""
    ours, theirs = (
        {layer.name: layer.features for layer in each.layers[:-1] if isinstance(layer, Convolution | Dense)}
        for each in (arch, base)
    )
    return {
        name: features / theirs[name] for name, features in ours.items() if name in theirs and features != theirs[name]
    }


def _first_layer(arch: Architecture, layer_type: type) -> Layer | None:
    return next((layer for layer in arch.layers if isinstance(layer, layer_type)), None)


def insert_after(layers: Layers, name: str, *new: Layer) -> Layers:
    """Return the layers with new ones inserted after the one of that name."""
    index = next(index for index, layer in enumerate(layers) if layer.name == name) + 1
    return (*layers[:index], *new, *layers[index:])


def _without_layers(arch: Architecture, names: Collection[str]) -> Architecture:
    """Return the architecture without those convolutions and their activations, named by the same number."""
    able = [layer.name for layer in arch.layers if isinstance(layer, Convolution) and layer.input_from != 'image']
    if unable := [name for name in names if name not in able]:
        raise UserError(f'{" and ".join(unable)} cannot be removed from {arch.name}. Choose among {", ".join(able)}.')
    endings = {f'_{name}' if name == 'conv6' else name[-1] for name in names}

    def removed(layer: Layer) -> bool:
        return layer.name in names or (
            isinstance(layer, Activation) and layer.name.removeprefix(layer.function) in endings
        )

    return dataclasses.replace(arch, layers=tuple(layer for layer in arch.layers if not removed(layer)))


def _with_features(arch: Architecture, multipliers: Mapping[str, float]) -> Architecture:
    """Return the architecture with numbers of features multiplied. Raises UserError if they do not stay whole."""
    able = [layer.name for layer in arch.layers[:-1] if isinstance(layer, Convolution | Dense)]
    if unable := [name for name in multipliers if name not in able]:
        raise UserError(
            f'The features of {" and ".join(unable)} cannot be multiplied in {arch.name}. Choose among '
            f'{", ".join(able)}.'
        )
    layers = []
    for layer in arch.layers:
        if layer.name in multipliers:
            features = layer.features * multipliers[layer.name]
            if features < 1 or features != round(features):
                raise UserError(
                    f'{layer.name} of {arch.name} has {layer.features} features, and {multipliers[layer.name]:g} of '
                    f'them are {features:g}. Choose a multiplier that leaves a whole number from 1.'
                )
            layer = dataclasses.replace(layer, features=round(features))
        layers.append(layer)
    return dataclasses.replace(arch, layers=tuple(layers))


def _with_columns(arch: Architecture, columns: int) -> Architecture:
    """Return the architecture in so many columns. Raises UserError if they do not divide the features of its layers."""
    for layer in arch.layers[:-1]:
        if isinstance(layer, Convolution | Dense) and layer.features % columns:
            raise UserError(
                f'The {layer.features} features of {layer.name} cannot be divided evenly among {columns} columns.'
            )
    return dataclasses.replace(arch, columns=columns)


def _with_exchange(arch: Architecture, names: Collection[str]) -> Architecture:
    """Return the architecture whose layers of these names see all columns, and all others their own."""
    able = [
        layer.name for layer in arch.layers if isinstance(layer, Convolution | Dense) and layer.input_from != 'image'
    ]
    if arch.columns == 1:
        raise UserError(f'{arch.name} has one column, so no layer can exchange. Leave exchange_layers empty.')
    if unable := [name for name in names if name not in able]:
        raise UserError(f'{" and ".join(unable)} cannot exchange in {arch.name}. Choose among {", ".join(able)}.')
    return dataclasses.replace(
        arch,
        layers=tuple(
            dataclasses.replace(layer, input_from='all' if layer.name in names else 'own')
            if layer.name in able
            else layer
            for layer in arch.layers
        ),
    )


def _with_activation(layers: Layers, function: str) -> Layers:
    return tuple(
        Activation(layer.name.replace(layer.function, function), function) if isinstance(layer, Activation) else layer
        for layer in layers
    )


def _replace_fields(layers: Layers, layer_type: type, **values: object) -> Layers:
    """Return the layers with these values in every layer of that type."""
    return tuple(dataclasses.replace(layer, **values) if isinstance(layer, layer_type) else layer for layer in layers)


def _keep_normalizations(layers: Layers, names: Collection[str]) -> Layers:
    kinds = ResponseNormalization | SpatialResponseNormalization
    return tuple(layer for layer in layers if not isinstance(layer, kinds) or layer.name in names)


def _without_overlap(layers: Layers) -> Layers:
    """Narrow every pooling window to its stride.

    Rounded down, windows of 2 give as many pixels as windows of 3 at a stride of 2 do where those fit or hang over the
    edge: "output of equivalent dimensions" (paper, section 3.4).
    """
    return tuple(
        dataclasses.replace(layer, window=layer.stride, rounding='floor')
        if isinstance(layer, Pooling) and layer.window > layer.stride
        else layer
        for layer in layers
    )


def _without_dropout(layers: Layers) -> Layers:
    return tuple(layer for layer in layers if not isinstance(layer, Dropout))


def _place_dropout(layers: Layers, *, before: bool) -> Layers:
    """Move dropout before each hidden dense layer (drop5 before fc6), or after its activation (drop6 after relu6)."""
    dropouts = [layer for layer in layers if isinstance(layer, Dropout)]
    hidden = [layer for layer in layers if isinstance(layer, Dense)][:-1]
    layers = _without_dropout(layers)
    for dense in hidden if dropouts else ():
        index = layers.index(dense)
        if not before:
            index += 2 if isinstance(layers[index + 1], Activation) else 1
        dropout = dataclasses.replace(dropouts[0], name=f'drop{int(dense.name[2:]) - before}')
        layers = (*layers[:index], dropout, *layers[index:])
    return layers


ACTIVATIONS: Mapping[str, Override] = {
    function: functools.partial(_with_activation, function=function) for function in operations.ACTIVATIONS
}
POOLINGS: Mapping[str, Override] = {
    kind: functools.partial(_replace_fields, layer_type=Pooling, kind=kind) for kind in ('max', 'average')
}
POOL_OVERLAPS: Mapping[str, Override] = {'none': _without_overlap}
NORMALIZATIONS: Mapping[str, Override] = {
    # Run 148: neither across maps nor within one.
    'none': functools.partial(_keep_normalizations, names=()),
    # Run 167: none after conv2.
    'norm1': functools.partial(_keep_normalizations, names=('norm1',)),
}
# The paper's alpha multiplies the sum as it is; the 2012 source and Caffe divide it by n first.
ALPHA_OVER_N: Mapping[str, Override] = {
    'false': functools.partial(_replace_fields, layer_type=ResponseNormalization, alpha_over_n=False),
    'true': functools.partial(_replace_fields, layer_type=ResponseNormalization, alpha_over_n=True),
}
# Times keep_prob at test (paper, section 4.2), divided by it in training (Caffe, torch), or no dropout.
DROPOUTS: Mapping[str, Override] = {
    'paper': functools.partial(_replace_fields, layer_type=Dropout, inverted=False),
    'inverted': functools.partial(_replace_fields, layer_type=Dropout, inverted=True),
    'none': _without_dropout,
}
# After fc6 and fc7 (paper: drop6, drop7) or before them (torchvision: drop5, drop6).
DROPOUT_POSITIONS: Mapping[str, Override] = {
    'after': functools.partial(_place_dropout, before=False),
    'before': functools.partial(_place_dropout, before=True),
}
