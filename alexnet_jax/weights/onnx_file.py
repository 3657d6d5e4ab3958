"""Read ONNX networks by their bytes, without the onnx package: a chain of the operators of this family.

Fields are named below by their numbers in onnx.proto. Writing is in onnx_writer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.weights.graph import Graph, Pads, match_preset, weights_from_graph
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.onnx_spatial import SpatialNormalizationNodes
from alexnet_jax.weights.onnx_writer import input_mean, write_onnx
from alexnet_jax.weights.own_metadata import FORMAT, MEAN_TENSOR, unpack_weights
from alexnet_jax.weights.protobuf_wire import Message, read_message

__all__ = ['read_onnx', 'write_onnx']

_DTYPES = {1: '<f4', 6: '<i4', 7: '<i8', 10: '<f2', 11: '<f8'}
# Where a tensor's numbers are when they are not in raw_data: float_data, int32_data, int64_data, double_data.
_TYPED_DATA = {1: 4, 11: 10}
_INTEGER_DATA = {6: 5, 7: 7}
_ACTIVATIONS = {'Relu': 'relu', 'Tanh': 'tanh', 'Sigmoid': 'sigmoid', 'Abs': 'abs'}
# Presets whose files elsewhere take blue first, as Caffe does.
_BGR_PRESETS = ('caffe', 'caffenet', 'onnx_zoo')


def read_onnx(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in an ONNX file: one that this package wrote, or one whose graph is a preset's.

    Raises UserError if it is damaged, keeps its numbers in other files, or computes anything else.
    """
    model = read_message(path, 'ONNX')
    metadata = {entry.string(1): entry.string(2) for entry in model.messages(14)}
    is_own = metadata.get('format') == FORMAT
    chain = _Chain(path, model.message(7), is_own=is_own)
    graph = chain.graph
    if not is_own:
        first = _first_matching(graph, preset)
        return weights_from_graph(graph, preset=preset, partial=partial, bgr=first in _BGR_PRESETS)
    tensors = {
        name: array
        for name, array in chain.initializers.items()
        if name.endswith(('.weight', '.bias')) or name == MEAN_TENSOR
    }
    weights = unpack_weights(path, metadata, tensors, partial=partial)
    match_preset(graph, candidates=[weights.arch])
    if not chain.prepares_as(input_mean(weights), weights.preprocessing.std):
        raise UserError(f'{path}: the graph prepares its input in another way than the file says; export it again.')
    return weights


def _first_matching(graph: Graph, preset: str) -> str:
    """Return the name of the preset that the graph is, or the one that was named."""
    return preset or match_preset(graph).name


