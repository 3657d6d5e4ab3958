"""Architectures as data: layer records, and everything that follows from them by arithmetic.

Shapes, parameter counts, multiply-adds and the numbers that columns exchange are derived here and nowhere else.
Sizes are in pixels; features are counted over all columns. `presets` has the networks by name.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from alexnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution over the image, its own column's features or those of all columns (an exchange)."""

    name: str
    features: int
    kernel_size: int
    stride: int = 1
    # Zeros on each side.
    pad: int = 0
    # 'image', 'own' (column) or 'all' (columns).
    input_from: str = 'own'
    # Separate convolutions inside a column, each of its own part of the input (Caffe's group).
    groups: int = 1
    # Zeros that the last window may read past the bottom and right edges (2012 source, layer.py).
    pad_after: int = 0
    # 'floor' drops pixels that no window reaches (torch); 'exact' refuses them.
    rounding: str = 'exact'


@dataclasses.dataclass(frozen=True)
class Dense:
    """A fully connected layer over its own column or over all columns (an exchange)."""

    name: str
    features: int
    input_from: str = 'all'


@dataclasses.dataclass(frozen=True)
class Activation:
    """An elementwise function, named as in layers.ACTIVATIONS."""

    name: str
    function: str = 'relu'


@dataclasses.dataclass(frozen=True)
class ResponseNormalization:
    """b = a / (k + alpha * sum of squares over n neighboring maps of the column) ** beta (paper, section 3.3)."""

    name: str
    k: float = 2.0
    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    # True divides alpha by n, as the 2012 source and Caffe do.
    alpha_over_n: bool = False


@dataclasses.dataclass(frozen=True)
class SpatialResponseNormalization:
    """b = a / (k + alpha / n^2 * sum of squares over n x n neighboring pixels of the same map) ** beta.

    Layer type rnorm of the 2012 source; run 145 has one after norm2 (layers/layer-params-145.cfg).
    """

    name: str
    k: float = 1.0
    n: int = 5
    alpha: float = 1e-3
    beta: float = 0.75


