"""A PyTorch module of a network, as the text of a Python file that needs torch and safetensors alone."""

from __future__ import annotations

import math
import os
from pathlib import Path

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

_HEAD = '''"""The network {name} in PyTorch, written by alexnet_jax beside its weights; needs torch and safetensors.

    import {module}
    network = {module}.load_network()
    inputs = network.preprocessing(images)  # uint8 (batch, 3, {side}, {side}), RGB, to (batch, 3, {crop}, {crop})
    logits = network(inputs)  # (batch, {classes})
    network.activations(inputs)['{last}']

Images: the shorter side is resized to {side} pixels by bicubic interpolation with antialiasing, then the center square.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

WEIGHTS_FILE = Path(__file__).with_name({file!r})


class Preprocessing(nn.Module):
    """The center crop of images, minus the mean of the {mean_kind}, divided by the standard deviation."""

    def __init__(self):
        super().__init__()
        self.register_buffer('mean', torch.{mean}, persistent={persistent})
        self.register_buffer('std', torch.tensor({std}).reshape(3, 1, 1), persistent=False)

    def forward(self, images):
        """Return the network's input, float32."""
        return (crop_center(images.float()) - {selected_mean}) / self.std


def crop_center(images):
    """Return the middle {crop} x {crop} pixels of (..., height, width)."""
    top, left = ((side - {crop}) // 2 for side in images.shape[-2:])
    return images[..., top : top + {crop}, left : left + {crop}]

'''

_FLAT_LINEAR = '''
class FlatLinear(nn.Linear):
    """A dense layer over maps, flattened in the order channel, height, width."""

    def forward(self, x):
        """Return (batch, features)."""
        return super().forward(x.flatten(1))

'''

_COLUMN_LINEAR = '''
class ColumnLinear(nn.Module):
    """A dense layer whose columns see their own features alone."""

    def __init__(self, columns, inputs, outputs):
        super().__init__()
        self.columns = columns
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // columns))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        """Return the features of all columns side by side."""
        size = math.ceil(len(self.weight) / self.columns)
        parts = zip(x.chunk(self.columns, 1), self.weight.split(size), self.bias.split(size))
        return torch.cat([functional.linear(own.flatten(1), weight, bias) for own, weight, bias in parts], 1)

'''

_PADDED_CONVOLUTION = '''
class PaddedConv2d(nn.Conv2d):
    """A convolution with zeros (left, right, top, bottom) around its input."""

    def __init__(self, *sizes, zeros, **options):
        super().__init__(*sizes, **options)
        self.zeros = zeros

    def forward(self, x):
        """Return the maps."""
        return super().forward(functional.pad(x, self.zeros))

'''

_RESPONSE_NORMALIZATION = '''
class ResponseNormalization(nn.Module):
    """x / (k + alpha * sum of squares over n neighboring maps of the column) ** beta."""

    def __init__(self, columns, n, k, alpha, beta):
        super().__init__()
        # torch divides alpha by n.
        self.columns, self.norm = columns, nn.LocalResponseNorm(n, alpha * n, beta, k)

    def forward(self, x):
        """Return the maps of each column, normalized by its own."""
        return torch.cat([self.norm(column) for column in x.chunk(self.columns, 1)], 1)

'''

_SPATIAL_NORMALIZATION = '''
class SpatialResponseNormalization(nn.Module):
    """x / (k + alpha / n^2 * sum of squares over n x n pixels of the same map) ** beta."""

    def __init__(self, n, k, alpha, beta):
        super().__init__()
        self.n, self.k, self.alpha, self.beta = n, k, alpha, beta

    def forward(self, x):
        """Return the maps, normalized."""
        before, after = self.n // 2, (self.n - 1) // 2
        squares = functional.pad(x * x, (before, after, before, after))
        return x * (self.k + self.alpha * functional.avg_pool2d(squares, self.n, 1)) ** -self.beta

'''

_SCALED_DROPOUT = '''
class ScaledDropout(nn.Module):
    """The dropout of the paper: zeros in training, times the probability to keep at test."""

    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob

    def forward(self, x):
        """Return x with zeros, or scaled."""
        return x * (torch.rand_like(x) < self.keep_prob) if self.training else x * self.keep_prob

'''

_ABS_TANH = '''
class AbsTanh(nn.Module):
    """The absolute value of tanh."""

    def forward(self, x):
        """Return |tanh(x)|."""
        return x.tanh().abs()

'''

_CLASS = '''
class AlexNet(nn.Module):
    """{name}: {columns} column{plural}{order}."""

    def __init__(self):
        super().__init__()
        self.preprocessing = Preprocessing()
        {layers}

    def activations(self, inputs):
        """Return every named activation: maps (batch, maps, height, width), or (batch, features)."""
        outputs, x = {{}}, inputs
        for name, layer in self.named_children():
            if name != 'preprocessing':
                outputs[name] = x = layer(x)
        return outputs

    def forward(self, inputs):
        """Return logits (batch, {classes})."""
        return self.activations(inputs)['{last}']


def load_network(path=WEIGHTS_FILE):
    """Return the network with the weights of a file that alexnet_jax wrote, ready for the test."""
    network = AlexNet()
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()
'''