class _Chain:
    """The nodes of an ONNX graph one after another, told to a `Graph`; its constants by name."""

    def __init__(self, path: str | os.PathLike[str], message: Message, *, is_own: bool):
        self._path, self._is_own = path, is_own
        self.initializers: dict[str, np.ndarray] = {}
        for tensor in message.messages(5):
            name = tensor.string(8)
            if not name or name in self.initializers:
                raise self._error(f'has {"no name for a tensor" if not name else f"two tensors named {name[:40]!r}"}')
            self.initializers[name] = self._read_tensor(tensor, name)
        self._constants = dict(self.initializers)
        self._current, size, channels = self._find_input(message)
        self.graph = Graph(path, size, channels)
        self._parts, self._subtracted, self._divided = 1, np.zeros(1), np.ones(1)
        self._ended = False
        # What follows the square of something, until it is a whole normalization.
        self._spatial: SpatialNormalizationNodes | None = None
        for node in message.messages(1):
            self._add_node(node)
        if self._spatial:
            raise self._error('ends within a normalization')

    def prepares_as(self, mean: np.ndarray, std: np.ndarray) -> bool:
        """Return whether the graph subtracts this mean and divides by this standard deviation first."""
        subtracted = np.array_equal(self._subtracted, mean)
        return subtracted and np.array_equal(self._divided.reshape(-1), std if (std != 1).any() else np.ones(1))

    def _error(self, problem: str) -> UserError:
        return UserError(f'{self._path} {problem}. Export it again as a single file of plain layers.')

    def _find_input(self, message: Message) -> tuple[str, int, int]:
        """Return the name, the side and the channels of the one input that is no constant."""
        inputs = [each for each in message.messages(11) if each.string(1) not in self.initializers]
        if len(inputs) != 1:
            names = ', '.join(each.string(1)[:40] for each in inputs[:5]) or 'none'
            raise self._error(f'has {len(inputs)} inputs ({names}) instead of one of images')
        sides = [dim.integer(1, -1) for dim in inputs[0].message(2).message(1).message(2).messages(1)]
        if len(sides) != 4 or sides[2] != sides[3]:
            raise self._error(f'has an input of the shape {sides}, not (batch, 3, size, size)')
        return inputs[0].string(1), sides[2], sides[1]

    def _read_tensor(self, tensor: Message, name: str) -> np.ndarray:
        if tensor.integer(14) or 13 in tensor:
            raise self._error(f'keeps the numbers of {name[:40]!r} in another file (external data)')
        kind, shape = tensor.integer(2), tensor.integers(1)
        if kind not in _DTYPES or min(shape, default=0) < 0 or len(shape) > 8:
            raise self._error(f'has {name[:40]!r} of the data type {kind} and shape {shape[:8]}, which is not read')
        if 9 in tensor or kind not in _INTEGER_DATA:
            chunk = tensor.chunk(9) if 9 in tensor else tensor.chunk(_TYPED_DATA.get(kind, 9))
            count, numbers = len(chunk) / np.dtype(_DTYPES[kind]).itemsize, chunk
        else:
            numbers = np.array(tensor.integers(_INTEGER_DATA[kind]), np.int64)
            count = len(numbers)
        if math.prod(shape) != count:
            raise self._error(f'is damaged: {name[:40]!r} of the shape {shape} has {count:g} numbers')
        array = numbers if isinstance(numbers, np.ndarray) else np.frombuffer(numbers, _DTYPES[kind])
        return array.reshape(shape)

    def _add_node(self, node: Message) -> None:
        inputs, outputs, op = node.strings(1), node.strings(2), node.string(4)
        name = (outputs or [''])[0]
        if node.string(7) not in ('', 'ai.onnx') or not name:
            raise self._unknown(name, op)
        if name in self._constants:
            raise self._error(f'has two values named {name[:40]!r}')
        attributes = {each.string(1): each for each in node.messages(5)}
        constants = [self._constants.get(each) for each in inputs]
        if all(each is not None for each in constants):
            self._constants[name] = self._compute_constant(op, name, constants, attributes)
            return
        if self._spatial or (op == 'Mul' and inputs == [self._current] * 2):
            self._add_spatial_node(op, name, inputs, constants, attributes)
            return
        if inputs[0] != self._current:
            raise self._error(f'is no chain of layers: {name[:40]!r} ({op[:40]}) reads {inputs[0][:40]!r}')
        if self._ended:
            raise self._unknown(name, f'{op} after Softmax')
        missing = [each for each, value in zip(inputs[1:], constants[1:], strict=True) if each and value is None]
        if missing:
            raise self._error(f'has {name[:40]!r} ({op[:40]}) with {missing[0][:40]!r}, which is no constant')
        if self._parts > 1 and op not in ('LRN', 'Reshape'):
            raise self._unknown(name, f'{op} between Reshapes')
        self._add_layer(op, name, constants[1:], attributes)
        self._current = name

    def _add_spatial_node(
        self, op: str, name: str, inputs: list[str], constants: Sequence[Any], attributes: dict[str, Message]
    ) -> None:
        """Begin, continue or end a normalization within maps."""
        if self._spatial is None:
            self._spatial = SpatialNormalizationNodes(self._current)
        else:
            whole = self._spatial.is_complete()
            if not self._spatial.take_node(op, inputs, self._current, constants, attributes):
                raise self._unknown(name, f'{op} after a square')
            if whole:
                window, alpha, k, power = self._spatial.numbers
                self.graph.add_spatial_normalization(name, n=int(window), k=k, alpha=alpha, beta=-power)
                self._spatial = None
        self._current = name

    def _unknown(self, name: str, op: str) -> UserError:
        return UserError(
            f'{self._path}: {name[:40]!r} is of the operator {op[:40]!r}, which the networks of this family do not '
            'have. Known: Conv, Gemm, LRN, MaxPool, AveragePool, Relu, Tanh, Sigmoid, Abs, Dropout, Mul, Flatten, '
            'Reshape, Identity, Softmax.'
        )

    def _compute_constant(
        self, op: str, name: str, inputs: Sequence[Any], attributes: dict[str, Message]
    ) -> np.ndarray:
        """Return what a node of constants alone gives; a constant of one value takes the room of one."""
        try:
            if op == 'Constant':
                return self._read_tensor(attributes['value'].message(5), name)
            if op == 'ConstantOfShape':
                value = (
                    self._read_tensor(attributes['value'].message(5), name) if attributes else np.zeros(1, np.float32)
                )
                return np.broadcast_to(value.reshape(-1)[0], tuple(int(side) for side in inputs[0]))
            if op == 'Identity':
                return inputs[0]
            if op == 'Reshape':
                return inputs[0].reshape([int(side) for side in inputs[1]])
            if op == 'Transpose' and self._is_own:
                return inputs[0].transpose(attributes['perm'].integers(8))
            if op == 'Slice' and self._is_own:
                starts, ends, axes = (each.tolist() for each in inputs[1:4])
                bounds = dict(zip(axes, map(slice, starts, ends), strict=True))
                return inputs[0][tuple(bounds.get(axis, slice(None)) for axis in range(inputs[0].ndim))]
        except (KeyError, ValueError, IndexError, TypeError, OverflowError, AttributeError) as error:
            raise self._error(f'is damaged: {name[:40]!r} ({op}) cannot be computed ({error})') from None
        raise self._unknown(name, op)

    def _add_layer(self, op: str, name: str, constants: Sequence[Any], attributes: dict[str, Message]) -> None:
        graph = self.graph
        if op in _ACTIVATIONS:
            self._add_activation(name, _ACTIVATIONS[op])
        elif op == 'Conv':
            weight, bias = self._weight_and_bias(name, constants)
            stride, pads = self._windows(name, attributes)
            groups = attributes['group'].integer(3) if 'group' in attributes else 1
            graph.add_conv(name, weight, bias, stride=stride, pads=pads, groups=groups)
        elif op == 'Gemm':
            weight, bias = self._weight_and_bias(name, constants)
            numbers = {key: attributes[key].integer(3) for key in ('transA', 'transB') if key in attributes}
            scales = [attributes[key].float32(2) for key in ('alpha', 'beta') if key in attributes]
            if numbers.get('transA') or any(each != 1 for each in scales) or weight.ndim != 2:
                raise self._unknown(name, 'Gemm with transA, alpha or beta')
            graph.add_dense(name, weight if numbers.get('transB') else weight.T, bias)
        elif op == 'LRN':
            n = attributes['size'].integer(3) if 'size' in attributes else 0
            alpha, beta, k = (
                attributes[key].float32(2, default) if key in attributes else default
                for key, default in (('alpha', 1e-4), ('beta', 0.75), ('bias', 1.0))
            )
            graph.add_normalization(name, n=n, k=k, alpha=alpha / max(n, 1), beta=beta, parts=self._parts)
        elif op in ('MaxPool', 'AveragePool'):
            self._add_pooling(op, name, attributes)
        elif op == 'Mul' and constants and constants[0].size == 1:
            graph.add_scale(name, float(constants[0].reshape(-1)[0]))
        elif op == 'Reshape' and constants:
            self._add_reshape(name, [int(side) for side in constants[0].reshape(-1)[:8]])
        elif op == 'Softmax':
            self._ended = True
        elif op in ('Sub', 'Div') and self._is_own and not graph.operations:
            if op == 'Sub':
                self._subtracted = constants[0]
            else:
                self._divided = constants[0]
        elif op == 'Flatten' and (attributes['axis'].integer(3) if 'axis' in attributes else 1) == 1:
            pass
        elif op not in ('Dropout', 'Identity'):
            raise self._unknown(name, op)

    def _add_activation(self, name: str, function: str) -> None:
        before = self.graph.operations[-1] if self.graph.operations else None
        if function != 'abs':
            self.graph.add_activation(name, function)
        elif before is not None and before.words == 'activation tanh':
            # The one activation that is two operators.
            self.graph.operations.pop()
            self.graph.add_activation(name, 'abs_tanh')
        else:
            raise self._unknown(name, 'Abs')

    def _add_pooling(self, op: str, name: str, attributes: dict[str, Message]) -> None:
        windows = self._numbers(attributes, 'kernel_shape')
        stride, pads = self._windows(name, attributes)
        ceil = self._numbers(attributes, 'ceil_mode', 3)
        counts_padding = self._numbers(attributes, 'count_include_pad', 3)
        if len(set(windows)) != 1 or len(windows) != 2 or (any(counts_padding) and any(pads)):
            raise self._error(f'has {name[:40]!r} ({op}) with windows of {windows[:4]} or padding that counts')
        kind = 'max' if op == 'MaxPool' else 'average'
        self.graph.add_pooling(name, windows[0], stride, pads=pads, kind=kind, ceil=any(ceil))

    def _add_reshape(self, name: str, shape: list[int]) -> None:
        """Flatten, or lay columns out as images of a larger batch and back: (-1, features of a column, size, size)."""
        graph = self.graph
        count = graph.features * graph.size**2
        if len(shape) == 2 and shape[1] in (-1, count):
            return
        maps, sides = (shape[1], set(shape[2:])) if len(shape) == 4 else (0, set())
        if sides != {graph.size} or maps < 1 or graph.features % maps:
            raise self._error(f'has {name[:40]!r} (Reshape) to {shape}, from {graph.features} maps of {graph.size}')
        self._parts = graph.features // maps

    def _weight_and_bias(self, name: str, constants: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        if not constants or constants[0] is None or not constants[0].ndim:
            raise self._error(f'has {name[:40]!r} without weights')
        weight = constants[0]
        if len(constants) > 1 and constants[1] is not None:
            return weight, constants[1].reshape(-1)
        raise self._error(f'has {name[:40]!r} without biases, which every layer of this family has')

    def _windows(self, name: str, attributes: dict[str, Message]) -> tuple[int, Pads]:
        """Return stride and pads; ONNX gives those of the beginnings of both axes, then those of the ends."""
        strides = self._numbers(attributes, 'strides') or [1, 1]
        pads = self._numbers(attributes, 'pads') or [0] * 4
        dilations = self._numbers(attributes, 'dilations')
        auto_pad = attributes['auto_pad'].string(4) if 'auto_pad' in attributes else 'NOTSET'
        if len(set(strides)) != 1 or len(pads) != 4 or any(each != 1 for each in dilations):
            raise self._error(
                f'has {name[:40]!r} with strides {strides[:4]}, pads {pads[:4]}, dilations {dilations[:4]}'
            )
        if auto_pad not in ('NOTSET', 'VALID'):
            raise self._error(f'has {name[:40]!r} with padding {auto_pad[:20]}, which depends on the input')
        top, left, bottom, right = pads
        return strides[0], (top, bottom, left, right)

    def _numbers(self, attributes: dict[str, Message], name: str, field: int = 8) -> list[int]:
        return attributes[name].integers(field) if name in attributes else []
