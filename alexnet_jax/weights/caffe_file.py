"""Read Caffe's .caffemodel without Caffe: a protobuf NetParameter (src/caffe/proto/caffe.proto), in V1 or newer layers.

Colors come as Caffe has them, BGR, and become RGB. Fields are named below by their numbers in caffe.proto.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.weights.graph import Graph, weights_from_graph
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.protobuf_wire import Message, read_message

_NET_LAYERS_V1, _NET_INPUT_DIM, _NET_INPUT_SHAPE, _NET_LAYERS = 2, 4, 8, 100
# LayerType of V1 layers, and the names that newer ones have for them. Those that compute nothing at test are ignored.
_V1_TYPES = {
    1: 'Accuracy', 4: 'Convolution', 5: 'Data', 6: 'Dropout', 8: 'Flatten', 12: 'ImageData', 14: 'InnerProduct',
    15: 'LRN', 17: 'Pooling', 18: 'ReLU', 19: 'Sigmoid', 20: 'Softmax', 21: 'SoftmaxWithLoss', 22: 'Split', 23: 'TanH',
    29: 'MemoryData', 36: 'Silence',
}  # fmt: skip
_IGNORED = {
    'Accuracy', 'Data', 'Dropout', 'DummyData', 'Flatten', 'HDF5Data', 'ImageData', 'Input', 'MemoryData', 'Silence',
    'Softmax', 'SoftmaxWithLoss', 'Split',
}  # fmt: skip
_ACTIVATIONS = {'ReLU': 'relu', 'Sigmoid': 'sigmoid', 'TanH': 'tanh'}
MAX_ELEMENTS = 2**30


class _LayerFields(NamedTuple):
    """The numbers of the fields that both kinds of layers have."""

    name: int
    type: int
    bottom: int
    top: int
    blobs: int
    transform: int
    convolution: int
    inner_product: int
    lrn: int
    pooling: int
    relu: int


_V1 = _LayerFields(
    name=4,
    type=5,
    bottom=2,
    top=3,
    blobs=6,
    transform=36,
    convolution=10,
    inner_product=17,
    lrn=18,
    pooling=19,
    relu=30,
)
_NEW = _LayerFields(
    name=1,
    type=2,
    bottom=3,
    top=4,
    blobs=7,
    transform=100,
    convolution=106,
    inner_product=117,
    lrn=118,
    pooling=121,
    relu=123,
)


class _Layer:
    """One layer of either kind, by the names of newer ones."""

    def __init__(self, message: Message, fields: _LayerFields, path: str | os.PathLike[str]):
        self.name, self._message, self._fields, self._path = message.string(fields.name), message, fields, path
        self.bottoms, self.tops = message.strings(fields.bottom), message.strings(fields.top)
        if fields is _V1:
            if 1 in message and fields.type not in message:
                raise UserError(f"{path} is of Caffe's first format; upgrade it by Caffe's upgrade_net_proto_binary.")
            number = message.integer(fields.type)
            self.type = _V1_TYPES.get(number, f'V1 type {number}')
        else:
            self.type = message.string(fields.type)

    def settings(self, field: str) -> Message:
        """Return the message of the layer's settings."""
        return self._message.message(getattr(self._fields, field))

    def blobs(self) -> list[np.ndarray]:
        """Return the layer's arrays as float32."""
        return [self._read_blob(blob) for blob in self._message.messages(self._fields.blobs)]

    def _read_blob(self, blob: Message) -> np.ndarray:
        # shape.dim, or else num, channels, height and width; data, or else double_data.
        shape = blob.message(7).integers(1) if 7 in blob else [blob.integer(number) for number in (1, 2, 3, 4)]
        chunk, dtype = (blob.chunk(8), '<f8') if 8 in blob else (blob.chunk(5), '<f4')
        count = 1
        for side in shape:
            count *= side if 0 < side <= MAX_ELEMENTS and count <= MAX_ELEMENTS else 0
        if count * np.dtype(dtype).itemsize != len(chunk):
            raise UserError(
                f'{self._path}: {self.name} has an array of the shape {tuple(shape)} with {len(chunk):,} bytes of '
                'numbers; the file is damaged. Fetch it again, and compare its sum.'
            )
        return np.frombuffer(chunk, dtype).reshape(shape)