# What a module needs of these classes, by how they are called.
_HELPERS = {
    'FlatLinear(': _FLAT_LINEAR,
    'ColumnLinear(': _COLUMN_LINEAR,
    'PaddedConv2d(': _PADDED_CONVOLUTION,
    '= ResponseNormalization(': _RESPONSE_NORMALIZATION,
    'SpatialResponseNormalization(': _SPATIAL_NORMALIZATION,
    'ScaledDropout(': _SCALED_DROPOUT,
    'AbsTanh(': _ABS_TANH,
}
_TORCH_ACTIVATIONS = {'relu': 'nn.ReLU()', 'tanh': 'nn.Tanh()', 'sigmoid': 'nn.Sigmoid()', 'abs_tanh': 'AbsTanh()'}
_SELECTED_MEAN = {
    'image': 'crop_center(self.mean.permute(2, 0, 1))',
    'center': 'crop_center(self.mean.permute(2, 0, 1))',
    'channel': 'self.mean.mean((0, 1)).reshape(3, 1, 1)',
}


def write_torch_module(path: str | os.PathLike[str], weights: ModelWeights, weights_file: str) -> None:
    """Write the module of the network in `weights_file`, which is beside it, to the Python file `path`, atomically."""
    with atomic_io.write_atomic(path) as file:
        file.write(format_torch_module(weights, module=Path(path).stem, weights_file=weights_file))


def format_torch_module(weights: ModelWeights, *, module: str, weights_file: str) -> str:
    """Return the text of the module."""
    arch, preprocessing = weights.arch, weights.preprocessing
    side, has_image = preprocessing.image_size, preprocessing.mean.ndim == 3
    layers = '\n        '.join(f'self.{layer.name} = {_layer_expression(arch, layer)}' for layer in arch.layers)
    values = {
        'name': arch.name,
        'module': module,
        'file': weights_file,
        'classes': arch.num_classes,
        'side': side,
        'crop': arch.crop_size,
        'mean': f'zeros({side}, {side}, 3)' if has_image else f'tensor({preprocessing.mean.tolist()}).reshape(1, 1, 3)',
        'mean_kind': preprocessing.mean_kind,
        'persistent': has_image,
        'std': preprocessing.std.tolist(),
        'selected_mean': _SELECTED_MEAN[preprocessing.mean_kind if has_image else 'channel'],
        'last': arch.layers[-1].name,
        'columns': arch.columns,
        'plural': 's' * (arch.columns > 1),
        'order': "; column a's maps come first" * (arch.columns > 1),
        'layers': layers,
    }
    used = [text for call, text in _HELPERS.items() if call in layers]
    return _HEAD.format(**values) + ''.join(used) + _CLASS.format(**values)


def _layer_expression(arch: Architecture, layer: Layer) -> str:
    """Return the call that makes the layer."""
    inputs = arch.input_shapes()[layer.name]
    match layer:
        case Convolution():
            (top, bottom), (left, right) = arch.padding(layer)
            even = top == bottom == left == right
            zeros = f'padding={top}' if even else f'zeros={(left, right, top, bottom)}'
            return (
                f'{"nn.Conv2d" if even else "PaddedConv2d"}({inputs[-1]}, {layer.features}, {layer.kernel_size}, '
                f'stride={layer.stride}, {zeros}, groups={layer_groups(arch, layer)})'
            )
        case Dense():
            count = math.prod(inputs)
            if layer.input_from == 'own' and arch.columns > 1:
                return f'ColumnLinear({arch.columns}, {count}, {layer.features})'
            return f'{"FlatLinear" if len(inputs) == 3 else "nn.Linear"}({count}, {layer.features})'
        case Activation():
            return _TORCH_ACTIVATIONS[layer.function]
        case ResponseNormalization():
            alpha = layer.alpha / layer.n if layer.alpha_over_n else layer.alpha
            return f'ResponseNormalization({arch.columns}, {layer.n}, {layer.k}, {alpha}, {layer.beta})'
        case SpatialResponseNormalization():
            return f'SpatialResponseNormalization({layer.n}, {layer.k}, {layer.alpha}, {layer.beta})'
        case Pooling():
            kind = {'max': 'MaxPool2d', 'average': 'AvgPool2d'}[layer.kind]
            return f'nn.{kind}({layer.window}, {layer.stride}, ceil_mode={layer.rounding == "ceil"})'
        case Dropout():
            return f'nn.Dropout({1 - layer.keep_prob})' if layer.inverted else f'ScaledDropout({layer.keep_prob})'
