"""The graph that comes with a file of weights, and which of the presets it is: by what it computes, not by its name.

A reader tells a `Graph` its operations in order. They are compared, as they are at test, with those of the presets:
a convolution by its windows, a normalization by the maps that it runs over; dropout that does nothing is left out.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Iterable

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Pooling,
    ResponseNormalization,
    SpatialResponseNormalization,
)
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.weights.foreign import weights_from_tensors
from alexnet_jax.weights.layout import layer_groups, weighted_layers
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing, list_some

MAX_OPERATIONS = 1000
MAX_FEATURES = 2**20
# (top, bottom, left, right)
Pads = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation in words, which are what is compared, and the file's name for it."""

    words: str
    name: str = dataclasses.field(compare=False)


class Graph:
    """The operations of a file in order, with the sizes of what flows; weights in PyTorch's layout."""

    def __init__(self, path: str | os.PathLike[str], crop_size: int, channels: int = 3):
        self.path, self.crop_size = path, crop_size
        self.operations: list[Operation] = []
        # By the file's names, in order: weight and bias of each layer that has them.
        self.weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.size, self.features = crop_size, channels
        if not 0 < crop_size <= 4096:
            raise self.error('its input', f'is {crop_size} pixels wide, which no network of this family sees')

    def error(self, name: str, problem: str) -> UserError:
        """Return the error that an operation of the file is not of this family, or damaged."""
        return UserError(f'{self.path}: {name} {problem}. Give a file of one of the networks {", ".join(PRESETS)}.')

    def add_conv(
        self,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        stride: int = 1,
        pads: Pads = (0,) * 4,
        groups: int = 1,
    ) -> None:
        """Add a convolution of weight (out, in / groups, k, k), bias (out,); dense if a single window fits."""
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or not weight.size:
            raise self.error(name, f'has weights of {weight.shape}, not (out, in / groups, size, size)')
        features, inputs, window, _ = weight.shape
        if groups < 1 or inputs * groups != self.features or features % groups:
            raise self.error(name, f'has {groups} groups of {inputs} inputs, but gets {self.features} maps')
        self._check_bias(name, features, bias)
        windows = self._count_windows(name, window, stride, pads, ceil=False)
        if windows == 1 and window == self.size + pads[0] + pads[1]:
            weight = weight.reshape(features, -1)
            self._add(name, _dense_words(features, groups))
        else:
            edges = _describe_edges(self.size, window, stride, pads[0], windows)
            self._add(name, f'{features} maps by {edges}, {groups} groups')
        self._keep_weights(name, weight, bias)
        self.size, self.features = windows, features

    def add_dense(self, name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        """Add a dense layer of weight (out, in), its input flattened as channel, height, width."""
        inputs = self.features * self.size**2
        if weight.ndim != 2 or weight.shape[1] != inputs or not weight.size:
            raise self.error(name, f'has weights of {weight.shape}, but gets {inputs} numbers')
        self._check_bias(name, len(weight), bias)
        self._add(name, _dense_words(len(weight), 1))
        self._keep_weights(name, weight, bias)
        self.size, self.features = 1, len(weight)

    def add_activation(self, name: str, function: str) -> None:
        """Add an elementwise function, named as in models.layers.ACTIVATIONS."""
        self._add(name, f'activation {function}')

    def add_normalization(self, name: str, *, n: int, k: float, alpha: float, beta: float, parts: int = 1) -> None:
        """Add a normalization over maps whose `alpha` multiplies the sum; `parts` of the maps are apart."""
        self._add(name, _normalization_words(n, k, alpha, beta, self.features // parts))

    def add_spatial_normalization(self, name: str, *, n: int, k: float, alpha: float, beta: float) -> None:
        """Add a normalization over n x n pixels of each map whose `alpha` multiplies the mean of squares."""
        self._add(name, _spatial_words(n, k, alpha, beta))

    def add_pooling(
        self, name: str, window: int, stride: int, *, pads: Pads = (0,) * 4, kind: str = 'max', ceil: bool = False
    ) -> None:
        """Add a pooling; `ceil` lets the last window hang over the edge. Windows of one pixel do nothing."""
        windows = self._count_windows(name, window, stride, pads, ceil=ceil)
        if (window, stride) != (1, 1):
            self._add(name, f'{kind} pooling by {_describe_edges(self.size, window, stride, pads[0], windows)}')
        self.size = windows

    def add_scale(self, name: str, factor: float) -> None:
        """Add a multiplication of every number, as dropout that is not inverted has at test."""
        if factor != 1:
            self._add(name, f'scale {factor:.6g}')

    def _add(self, name: str, words: str) -> None:
        self.operations.append(Operation(words, name))
        if len(self.operations) > MAX_OPERATIONS:
            raise UserError(f'{self.path} has more than {MAX_OPERATIONS:,} operations; AlexNet has some twenty.')

    def _keep_weights(self, name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        if name in self.weights:
            raise self.error(name, 'occurs twice')
        self.weights[name] = weight, bias

    def _check_bias(self, name: str, features: int, bias: np.ndarray) -> None:
        if not 0 < features <= MAX_FEATURES or bias.shape != (features,):
            raise self.error(name, f'has biases of {bias.shape} for {features} features')

    def _count_windows(self, name: str, window: int, stride: int, pads: Pads, *, ceil: bool) -> int:
        """Return the windows along a side, both of which are the same."""
        before, after, left, right = pads
        span = self.size + before + after - window
        if (before, after) != (left, right) or min(pads) < 0 or max(pads) > self.size or before > window:
            raise self.error(name, f'has paddings of {pads} pixels')
        if not 0 < window <= self.size + before + after or not 0 < stride <= MAX_FEATURES:
            raise self.error(name, f'has windows of {window} pixels, {stride} apart, in {self.size} pixels')
        count = (math.ceil(span / stride) if ceil else span // stride) + 1
        # As in Caffe and torch: no window begins past the edge.
        return count - 1 if ceil and (count - 1) * stride >= self.size + before else count


def match_preset(graph: Graph, preset: str = '', candidates: Iterable[Architecture] = ()) -> Architecture:
    """Return the architecture that the graph is, with its number of classes and crop.

    Tried are the `candidates`, by default every preset, or the one named `preset`. Raises UserError with the
    differences from the nearest one if it is none of them.
    """
    if not graph.weights:
        raise UserError(f'{graph.path} has no layers with weights; give a file of trained weights.')
    tried = list(candidates) or [
        _adapt_to_graph(get_architecture(name), graph) for name in ([preset] if preset else PRESETS)
    ]
    differences = {arch.name: _list_differences(graph, arch) for arch in tried}
    for arch in tried:
        if not differences[arch.name]:
            return arch
    nearest = min(differences, key=lambda name: len(differences[name]))
    which = f'not {preset}' if preset else f'none of {", ".join(differences)}'
    raise UserError(
        f'The network in {graph.path} is {which}. It differs from {nearest}: '
        f'{list_some(differences[nearest], separator="; ")}.'
    )


def weights_from_graph(
    graph: Graph,
    *,
    preset: str = '',
    partial: bool = False,
    bgr: bool = False,
    preprocessing: Preprocessing | None = None,
) -> ModelWeights:
    """Return the network of a graph that comes without this package's notes.

    `bgr` says that the first layer takes blue first. `partial` with a `preset` takes the layers whose names and shapes
    fit, whatever the graph is. Raises UserError as `match_preset` and `foreign.weights_from_tensors` do.
    """
    if partial and preset:
        arch, names = None, list(graph.weights)
    else:
        arch = match_preset(graph, preset)
        names = [layer.name for layer in weighted_layers(arch)]
    tensors = {}
    for index, (name, (weight, bias)) in enumerate(zip(names, graph.weights.values(), strict=True)):
        tensors[f'{name}.weight'] = weight[:, ::-1] if bgr and index == 0 else weight
        tensors[f'{name}.bias'] = bias
    return weights_from_tensors(
        tensors, graph.path, arch=arch, preset=preset, partial=partial, preprocessing=preprocessing
    )


def describe_operations(arch: Architecture) -> list[Operation]:
    """Return what an architecture does at test, in the words of a `Graph`."""
    shapes, inputs, found = arch.activation_shapes(), arch.input_shapes(), []
    for layer in arch.layers:
        features, windows, size = shapes[layer.name][-1], shapes[layer.name][0], inputs[layer.name][0]
        match layer:
            case Convolution():
                edges = _describe_edges(size, layer.kernel_size, layer.stride, layer.pad, windows)
                words = f'{features} maps by {edges}, {layer_groups(arch, layer)} groups'
            case Dense():
                words = _dense_words(features, layer_groups(arch, layer))
            case Activation():
                words = f'activation {layer.function}'
            case ResponseNormalization():
                alpha = layer.alpha / layer.n if layer.alpha_over_n else layer.alpha
                words = _normalization_words(layer.n, layer.k, alpha, layer.beta, features // arch.columns)
            case SpatialResponseNormalization():
                words = _spatial_words(layer.n, layer.k, layer.alpha, layer.beta)
            case Pooling():
                words = f'{layer.kind} pooling by {_describe_edges(size, layer.window, layer.stride, 0, windows)}'
            case Dropout():
                if layer.inverted or layer.keep_prob == 1:
                    continue
                words = f'scale {layer.keep_prob:.6g}'
        found.append(Operation(words, layer.name))
    return found


def _adapt_to_graph(arch: Architecture, graph: Graph) -> Architecture:
    """Return the preset with the graph's number of classes, and its crop if that is an equivalent one."""
    crop = graph.crop_size if graph.crop_size in arch.equivalent_crops else arch.crop_size
    adapted = get_architecture(arch.name, num_classes=len(list(graph.weights.values())[-1][0]))
    return dataclasses.replace(adapted, crop_size=crop)


def _list_differences(graph: Graph, arch: Architecture) -> list[str]:
    """Return clauses that say where the graph differs from the architecture; none if it is the same network."""
    theirs, ours = graph.operations, describe_operations(arch)
    clauses = []
    if graph.crop_size != arch.crop_size:
        clauses.append(f'its input is {graph.crop_size} pixels wide instead of {arch.crop_size}')
    matcher = difflib.SequenceMatcher(
        a=[each.words for each in ours], b=[each.words for each in theirs], autojunk=False
    )
    for tag, first, last, other_first, other_last in matcher.get_opcodes():
        if tag != 'equal':
            have = ', '.join(f'{each.name} ({each.words})' for each in theirs[other_first:other_last]) or 'nothing'
            want = ', '.join(f'{each.name} ({each.words})' for each in ours[first:last]) or 'nothing'
            clauses.append(f'it has {have} instead of {want}')
    return clauses


def _describe_edges(size: int, window: int, stride: int, pad: int, windows: int) -> str:
    """Return how windows lie over `size` pixels: how far past each edge they reach, less than 0 where some are left."""
    after = (windows - 1) * stride + window - size - pad
    return f'windows of {window} pixels, stride {stride}, {pad} past the first edge and {after} past the last'


def _dense_words(features: int, groups: int) -> str:
    return f'dense, {features} features, {groups} groups'


def _normalization_words(n: int, k: float, alpha: float, beta: float, maps: int) -> str:
    # Six digits: files hold float32.
    return f'normalization over {n} of {maps} maps, k {k:.6g}, alpha {alpha:.6g}, beta {beta:.6g}'


def _spatial_words(n: int, k: float, alpha: float, beta: float) -> str:
    return f'normalization over {n}x{n} pixels, k {k:.6g}, alpha {alpha:.6g}, beta {beta:.6g}'