def read_caffemodel(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a .caffemodel. Raises UserError if it is damaged or none of the presets."""
    net = read_message(path, 'Caffe model')
    layers = [_Layer(each, _NEW, path) for each in net.messages(_NET_LAYERS)]
    layers = layers or [_Layer(each, _V1, path) for each in net.messages(_NET_LAYERS_V1)]
    if not layers:
        raise UserError(f'{path} has no layers of Caffe; give a .caffemodel, not a .prototxt or a .solverstate.')
    graph = Graph(path, _find_crop_size(net, layers))
    # The names of what the layer before gave: several where it is data or a copy.
    given: list[str] = []
    for layer in layers:
        if layer.bottoms and given and layer.bottoms[0] not in given:
            raise graph.error(layer.name, f'reads {layer.bottoms[0]!r}, not what the layer before it gives')
        _add_layer(graph, layer)
        given = layer.tops or given
    return weights_from_graph(graph, preset=preset, partial=partial, bgr=True)


def _find_crop_size(net: Message, layers: list[_Layer]) -> int:
    """Return the side of the input that the file names, by its data layer or its input; Caffe's 227 if it does not."""
    crops = [layer.settings('transform').integer(3) for layer in layers]
    dims = net.integers(_NET_INPUT_DIM) or net.message(_NET_INPUT_SHAPE).integers(1)
    return next((crop for crop in (*crops, *dims[2:3]) if crop), 227)


def _add_layer(graph: Graph, layer: _Layer) -> None:
    """Add one layer to the graph, under Caffe's defaults where its settings say nothing."""
    if layer.type in _IGNORED:
        return
    if layer.type in _ACTIVATIONS:
        if layer.settings('relu').float32(1):
            raise graph.error(layer.name, 'is a leaky ReLU')
        graph.add_activation(layer.name, _ACTIVATIONS[layer.type])
    elif layer.type == 'Convolution':
        settings = layer.settings('convolution')
        pad = _one_number(graph, layer, settings, (3, 9, 10), 0)
        stride = _one_number(graph, layer, settings, (6, 13, 14), 1)
        if settings.integer(18, 1) != 1:
            raise graph.error(layer.name, 'is dilated')
        weight, bias = _weight_and_bias(graph, layer)
        groups = settings.integer(5, 1)
        graph.add_conv(layer.name, weight, bias, stride=stride, pads=(pad,) * 4, groups=groups)
    elif layer.type == 'InnerProduct':
        weight, bias = _weight_and_bias(graph, layer)
        if layer.settings('inner_product').integer(6):
            raise graph.error(layer.name, 'is stored transposed')
        # Older files hold (1, 1, out, in).
        graph.add_dense(layer.name, weight.reshape(weight.shape[-2:]) if weight.shape[:-2] == (1, 1) else weight, bias)
    elif layer.type == 'LRN':
        settings = layer.settings('lrn')
        if settings.integer(4):
            raise graph.error(layer.name, 'normalizes within maps')
        n, beta, k = settings.integer(1, 5), settings.float32(3, 0.75), settings.float32(5, 1.0)
        graph.add_normalization(layer.name, n=n, k=k, alpha=settings.float32(2, 1.0) / max(n, 1), beta=beta)
    elif layer.type == 'Pooling':
        settings = layer.settings('pooling')
        window = _one_number(graph, layer, settings, (2, 5, 6), 0)
        stride = _one_number(graph, layer, settings, (3, 7, 8), 1)
        pad = _one_number(graph, layer, settings, (4, 9, 10), 0)
        kind = {0: 'max', 1: 'average'}.get(settings.integer(1))
        if kind is None or settings.integer(12):
            raise graph.error(layer.name, 'pools in another way than by the maximum or the mean of windows')
        # Field 13, in newer versions: round down.
        ceil = not settings.integer(13)
        graph.add_pooling(layer.name, window, stride, pads=(pad,) * 4, kind=kind, ceil=ceil)
    else:
        raise graph.error(layer.name, f'is of the type {layer.type!r}')


def _one_number(graph: Graph, layer: _Layer, settings: Message, fields: tuple[int, int, int], default: int) -> int:
    """Return a setting that holds for height and width: given once, for each, or by two fields."""
    both, height, width = fields
    numbers = settings.integers(both) or [settings.integer(each) for each in (height, width) if each in settings]
    if len(set(numbers)) > 1:
        raise graph.error(layer.name, f'has other windows in height than in width: {numbers[:2]}')
    return numbers[0] if numbers else default


def _weight_and_bias(graph: Graph, layer: _Layer) -> tuple[np.ndarray, np.ndarray]:
    blobs = layer.blobs()
    if len(blobs) != 2 or blobs[0].ndim < 2:
        raise graph.error(layer.name, f'has {len(blobs)} arrays, not weights and biases')
    # Older files hold biases as (1, 1, 1, out).
    return blobs[0], blobs[1].reshape(-1)
