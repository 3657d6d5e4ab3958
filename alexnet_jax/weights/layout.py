"""Parameters in PyTorch's layout: `<layer>.weight` and `<layer>.bias`, all columns of a layer in one tensor.

Convolutions are (out, in / groups, height, width) with column a's maps first; where a layer sees only its own column,
the columns are groups. Dense layers are (out, in), or (out, in / columns) where they see only their own column; the
first one's input is flattened in the order channel, height, width. Every file format goes through this layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture, Convolution, Dense, Shape
from alexnet_jax.models.initializers import init_kernel_and_bias
from alexnet_jax.weights.model_weights import NumpyParameters, list_some


def layer_groups(arch: Architecture, layer: Convolution | Dense) -> int:
    """Return the groups of a layer in PyTorch's sense: its columns where each sees only its own, times its groups."""
    own = arch.columns if layer.input_from == 'own' else 1
    groups = getattr(layer, 'groups', 1)
    if groups > 1 and own < arch.columns:
        raise UserError(
            f'{layer.name} has groups inside columns that see all columns, which no other format can say; give it one '
            'group.'
        )
    return own * groups


def tensor_shapes(arch: Architecture) -> dict[str, Shape]:
    """Return the shape of each tensor by its name, in the order of the forward pass."""
    shapes: dict[str, Shape] = {}
    kernels = arch.kernel_shapes()
    for layer in weighted_layers(arch):
        layer_groups(arch, layer)
        *window, inputs, _ = kernels[layer.name]
        shapes[f'{layer.name}.weight'] = (layer.features, inputs, *window)
        shapes[f'{layer.name}.bias'] = (layer.features,)
    return shapes


def weighted_layers(arch: Architecture) -> list[Convolution | Dense]:
    """Return the layers that have weights, in the order of the forward pass."""
    return [layer for layer in arch.layers if isinstance(layer, Convolution | Dense)]


def to_torch_layout(arch: Architecture, parameters: NumpyParameters) -> dict[str, np.ndarray]:
    """Return float32 tensors by name, contiguous, in the order of the forward pass; the last layer's padding is cut."""
    tensors = {}
    for layer in weighted_layers(arch):
        kernel = np.asarray(parameters[layer.name]['kernel'], np.float32)
        if isinstance(layer, Convolution):
            by_column = kernel.transpose(0, 4, 3, 1, 2)
        else:
            columns, inputs, features = kernel.shape
            height, width, maps = _flattened_shape(arch, layer, inputs)
            by_place = kernel.reshape(columns, height, width, maps, features)
            by_column = by_place.transpose(0, 4, 3, 1, 2).reshape(columns, features, inputs)
        weight = by_column.reshape(-1, *by_column.shape[2:])[: layer.features]
        bias = np.asarray(parameters[layer.name]['bias'], np.float32).reshape(-1)[: layer.features]
        tensors[f'{layer.name}.weight'] = np.ascontiguousarray(weight)
        tensors[f'{layer.name}.bias'] = np.ascontiguousarray(bias)
    return tensors


def from_torch_layout(
    arch: Architecture, tensors: Mapping[str, np.ndarray], *, partial: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Return the parameters of `arch` out of tensors in PyTorch's layout: the inverse of `to_torch_layout`.

    Raises UserError, with their names, if tensors are missing or left over, have another shape or are not finite.
    With `partial`, layers of which a tensor is missing or has another shape are drawn as the paper draws first weights,
    by a fixed key, and tensors of no layer are ignored; `unmatched_layers` names both.
    """
    shapes = tensor_shapes(arch)
    wrong = _list_differences(shapes, tensors)
    if wrong and not partial:
        raise UserError(
            f'The weights do not fit {arch.name}: {"; ".join(wrong)}. Choose the network that they are of by '
            '--config.weights.preset, or take those that fit by --config.weights.partial.'
        )
    parameters = {}
    for layer in weighted_layers(arch):
        names = (f'{layer.name}.weight', f'{layer.name}.bias')
        if all(name in tensors and tensors[name].shape == shapes[name] for name in names):
            parameters[layer.name] = _split_columns(arch, layer, *(_as_finite(tensors, name) for name in names))
        else:
            parameters[layer.name] = _draw_layer(arch, layer.name)
    return parameters


def unmatched_layers(arch: Architecture, tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Return the layers of which a tensor is missing or has another shape."""
    shapes = tensor_shapes(arch)
    return [
        layer.name
        for layer in weighted_layers(arch)
        if any(
            name not in tensors or tensors[name].shape != shapes[name]
            for name in (f'{layer.name}.weight', f'{layer.name}.bias')
        )
    ]


def _draw_layer(arch: Architecture, name: str) -> dict[str, np.ndarray]:
    """Return first weights of a layer, as in the paper."""
    kernel, bias = init_kernel_and_bias(name, arch.kernel_shapes()[name], arch.columns, jax.random.key(0), 'paper')
    return {'kernel': np.asarray(kernel), 'bias': np.asarray(bias)}


def _list_differences(shapes: Mapping[str, Shape], tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Return what is missing, left over or of another shape, in clauses."""
    missing = [name for name in shapes if name not in tensors]
    extra = [name for name in tensors if name not in shapes]
    other = [
        f'{name} is {tuple(tensors[name].shape)} instead of {shape}'
        for name, shape in shapes.items()
        if name in tensors and tensors[name].shape != shape
    ]
    clauses = [f'missing: {list_some(missing)}'] if missing else []
    clauses += [f'left over: {list_some(extra)}'] if extra else []
    return clauses + ([list_some(other)] if other else [])


def _as_finite(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Return a tensor as float32. Raises UserError if it is not made of finite floating-point numbers."""
    tensor = tensors[name]
    if tensor.dtype.kind != 'f':
        raise UserError(f'{name} is of {tensor.dtype}; weights must be floating-point numbers.')
    with np.errstate(over='ignore'):
        tensor = np.asarray(tensor, np.float32)
    if not np.isfinite(tensor).all():
        raise UserError(f'{name} has NaN or infinite entries; a network with them gives no answer.')
    return tensor


def _split_columns(
    arch: Architecture, layer: Convolution | Dense, weight: np.ndarray, bias: np.ndarray
) -> dict[str, np.ndarray]:
    """Return kernel and bias by column; the last layer's features are padded to a multiple of the columns by zeros."""
    columns = arch.columns
    each = math.ceil(layer.features / columns)
    padding = columns * each - layer.features
    weight = np.pad(weight, ((0, padding),) + ((0, 0),) * (weight.ndim - 1))
    by_column = weight.reshape(columns, each, *weight.shape[1:])
    if isinstance(layer, Convolution):
        kernel = by_column.transpose(0, 3, 4, 2, 1)
    else:
        inputs = weight.shape[1]
        height, width, maps = _flattened_shape(arch, layer, inputs)
        by_map = by_column.reshape(columns, each, maps, height, width)
        kernel = by_map.transpose(0, 3, 4, 2, 1).reshape(columns, inputs, each)
    return {
        'kernel': np.ascontiguousarray(kernel),
        'bias': np.ascontiguousarray(np.pad(bias, (0, padding)).reshape(columns, each)),
    }


def _flattened_shape(arch: Architecture, layer: Dense, inputs: int) -> tuple[int, int, int]:
    """Return height, width and maps of a dense layer's input of `inputs` numbers; (1, 1, inputs) for a flat one."""
    height, width = (1, 1, *arch.input_shapes()[layer.name])[-3:-1]
    return height, width, inputs // (height * width)
