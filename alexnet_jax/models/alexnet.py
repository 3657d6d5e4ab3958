"""The forward pass of an architecture, with logits and every named activation, and the parameters behind it.

One forward pass serves every use; under jit, activations that nobody reads are never computed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from alexnet_jax.distributed.sharding import COLUMN_AXIS
from alexnet_jax.models import custom_vjp, layers
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
from alexnet_jax.models.column_parallel import (
    Columns,
    all_gather_columns,
    concat_columns,
    shard_map_columns,
    split_columns,
)
from alexnet_jax.models.initializers import init_kernel_and_bias

DropoutMasks = Mapping[str, jax.Array]
# {layer: {'kernel', 'bias'}}, the column first in every array.
Parameters = dict[str, dict[str, jax.Array]]


class ColumnParams(nnx.Module):
    """Kernel (columns, ..., out) and bias (columns, out) of one layer, float32."""

    def __init__(self, kernel: jax.Array, bias: jax.Array):
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)


class AlexNet(nnx.Module):
    """The network of an `Architecture`, after Krizhevsky, Sutskever and Hinton (2012), section 3.

    `key` and the named `initialization` decide the first weights. `use_reference_ops` keeps to formulations that can be
    differentiated any number of times. `compute_dtype` is that of the whole computation ('bfloat16'), empty: that of
    the images; parameters stay float32, logits are at least that. `matmul_precision` is that of float32 products on
    GPUs and TPUs, which by default round the factors to 10 or 7 bits ('tensorfloat32', 'bfloat16'). `exchange_dtype` is
    what exchanging layers see rounded to, forward and backward ('float16'; empty: not rounded). Parameters are
    `layers[name].kernel` and `.bias`, with the column as first axis.
    """

    def __init__(
        self,
        arch: Architecture,
        *,
        key: jax.Array,
        initialization: str = 'paper',
        use_reference_ops: bool = False,
        compute_dtype: str = '',
        matmul_precision: str = 'float32',
        exchange_dtype: str = '',
    ):
        self.arch = arch
        self.use_reference_ops = use_reference_ops
        self.compute_dtype = compute_dtype
        self.matmul_precision = matmul_precision
        self.exchange_dtype = exchange_dtype
        self.layers = nnx.Dict(
            {
                name: ColumnParams(*init_kernel_and_bias(name, shape, arch.columns, key, initialization))
                for name, shape in arch.kernel_shapes().items()
            }
        )

    def __call__(
        self,
        images: jax.Array,
        masks: DropoutMasks | None = None,
        mesh: Mesh | None = None,
        *,
        use_onednn: bool = False,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return logits (batch, classes) and the named activations, each (batch, ...), all columns side by side.

        `images` is (batch, crop_size, crop_size, 3) with the mean subtracted. Column a comes first in every activation.
        `masks` (from `sample_dropout_masks`) makes this a training pass; None is the test pass. On a `mesh` the batch
        is split over the axis `data` and the columns over `column`; jax raises ValueError unless the size of `column`
        divides the number of columns and that of `data` the batch. `use_onednn` convolves by oneDNN on CPUs, where this
        jaxlib has it.
        """
        arch = self.arch
        if images.shape[1:] != (arch.crop_size, arch.crop_size, arch.channels):
            raise ValueError(
                f'{arch.name} expects images of shape (batch, {arch.crop_size}, {arch.crop_size}, {arch.channels}), '
                f'not {images.shape}.'
            )
        if self.compute_dtype:
            images = images.astype(self.compute_dtype)
        platform = mesh.devices.flat[0].platform if mesh is not None else jax.default_backend()
        ops = custom_vjp.select_ops(platform, self.use_reference_ops, use_onednn)
        if self.exchange_dtype:
            ops = {**ops, 'exchange': functools.partial(all_gather_columns, dtype=self.exchange_dtype)}
        body = functools.partial(_forward_columns, arch, ops, mesh is not None and mesh.shape[COLUMN_AXIS] > 1)
        # One device alone runs the body as it is: XLA would copy all gradients to reduce them over nobody.
        if mesh is not None and mesh.size > 1:
            ranks = {name: len(shape) + 1 for name, shape in arch.activation_shapes().items() if name != 'prob'}
            body = shard_map_columns(body, mesh, ranks)
        # On CPUs float32 is float32, and XLA need not look for more.
        precision = (
            contextlib.nullcontext() if platform == 'cpu' else jax.default_matmul_precision(self.matmul_precision)
        )
        with precision:
            activations = body(get_parameters(self), images, dict(masks or {}))
        last = arch.layers[-1].name
        # The last layer's features are padded to a multiple of the columns; the padding is dropped here.
        logits = activations[last] = activations[last][:, : arch.num_classes]
        activations['prob'] = jax.nn.softmax(logits)
        return logits, activations


def get_parameters(model: AlexNet) -> Parameters:
    """Return the model's parameters as plain arrays by layer."""
    return {name: {'kernel': layer.kernel[...], 'bias': layer.bias[...]} for name, layer in model.layers.items()}


def with_parameters(model: AlexNet, parameters: Parameters) -> AlexNet:
    """Return a copy of the model that holds other parameters."""
    graph, state = nnx.split(model)
    new = {
        name: {part: state['layers'][name][part].replace(array) for part, array in parts.items()}
        for name, parts in parameters.items()
    }
    return nnx.merge(graph, nnx.State({'layers': new}))


