"""Write a network as ONNX: from an image's center crop to its probabilities, every named point under its name.

The input `pixels` is float32 (batch, 3, crop, crop), RGB in 0..255; the outputs are the logits and `prob`. Needs the
onnx package (requirements-onnx.txt). Two columns are groups of a convolution; their normalizations are laid out as two
images, since ONNX's runs over all maps.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from typing import Any

import numpy as np

from alexnet_jax.data.augment import select_mean
from alexnet_jax.errors import UserError
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
from alexnet_jax.runtime import atomic_io
from alexnet_jax.weights.layout import layer_groups
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.own_metadata import MEAN_TENSOR, pack_weights

# Any runtime of the last years reads these; nothing newer is needed.
OPSET, IR_VERSION = 17, 8
_ACTIVATIONS = {'relu': ('Relu',), 'tanh': ('Tanh',), 'sigmoid': ('Sigmoid',), 'abs_tanh': ('Tanh', 'Abs')}


def write_onnx(path: str | os.PathLike[str], weights: ModelWeights) -> None:
    """Write the network and its metadata to one file, atomically. Raises UserError without the onnx package."""
    try:
        onnx = importlib.import_module('onnx')
    except ImportError:
        raise UserError(
            f'{path} needs the onnx package, which is not installed; run `pip install -r requirements-onnx.txt`.'
        ) from None
    arch, preprocessing = weights.arch, weights.preprocessing
    if preprocessing.mean_kind == 'channel' and preprocessing.mean.ndim == 3:
        # Its three colors are all that is subtracted.
        mean = input_mean(weights).reshape(3)
        weights = dataclasses.replace(weights, preprocessing=dataclasses.replace(preprocessing, mean=mean))
    metadata, tensors = pack_weights(weights)
    writer = _GraphWriter(onnx.helper, weights)
    writer.add_preprocessing()
    for layer in arch.layers:
        writer.add_layer(layer)
    writer.add_node('Softmax', [writer.current], 'prob', axis=-1)
    value_info = onnx.helper.make_tensor_value_info
    pixels = value_info('pixels', onnx.TensorProto.FLOAT, ['batch', 3, arch.crop_size, arch.crop_size])
    outputs = [
        value_info(name, onnx.TensorProto.FLOAT, ['batch', arch.num_classes]) for name in (arch.layers[-1].name, 'prob')
    ]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in (tensors | writer.constants).items()]
    graph = onnx.helper.make_graph(writer.nodes, arch.name, [pixels], outputs, constants)
    model = onnx.helper.make_model(
        graph, producer_name='alexnet_jax', ir_version=IR_VERSION, opset_imports=[onnx.helper.make_opsetid('', OPSET)]
    )
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    with atomic_io.write_atomic(path, 'wb') as file:
        file.write(model.SerializeToString(deterministic=True))


def input_mean(weights: ModelWeights) -> np.ndarray:
    """Return what the graph subtracts from the center crop: float32 (3, crop, crop), or (3, 1, 1) for three colors."""
    preprocessing, crop = weights.preprocessing, weights.arch.crop_size
    if preprocessing.mean_kind == 'channel' or preprocessing.mean.ndim == 1:
        colors, _ = select_mean(preprocessing.mean_image(), 'channel', 1)
        return colors.reshape(3, 1, 1)
    # The paper's mean is cropped as the image is, and this is the center crop of either.
    center, _ = select_mean(preprocessing.mean_image(), 'center', crop)
    return np.ascontiguousarray(center.transpose(2, 0, 1))


class _GraphWriter:
    """Nodes and the constants they need besides the tensors of the network."""

    def __init__(self, helper: Any, weights: ModelWeights):
        self._helper, self._weights = helper, weights
        self._arch: Architecture = weights.arch
        self._inputs = weights.arch.input_shapes()
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.current = 'pixels'

    def add_node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """Add a node of one output, which the next layer reads."""
        self.nodes.append(self._helper.make_node(op, inputs, [output], name=output, **attributes))
        self.current = output

    def add_preprocessing(self) -> None:
        """Subtract the mean, a center crop of the file's own one, and divide by the standard deviation."""
        preprocessing, crop = self._weights.preprocessing, self._arch.crop_size
        if preprocessing.mean.ndim == 1:
            self._constant('input.mean', input_mean(self._weights))
        else:
            edge = (preprocessing.image_size - crop) // 2
            bounds = [
                self._constant(f'input.{name}', np.array(numbers, np.int64))
                for name, numbers in (('starts', [edge] * 2), ('ends', [edge + crop] * 2), ('axes', [0, 1]))
            ]
            self.add_node('Slice', [MEAN_TENSOR, *bounds], 'input.center')
            self.add_node('Transpose', ['input.center'], 'input.mean', perm=[2, 0, 1])
        self.add_node('Sub', ['pixels', 'input.mean'], 'input.centered')
        if (preprocessing.std != 1).any():
            std = self._constant('input.std', preprocessing.std.astype(np.float32).reshape(3, 1, 1))
            self.add_node('Div', ['input.centered', std], 'input.scaled')

    def add_layer(self, layer: Layer) -> None:
        """Add the nodes of one layer; the last one's output has the layer's name."""
        name, x = layer.name, self.current
        match layer:
            case Convolution():
                groups = layer_groups(self._arch, layer)
                windows = self._windows(layer, layer.kernel_size)
                self.add_node('Conv', [x, f'{name}.weight', f'{name}.bias'], name, group=groups, **windows)
            case Dense():
                self._add_dense(layer)
            case Activation():
                *before, last = _ACTIVATIONS[layer.function]
                for op in before:
                    self.add_node(op, [self.current], f'{name}.{op}')
                self.add_node(last, [self.current], name)
            case ResponseNormalization():
                self._add_normalization(layer)
            case SpatialResponseNormalization():
                self._add_spatial_normalization(layer)
            case Pooling():
                op = 'MaxPool' if layer.kind == 'max' else 'AveragePool'
                self.add_node(op, [x], name, **self._windows(layer, layer.window))
            case Dropout():
                if layer.inverted:
                    self.add_node('Identity', [x], name)
                else:
                    keep = self._constant(f'{name}.keep_prob', np.array(layer.keep_prob, np.float32))
                    self.add_node('Mul', [x, keep], name)

    def _windows(self, layer: Convolution | Pooling, size: int) -> dict[str, list[int]]:
        (top, bottom), (left, right) = self._arch.padding(layer)
        pads = [top, left, bottom, right]
        return {'kernel_shape': [size] * 2, 'strides': [layer.stride] * 2, 'pads': pads}

    def _add_dense(self, layer: Dense) -> None:
        name, shape = layer.name, self._inputs[layer.name]
        groups = layer_groups(self._arch, layer)
        if groups == 1:
            if len(shape) > 1:
                self.add_node('Flatten', [self.current], f'{name}.input', axis=1)
            self.add_node('Gemm', [self.current, f'{name}.weight', f'{name}.bias'], name, transB=1)
            return
        if layer.features % groups:
            raise UserError(
                f'{name} has {layer.features} features in {groups} columns that see only their own; ONNX cannot divide '
                'them. Export to .safetensors or .npz.'
            )
        # Each column's part as a convolution of one window in groups.
        height, width, maps = (1, 1, *shape)[-3:]
        if len(shape) == 1:
            self._reshape(f'{name}.input', [-1, maps, height, width])
        x, window = self.current, [height, width]
        kernel = self._constant(f'{name}.kernel_shape', np.array([layer.features, maps // groups, *window], np.int64))
        self.add_node('Reshape', [f'{name}.weight', kernel], f'{name}.kernel')
        inputs = [x, f'{name}.kernel', f'{name}.bias']
        self.add_node('Conv', inputs, f'{name}.maps', group=groups, kernel_shape=window)
        self.add_node('Flatten', [self.current], name, axis=1)

    def _add_normalization(self, layer: ResponseNormalization) -> None:
        name, columns = layer.name, self._arch.columns
        height, width, maps = self._inputs[name]
        if layer.n % 2 == 0:
            raise UserError(f'{name} normalizes over {layer.n} maps; ONNX places windows of even sizes otherwise.')
        if columns > 1:
            self._reshape(f'{name}.columns', [-1, maps // columns, height, width])
        output = name if columns == 1 else f'{name}.normalized'
        # ONNX divides alpha by n.
        alpha = layer.alpha if layer.alpha_over_n else layer.alpha * layer.n
        numbers = {'alpha': alpha, 'beta': layer.beta, 'bias': layer.k}
        self.add_node('LRN', [self.current], output, size=layer.n, **numbers)
        if columns > 1:
            self._reshape(name, [-1, maps, height, width])

    def _add_spatial_normalization(self, layer: SpatialResponseNormalization) -> None:
        """Add x / (k + alpha * mean of x^2 over the window, in which pixels past the edge are zeros) ** beta."""
        name, x = layer.name, self.current
        before, after = layer.n // 2, (layer.n - 1) // 2
        windows = {'kernel_shape': [layer.n] * 2, 'strides': [1, 1], 'pads': [before, before, after, after]}
        self.add_node('Mul', [x, x], f'{name}.squares')
        self.add_node('AveragePool', [self.current], f'{name}.mean', count_include_pad=1, **windows)
        for op, number in (('Mul', layer.alpha), ('Add', layer.k), ('Pow', -layer.beta)):
            constant = self._constant(f'{name}.{op}.number', np.array(number, np.float32))
            self.add_node(op, [self.current, constant], f'{name}.{op}')
        self.add_node('Mul', [x, self.current], name)

    def _reshape(self, output: str, shape: list[int]) -> None:
        self.add_node('Reshape', [self.current, self._constant(f'{output}.shape', np.array(shape, np.int64))], output)

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = array
        return name
