"""Architectures as data: layer records, and all that follows from them by arithmetic.

Knows neither arrays nor devices; the networks by name are `presets`. Shapes, parameter counts, multiply-adds and the
numbers that columns exchange are derived here and nowhere else. Sizes are in pixels; maps and units are counted over
all columns.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from alexnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Maps from windows of what it sees: the image, its own column, or all columns (an exchange)."""

    name: str
    maps: int
    kernel: int
    stride: int = 1
    pad: int = 0  # zeros on each side
    sees: str = 'own'  # 'image', 'own' or 'all'
    groups: int = 1  # inside a column: separate convolutions of as many parts of its input (Caffe)
    overhang: int = (
        0  # zeros that the last window may read past the bottom and right edges (2012 source, layer.py)
    )
    rounding: str = 'exact'  # 'floor' drops pixels that no window reaches (torch)


@dataclasses.dataclass(frozen=True)
class Dense:
    """Units that see every number of their own column, or of all columns (an exchange)."""

    name: str
    units: int
    sees: str = 'all'


@dataclasses.dataclass(frozen=True)
class Activation:
    """A function of each number by itself; its words are in layers.ACTIVATIONS."""

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
    divided: bool = False  # True: alpha is divided by n, as the 2012 source and Caffe do


@dataclasses.dataclass(frozen=True)
class Pooling:
    """The largest or the mean number of each window; windows overlap where stride < window (paper, section 3.4)."""

    name: str
    window: int = 3
    stride: int = 2
    kind: str = 'max'
    rounding: str = (
        'exact'  # 'ceil': the last window may hang over the edge and reads nothing there (2012 source)
    )


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Zeroes each number with probability 1 - keep in training (paper, section 4.2)."""

    name: str
    keep: float = 0.5
    inverted: bool = (
        False  # True: divides by keep in training; False: multiplies by keep at test, as the paper
    )


Layer = Convolution | Dense | Activation | ResponseNormalization | Pooling | Dropout
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network as a value. `columns` parts, each seeing its own maps but where a layer sees all.

    Every quantity that documents quote (shapes, counts, exchanged numbers) is a method and follows from `layers`.
    """

    name: str
    columns: int
    crop: int  # side of the square image, pixels
    layers: tuple[Layer, ...]
    channels: int = 3
    other_crops: tuple[int, ...] = ()  # sides that give the same shapes from conv1 on

    @property
    def classes(self) -> int:
        """Number of classes: the units of the last layer."""
        return self._last.units

    @property
    def _last(self) -> Dense:
        last = self.layers[-1]
        if not isinstance(last, Dense):
            raise UserError(
                f'The last layer of {self.name} is {last.name}; it must be dense, with a unit for each class.'
            )
        return last

    @functools.cached_property
    def _shapes(self) -> tuple[tuple[Shape, Shape], ...]:
        """Input and output shape of each layer, without the batch, all columns together."""
        pairs, shape = [], (self.crop, self.crop, self.channels)
        for layer in self.layers:
            after = _output(layer, shape)
            pairs.append((shape, after))
            shape = after
        return tuple(pairs)

    def points(self) -> dict[str, Shape]:
        """Named points in the order of the forward pass, each with its shape without the batch."""
        points = {layer.name: after for layer, (_, after) in zip(self.layers, self._shapes, strict=True)}
        return points | {'prob': (self.classes,)}

    def kernel_shapes(self) -> dict[str, Shape]:
        """Shape of one column's kernel: (height, width, in, maps) or (inputs, units); the last layer unpadded."""
        kernels: dict[str, Shape] = {}
        for layer, (before, _) in zip(self.layers, self._shapes, strict=True):
            if isinstance(layer, Convolution):
                channels = before[-1] if layer.sees != 'own' else before[-1] // self.columns
                shape = (layer.kernel, layer.kernel, channels // layer.groups, layer.maps // self.columns)
            elif isinstance(layer, Dense):
                inputs = math.prod(before) // (self.columns if layer.sees == 'own' else 1)
                shape = (inputs, math.ceil(layer.units / self.columns))
            else:
                continue
            kernels[layer.name] = shape
        return kernels

    def parameters(self) -> dict[str, int]:
        """Weights and biases of each layer, all columns together."""
        counts = {}
        for layer in self.layers:
            if isinstance(layer, Convolution | Dense):
                outputs = layer.maps if isinstance(layer, Convolution) else layer.units
                counts[layer.name] = outputs * (math.prod(self.kernel_shapes()[layer.name][:-1]) + 1)
        return counts

    def multiply_adds(self) -> dict[str, int]:
        """Multiplications of the forward pass for one image, by layer."""
        kernels = self.kernel_shapes()
        return {
            layer.name: math.prod(kernels[layer.name][:-1]) * math.prod(after)
            for layer, (_, after) in zip(self.layers, self._shapes, strict=True)
            if layer.name in kernels
        }

    def exchanged(self) -> dict[str, int]:
        """Numbers per image that one column sends to the others at each layer that sees them all."""
        if self.columns == 1:
            return {}
        return {
            layer.name: math.prod(before) // self.columns
            for layer, (before, _) in zip(self.layers, self._shapes, strict=True)
            if isinstance(layer, Convolution | Dense) and layer.sees == 'all'
        }

    def edges(self, layer: Convolution | Pooling) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns to add before and after the input of a layer, for its windows to tile it."""
        before = dict(zip((each.name for each in self.layers), self._shapes, strict=True))[layer.name][0]
        return tuple(_edge(layer, size) for size in before[:2])  # type: ignore[return-value]


def _windows(layer: Convolution | Pooling, size: int) -> tuple[int, int]:
    """How many windows fit along `size` pixels, and how many pixels the last one hangs over."""
    window = layer.kernel if isinstance(layer, Convolution) else layer.window
    pad = layer.pad if isinstance(layer, Convolution) else 0
    room = size + 2 * pad - window
    steps, rest = divmod(room, layer.stride)
    over = (layer.stride - rest) % layer.stride
    if room < 0:
        raise UserError(
            f'{layer.name}: a window of {window} pixels does not fit into {size} + 2 x {pad}; give a larger crop.'
        )
    if rest == 0 or layer.rounding == 'floor':
        return steps + 1, 0
    if layer.rounding == 'ceil' or (isinstance(layer, Convolution) and over == layer.overhang):
        return steps + 2, over
    allowed = (
        f' (or {layer.overhang} zeros past the edge)'
        if isinstance(layer, Convolution) and layer.overhang
        else ''
    )
    raise UserError(
        f'{layer.name}: ({size} + 2 x {pad} - {window}) / {layer.stride} = {room / layer.stride:g} is not a whole '
        f'number{allowed}, so its windows do not fit {size} pixels; give another crop.'
    )


def _edge(layer: Convolution | Pooling, size: int) -> tuple[int, int]:
    pad = layer.pad if isinstance(layer, Convolution) else 0
    return pad, pad + _windows(layer, size)[1]


def _output(layer: Layer, shape: Shape) -> Shape:
    if isinstance(layer, Dense):
        return (layer.units,)
    if isinstance(layer, Convolution | Pooling):
        if len(shape) != 3:
            raise UserError(
                f'{layer.name} needs maps of height and width, and what comes before it has the shape {shape}.'
            )
        height, width = (_windows(layer, size)[0] for size in shape[:2])
        return height, width, layer.maps if isinstance(layer, Convolution) else shape[2]
    return shape
