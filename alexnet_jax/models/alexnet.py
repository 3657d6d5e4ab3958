"""AlexNet: walks an architecture and returns the logits and every named point. No files, no config.

One forward pass for every use; under jit what nobody asks for is never computed. Where columns meet is `exchange`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from alexnet_jax.models import column_parallel, custom_vjp, layers
from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    ResponseNormalization,
)
from alexnet_jax.models.initializers import kernel_and_bias

Masks = Mapping[str, jax.Array]
Parameters = dict[str, dict[str, jax.Array]]  # {layer: {'kernel', 'bias'}}, the column first in every array


class Weighted(nnx.Module):
    """Kernel (columns, ..., out) and bias (columns, out) of one layer, float32."""

    def __init__(self, kernel: jax.Array, bias: jax.Array):
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)


class AlexNet(nnx.Module):
    """The network of an `Architecture`, after Krizhevsky, Sutskever and Hinton (2012), section 3.

    `key` decides the first weights by the named `initialization`; `plain=True` keeps to formulations that any order of
    differentiation goes through. `compute` names the dtype of the whole computation ('bfloat16'), empty: that of the
    images; parameters stay float32, logits are at least that. `precision` is that of float32 products on GPUs and
    TPUs, whose own way is to round the factors to 10 or 7 bits ('tensorfloat32', 'bfloat16'). Parameters lie in
    `layers[name].kernel` and `.bias`, with the column as first axis.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        key: jax.Array,
        initialization: str = 'paper',
        plain: bool = False,
        compute: str = '',
        precision: str = 'float32',
    ):
        self.architecture = architecture
        self.plain = plain
        self.compute = compute
        self.precision = precision
        self.layers = nnx.Dict(
            {
                name: Weighted(*kernel_and_bias(name, shape, architecture.columns, key, initialization))
                for name, shape in architecture.kernel_shapes().items()
            }
        )

    def __call__(
        self, images: jax.Array, masks: Masks | None = None, mesh: Mesh | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Logits (batch, classes) and the named points, each (batch, ...) with all columns' maps side by side.

        `images` is (batch, crop, crop, 3), the mean already subtracted. Column a comes first in every point.
        `masks` (from `dropout_masks`) makes this a training pass; None is the test pass. On a `mesh` with the axes
        `data` and `column` the batch is split over the one and the columns over the other; the size of `column`
        divides the number of columns, that of `data` the batch, else jax raises ValueError.
        """
        crop = self.architecture.crop
        if images.shape[1:] != (crop, crop, self.architecture.channels):
            raise ValueError(
                f'{self.architecture.name} takes images of shape (batch, {crop}, {crop}, '
                f'{self.architecture.channels}), and {images.shape} came.'
            )
        if self.compute:
            images = images.astype(self.compute)
        platform = mesh.devices.flat[0].platform if mesh is not None else jax.default_backend()
        body = functools.partial(
            walk,
            self.architecture,
            custom_vjp.chosen(platform, self.plain),
            mesh is not None and mesh.shape['column'] > 1,
        )
        parameters = parameters_of(self)
        if mesh is not None:
            ranks = {
                name: len(shape) + 1 for name, shape in self.architecture.points().items() if name != 'prob'
            }
            body = column_parallel.over_mesh(body, mesh, ranks)
        # On CPUs float32 is float32, and XLA need not look for more.
        precise = (
            contextlib.nullcontext() if platform == 'cpu' else jax.default_matmul_precision(self.precision)
        )
        with precise:
            points = body(parameters, images, dict(masks or {}))
        last = self.architecture.layers[-1].name
        # Classes that do not share evenly among the columns were padded with units that are dropped here.
        logits = points[last] = points[last][:, : self.architecture.classes]
        points['prob'] = jax.nn.softmax(logits)
        return logits, points


def parameters_of(network: AlexNet) -> Parameters:
    """The network's parameters as plain arrays by layer."""
    return {
        name: {'kernel': each.kernel[...], 'bias': each.bias[...]} for name, each in network.layers.items()
    }


def with_parameters(network: AlexNet, parameters: Parameters) -> AlexNet:
    """A network of the same architecture that holds other parameters; the one given stays as it is."""
    graph, held = nnx.split(network)
    layers = {
        name: {part: held['layers'][name][part].replace(array) for part, array in parts.items()}
        for name, parts in parameters.items()
    }
    return nnx.merge(graph, nnx.State({'layers': layers}))


def dropout_masks(architecture: Architecture, key: jax.Array, batch: int) -> dict[str, jax.Array]:
    """Masks of ones and zeros, (columns, batch, ...) bool for each dropout layer, from `key` alone.

    Drawn over the whole batch and all columns, outside the mesh, so that they are the same on any mesh.
    """
    masks, points = {}, architecture.points()
    for number, layer in enumerate(each for each in architecture.layers if isinstance(each, Dropout)):
        *space, maps = points[layer.name]
        shape = (architecture.columns, batch, *space, maps // architecture.columns)
        masks[layer.name] = jax.random.bernoulli(jax.random.fold_in(key, number), layer.keep, shape)
    return masks


def walk(
    architecture: Architecture,
    formulations: custom_vjp.Kernels,
    on_mesh: bool,
    parameters: Parameters,
    images: jax.Array,
    masks: Masks,
) -> dict[str, jax.Array]:
    """One device's forward pass over its own columns: every point, its columns side by side."""
    parameters = {
        name: {
            'kernel': each['kernel'].astype(images.dtype),
            'bias': each['bias'].astype(layers.wider(images.dtype)),
        }
        for name, each in parameters.items()
    }
    x: column_parallel.Columns = (images,)
    points = {}
    for layer in architecture.layers:
        own = parameters.get(layer.name, {})
        x = through(layer, architecture, formulations, on_mesh, x, own, masks.get(layer.name))
        points[layer.name] = column_parallel.beside(x)
    return points


def through(
    layer: Layer,
    architecture: Architecture,
    formulations: custom_vjp.Kernels,
    on_mesh: bool,
    x: column_parallel.Columns,
    parameters: Mapping[str, jax.Array],
    mask: jax.Array | None,
) -> column_parallel.Columns:
    """One layer over one device's columns, an array for each; conv1 is given the image alone.

    `parameters` are the layer's own, by column, empty where it has none; `mask` is that of a dropout layer in training.
    """
    if isinstance(layer, Convolution):
        return _convolve(layer, architecture, x, **parameters, on_mesh=on_mesh)
    if isinstance(layer, Dense):
        kernel, bias = parameters['kernel'], parameters['bias']
        mine, last = len(kernel), layer is architecture.layers[-1]
        seen = (column_parallel.between_columns(x, on_mesh=on_mesh),) * mine if layer.sees == 'all' else x
        return tuple(layers.dense(seen[c], kernel[c], bias[c], wide=last) for c in range(mine))
    if isinstance(layer, Dropout):
        each = (None,) * len(x) if mask is None else mask
        return tuple(
            layers.dropout(x[c], each[c], keep=layer.keep, inverted=layer.inverted) for c in range(len(x))
        )
    return tuple(_alone(layer, architecture, formulations, column) for column in x)


def _alone(
    layer: Activation | ResponseNormalization | Pooling,
    architecture: Architecture,
    formulations: custom_vjp.Kernels,
    x: jax.Array,
) -> jax.Array:
    """A layer without weights, which never looks beyond its own column."""
    if isinstance(layer, Activation):
        return layers.ACTIVATIONS[layer.function](x)
    if isinstance(layer, Pooling):
        return formulations[f'{layer.kind}_pooling'](
            x, window=layer.window, stride=layer.stride, edges=architecture.edges(layer)
        )
    alpha = layer.alpha / layer.n if layer.divided else layer.alpha
    return formulations['response_normalization'](x, k=layer.k, n=layer.n, alpha=alpha, beta=layer.beta)


def _convolve(
    layer: Convolution,
    architecture: Architecture,
    x: column_parallel.Columns,
    kernel: jax.Array,
    bias: jax.Array,
    on_mesh: bool,
) -> column_parallel.Columns:
    """One convolution for each column and group; a single one where all columns of this device see the same input."""
    mine = len(kernel)
    convolve = functools.partial(layers.convolution, stride=layer.stride, edges=architecture.edges(layer))
    if layer.sees == 'own':
        return tuple(_grouped(convolve, x[c], kernel[c], bias[c], layer.groups) for c in range(mine))
    seen = column_parallel.between_columns(x, on_mesh=on_mesh) if layer.sees == 'all' else x[0]
    if layer.groups > 1:
        return tuple(_grouped(convolve, seen, kernel[c], bias[c], layer.groups) for c in range(mine))
    wide = jnp.concatenate(tuple(kernel[c] for c in range(mine)), axis=-1) if mine > 1 else kernel[0]
    return column_parallel.apart(convolve(seen, wide, bias.reshape(-1)), mine)


def _grouped(convolve, x: jax.Array, kernel: jax.Array, bias: jax.Array, groups: int) -> jax.Array:
    """Separate convolutions of the groups: a grouped one costs XLA several times as much on CPU."""
    if groups == 1:
        return convolve(x, kernel, bias)
    parts = (jnp.split(each, groups, axis=-1) for each in (x, kernel, bias))
    return jnp.concatenate([convolve(*part) for part in zip(*parts, strict=True)], axis=-1)
