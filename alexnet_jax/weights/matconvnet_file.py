"""Read MatConvNet's SimpleNN networks (.mat): RGB, arrays (height, width, in, out), dense layers as convolutions.

What they hold follows utils/import-caffe.py and matlab/simplenn of MatConvNet.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.weights.graph import Graph, Pads, weights_from_graph
from alexnet_jax.weights.matlab_level5 import read_mat
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing

_IGNORED = ('dropout', 'softmax', 'softmaxloss')
_ACTIVATIONS = {'relu': 'relu', 'sigmoid': 'sigmoid'}


def read_matconvnet(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a SimpleNN .mat file, with its average image and classes where it has them.

    Raises UserError if the file is damaged or none of the presets.
    """
    variables = read_mat(path)
    net = variables.get('net', variables)
    layers = net.get('layers') if isinstance(net, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) and 'type' in layer for layer in layers):
        raise UserError(
            f'{path} has no cells "layers" with a "type" each; give a network of MatConvNet as SimpleNN has it.'
        )
    meta = net.get('meta', net)
    normalization = _dict_at(meta, 'normalization')
    size = _numbers_at(normalization, 'imageSize')
    graph = Graph(path, int(size[0]) if size.size and np.isfinite(size[0]) else 227)
    for number, layer in enumerate(layers):
        _add_layer(graph, layer, f'{layer.get("name") or f"layer {number + 1}"}')
    preprocessing = _read_preprocessing(normalization, graph)
    weights = weights_from_graph(graph, preset=preset, partial=partial, preprocessing=preprocessing)
    return _with_classes(weights, _dict_at(meta, 'classes'))


def _add_layer(graph: Graph, layer: Mapping[str, Any], name: str) -> None:
    kind = layer['type']
    stride = _same_number(graph, name, layer, 'stride', 1)
    if kind in _IGNORED:
        return
    if kind in _ACTIVATIONS:
        if _numbers_at(layer, 'leak').any():
            raise graph.error(name, 'is a leaky ReLU')
        graph.add_activation(name, _ACTIVATIONS[kind])
    elif kind == 'conv':
        if (_numbers_at(layer, 'dilate') > 1).any():
            raise graph.error(name, 'is dilated')
        weight, bias = _weight_and_bias(graph, layer, name)
        groups = graph.features // max(weight.shape[1], 1)
        graph.add_conv(name, weight, bias, stride=stride, pads=_read_pads(graph, name, layer), groups=groups)
    elif kind in ('lrn', 'normalize'):
        numbers = [float(each) for each in _numbers_at(layer, 'param')]
        if len(numbers) != 4:
            raise graph.error(name, 'has no four parameters of a normalization')
        n, k, alpha, beta = numbers
        if not n.is_integer():
            raise graph.error(name, f'normalizes over {n} maps')
        graph.add_normalization(name, n=int(n), k=k, alpha=alpha, beta=beta)
    elif kind == 'pool':
        method = {'max': 'max', 'avg': 'average'}.get(layer.get('method', 'max'))
        if method is None:
            raise graph.error(name, f'pools by {str(layer["method"])[:40]!r}')
        window = _same_number(graph, name, layer, 'pool', 0)
        graph.add_pooling(name, window, stride, pads=_read_pads(graph, name, layer), kind=method)
    else:
        raise graph.error(name, f'is of the type {str(kind)[:40]!r}')


def _weight_and_bias(graph: Graph, layer: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (out, in, height, width) and (out,); older files have `filters` and `biases`."""
    arrays = layer.get('weights', [layer.get('filters'), layer.get('biases')])
    if not isinstance(arrays, list) or len(arrays) != 2 or not all(isinstance(each, np.ndarray) for each in arrays):
        raise graph.error(name, 'has no weights and biases')
    weight, bias = arrays
    # MATLAB drops dimensions of one at the end.
    weight = weight.reshape(weight.shape + (1,) * (4 - weight.ndim))
    if weight.ndim != 4:
        raise graph.error(name, f'has weights of {weight.shape}')
    return weight.transpose(3, 2, 0, 1), bias.reshape(-1)


def _read_pads(graph: Graph, name: str, layer: Mapping[str, Any]) -> Pads:
    """Return top, bottom, left and right, given one by one or by a single number."""
    numbers = [_as_whole_number(graph, name, each) for each in _numbers_at(layer, 'pad')] or [0]
    if len(numbers) not in (1, 4):
        raise graph.error(name, f'has {len(numbers)} paddings')
    top, bottom, left, right = numbers * (4 // len(numbers))
    return top, bottom, left, right


def _same_number(graph: Graph, name: str, layer: Mapping[str, Any], field: str, default: int) -> int:
    """Return a number that holds for height and width."""
    numbers = {_as_whole_number(graph, name, each) for each in _numbers_at(layer, field)} or {default}
    if len(numbers) > 1:
        raise graph.error(name, f'has a {field} of {sorted(numbers)[:4]}, not the same in height and width')
    return numbers.pop()


def _as_whole_number(graph: Graph, name: str, number: float) -> int:
    if not (np.isfinite(number) and float(number).is_integer()):
        raise graph.error(name, f'has {number} where a whole number is needed')
    return int(number)


def _numbers_at(struct: Mapping[str, Any], field: str) -> np.ndarray:
    """Return a field's numbers, flat; none if it is missing or holds something else."""
    value = struct.get(field)
    return value.reshape(-1) if isinstance(value, np.ndarray) else np.zeros(0)


def _dict_at(struct: object, field: str) -> dict[str, Any]:
    value = struct.get(field) if isinstance(struct, dict) else None
    return value if isinstance(value, dict) else {}


def _read_preprocessing(normalization: Mapping[str, Any], graph: Graph) -> Preprocessing | None:
    """Return how the file subtracts its average image, of the crop (size, size, 3) or a pixel; None without one."""
    average, crop = normalization.get('averageImage'), graph.crop_size
    border = _numbers_at(normalization, 'border')
    margin = int(border[0]) if border.size and 0 <= border[0] <= 1024 else 0
    image_size = crop + margin if margin else max(256, crop)
    if not isinstance(average, np.ndarray) or average.size < 3:
        return None
    ones = np.ones(3, np.float32)
    if average.size == 3:
        return Preprocessing(image_size, average.reshape(3).astype(np.float32), ones)
    if average.shape != (crop, crop, 3):
        raise graph.error('its average image', f'is {average.shape}, not ({crop}, {crop}, 3)')
    # It is that of the center crop, and is subtracted from every crop; what lies around it is read by nobody.
    before = (image_size - crop) // 2
    after = image_size - crop - before
    mean = np.pad(average.astype(np.float32), ((before, after), (before, after), (0, 0)), mode='edge')
    return Preprocessing(image_size, mean, ones, 'center')


def _with_classes(weights: ModelWeights, classes: Mapping[str, Any]) -> ModelWeights:
    """Return the network with the file's classes: names (WordNet ids) and descriptions, where it has them."""
    names = _texts_at(classes, 'name')
    descriptions = _texts_at(classes, 'description') or names
    if not names:
        return weights
    return dataclasses.replace(weights, class_names=tuple(names), class_descriptions=tuple(descriptions))


def _texts_at(struct: Mapping[str, Any], field: str) -> list[str]:
    value = struct.get(field)
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else []