@dataclasses.dataclass(frozen=True)
class Pooling:
    """The maximum or the mean of each window; windows overlap where stride < window (paper, section 3.4)."""

    name: str
    window: int = 3
    stride: int = 2
    kind: str = 'max'
    # 'ceil' lets the last window hang over the edge, where it reads nothing (2012 source).
    rounding: str = 'exact'


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Zeros with probability 1 - keep_prob in training (paper, section 4.2)."""

    name: str
    keep_prob: float = 0.5
    # True divides by keep_prob in training; False multiplies by it at test, as the paper does.
    inverted: bool = False


Layer = Convolution | Dense | Activation | ResponseNormalization | SpatialResponseNormalization | Pooling | Dropout
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network as a value, in `columns` parts that see each other's features at the exchanging layers only.

    Every quantity that documents quote (shapes, counts, exchanged numbers) is a method and follows from `layers`.
    """

    name: str
    columns: int
    # Side of the square input image, in pixels.
    crop_size: int
    layers: tuple[Layer, ...]
    channels: int = 3
    # Other sides that give the same shapes from conv1 on.
    equivalent_crops: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        """Return the number of classes, which are the features of the last layer."""
        last = self.layers[-1]
        if not isinstance(last, Dense):
            raise UserError(
                f'The last layer of {self.name} is {last.name}; it must be dense, with one feature per class.'
            )
        return last.features

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[Shape, Shape]]:
        """Input and output shape by layer, without the batch, all columns together."""
        shapes: dict[str, tuple[Shape, Shape]] = {}
        shape: Shape = (self.crop_size, self.crop_size, self.channels)
        for layer in self.layers:
            shapes[layer.name] = (shape, _output_shape(layer, shape))
            shape = shapes[layer.name][1]
        return shapes

    def activation_shapes(self) -> dict[str, Shape]:
        """Return the shape of each named activation, without the batch, in the order of the forward pass."""
        return {name: output for name, (_, output) in self._shapes.items()} | {'prob': (self.num_classes,)}

    def input_shapes(self) -> dict[str, Shape]:
        """Return the shape of each layer's input, without the batch, all columns together."""
        return {name: inputs for name, (inputs, _) in self._shapes.items()}

    def kernel_shapes(self) -> dict[str, Shape]:
        """Return the shape of one column's kernel by layer: (height, width, in, out) or (in, out).

        The last layer's features are rounded up to a multiple of the columns.
        """
        kernels: dict[str, Shape] = {}
        for layer in self.layers:
            if not isinstance(layer, Convolution | Dense):
                continue
            inputs = self._shapes[layer.name][0]
            input_parts = self.columns if layer.input_from == 'own' else 1
            features = math.ceil(layer.features / self.columns)
            if isinstance(layer, Convolution):
                size, channels = layer.kernel_size, inputs[-1] // input_parts // layer.groups
                kernels[layer.name] = (size, size, channels, features)
            else:
                kernels[layer.name] = (math.prod(inputs) // input_parts, features)
        return kernels

    def parameter_counts(self) -> dict[str, int]:
        """Return the number of weights and biases by layer, all columns together."""
        return {
            name: self._shapes[name][1][-1] * (math.prod(kernel[:-1]) + 1)
            for name, kernel in self.kernel_shapes().items()
        }

    def macs(self) -> dict[str, int]:
        """Return the multiply-adds of one image's forward pass by layer."""
        return {
            name: math.prod(kernel[:-1]) * math.prod(self._shapes[name][1])
            for name, kernel in self.kernel_shapes().items()
        }

    def numbers_exchanged(self) -> dict[str, int]:
        """Return the numbers per image that a column sends to the others at each layer that sees all columns."""
        if self.columns == 1:
            return {}
        return {
            layer.name: math.prod(self._shapes[layer.name][0]) // self.columns
            for layer in self.layers
            if isinstance(layer, Convolution | Dense) and layer.input_from == 'all'
        }

    def padding(self, layer: Convolution | Pooling) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows and columns to add (before, after) to the layer's input so that its windows tile it."""
        pad = layer.pad if isinstance(layer, Convolution) else 0
        height, width = self._shapes[layer.name][0][:2]
        return (pad, pad + _count_windows(layer, height)[1]), (pad, pad + _count_windows(layer, width)[1])


def _count_windows(layer: Convolution | Pooling, size: int) -> tuple[int, int]:
    """Return the number of windows along `size` pixels, and the pixels that the last one hangs over the edge.

    Raises UserError if the windows do not tile the pixels.
    """
    if isinstance(layer, Convolution):
        window, pad, pad_after = layer.kernel_size, layer.pad, layer.pad_after
    else:
        window, pad, pad_after = layer.window, 0, 0
    span = size + 2 * pad - window
    steps, rest = divmod(span, layer.stride)
    over = (layer.stride - rest) % layer.stride
    if span < 0:
        raise UserError(
            f'{layer.name}: a window of {window} pixels does not fit into {size} + 2 x {pad}. Use a larger crop.'
        )
    if rest == 0 or layer.rounding == 'floor':
        return steps + 1, 0
    if layer.rounding == 'ceil' or over == pad_after:
        return steps + 2, over
    allowed = f' (or {pad_after} zeros past the edge)' if pad_after else ''
    raise UserError(
        f'{layer.name}: ({size} + 2 x {pad} - {window}) / {layer.stride} = {span / layer.stride:g} is not a whole '
        f'number{allowed}, so its windows do not fit {size} pixels. Use another crop.'
    )


def _output_shape(layer: Layer, shape: Shape) -> Shape:
    """Return the layer's output shape for that input shape. Raises UserError if it cannot take the input."""
    if isinstance(layer, Dense):
        return (layer.features,)
    if isinstance(layer, Convolution | Pooling):
        if len(shape) != 3:
            raise UserError(f'{layer.name} needs an input of height, width and channels; its input is {shape}.')
        height, width = (_count_windows(layer, size)[0] for size in shape[:2])
        return height, width, layer.features if isinstance(layer, Convolution) else shape[2]
    return shape