def sample_dropout_masks(arch: Architecture, key: jax.Array, batch_size: int) -> dict[str, jax.Array]:
    """Return a bool mask (columns, batch, ...) for each dropout layer, a function of `key` alone.

    Masks are drawn over the whole batch and all columns, outside the mesh, so that they are the same on any mesh.
    """
    masks, shapes = {}, arch.activation_shapes()
    for number, layer in enumerate(each for each in arch.layers if isinstance(each, Dropout)):
        *space, features = shapes[layer.name]
        shape = (arch.columns, batch_size, *space, features // arch.columns)
        masks[layer.name] = jax.random.bernoulli(jax.random.fold_in(key, number), layer.keep_prob, shape)
    return masks


def _forward_columns(
    arch: Architecture,
    ops: custom_vjp.Ops,
    columns_sharded: bool,
    parameters: Parameters,
    images: jax.Array,
    masks: DropoutMasks,
) -> dict[str, jax.Array]:
    """Run one device's columns and return every activation, its columns side by side."""
    with jax.named_scope('weights'):
        parameters = {
            name: {
                'kernel': each['kernel'].astype(images.dtype),
                'bias': each['bias'].astype(layers.promote_to_float32(images.dtype)),
            }
            for name, each in parameters.items()
        }
    x: Columns = (images,)
    activations = {}
    for layer in arch.layers:
        own = parameters.get(layer.name, {})
        # Compiled programs and profiles tell by it which layer an operation belongs to.
        with jax.named_scope(layer.name):
            x = apply_layer(layer, arch, ops, x, own, masks.get(layer.name), columns_sharded=columns_sharded)
            activations[layer.name] = concat_columns(x)
    return activations


def apply_layer(
    layer: Layer,
    arch: Architecture,
    ops: custom_vjp.Ops,
    x: Columns,
    parameters: Mapping[str, jax.Array],
    mask: jax.Array | None,
    *,
    columns_sharded: bool = False,
) -> Columns:
    """Apply one layer to one device's columns, an array for each; conv1's input is the image alone.

    `parameters` are the layer's own, by column, empty for a layer without; `mask` is that of a dropout layer in
    training. `columns_sharded` says that other columns are on other devices.
    """
    op: Callable[[jax.Array], jax.Array]
    match layer:
        case Convolution():
            return _apply_conv(layer, arch, ops, x, **parameters, columns_sharded=columns_sharded)
        case Dense():
            return _apply_dense(
                layer, ops, x, **parameters, columns_sharded=columns_sharded, is_last=layer is arch.layers[-1]
            )
        case Dropout():
            masks = (None,) * len(x) if mask is None else mask
            return tuple(
                layers.dropout(x[c], masks[c], keep_prob=layer.keep_prob, inverted=layer.inverted)
                for c in range(len(x))
            )
        case Activation():
            op = ops.get(layer.function, layers.ACTIVATIONS[layer.function])
        case Pooling():
            op = functools.partial(
                ops[f'{layer.kind}_pooling'], window=layer.window, stride=layer.stride, padding=arch.padding(layer)
            )
        case ResponseNormalization():
            alpha = layer.alpha / layer.n if layer.alpha_over_n else layer.alpha
            op = functools.partial(ops['response_normalization'], k=layer.k, n=layer.n, alpha=alpha, beta=layer.beta)
        case SpatialResponseNormalization():
            op = functools.partial(
                ops['spatial_response_normalization'],
                k=layer.k,
                n=layer.n,
                alpha=layer.alpha / layer.n**2,
                beta=layer.beta,
            )
    return tuple(op(column) for column in x)


def _apply_dense(
    layer: Dense,
    ops: custom_vjp.Ops,
    x: Columns,
    kernel: jax.Array,
    bias: jax.Array,
    columns_sharded: bool,
    is_last: bool,
) -> Columns:
    """Apply a dense layer to all columns of this device at once, their inputs flattened as height, width, maps."""
    if layer.input_from == 'all':
        seen = ops.get('exchange', all_gather_columns)(x, columns_sharded=columns_sharded)
        batch = seen.shape[0]
        inputs = jnp.broadcast_to(seen.reshape(1, batch, -1), (len(kernel), batch, kernel.shape[1]))
    else:
        inputs = jnp.stack([column.reshape(column.shape[0], -1) for column in x])
    return tuple(ops['dense'](inputs, kernel, bias, keep_float32=is_last))


def _apply_conv(
    layer: Convolution,
    arch: Architecture,
    ops: custom_vjp.Ops,
    x: Columns,
    kernel: jax.Array,
    bias: jax.Array,
    columns_sharded: bool,
) -> Columns:
    """Apply one convolution per column and group; a single one if all columns of this device see the same input."""
    columns = range(len(kernel))
    conv = functools.partial(ops['conv'], stride=layer.stride, padding=arch.padding(layer))
    if layer.input_from == 'own':
        return tuple(_grouped_conv(conv, x[c], kernel[c], bias[c], layer.groups) for c in columns)
    seen = (
        ops.get('exchange', all_gather_columns)(x, columns_sharded=columns_sharded)
        if layer.input_from == 'all'
        else x[0]
    )
    if layer.groups > 1:
        return tuple(_grouped_conv(conv, seen, kernel[c], bias[c], layer.groups) for c in columns)
    joined = concat_columns(tuple(kernel[c] for c in columns))
    return split_columns(conv(seen, joined, bias.reshape(-1)), len(kernel))


def _grouped_conv(
    conv: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array, bias: jax.Array, groups: int
) -> jax.Array:
    """Convolve the groups separately: a grouped convolution costs XLA several times as much on CPU."""
    if groups == 1:
        return conv(x, kernel, bias)
    parts = (jnp.split(array, groups, axis=-1) for array in (x, kernel, bias))
    return jnp.concatenate([conv(*part) for part in zip(*parts, strict=True)], axis=-1)
