"""Convolutions by oneDNN, which jaxlib's CPU wheels carry and XLA:CPU does not use of itself.

XLA:CPU writes out patches and multiplies them. The custom call `__onednn$convolution`, which no pass of XLA emits any
more and its runtime still executes, convolves without patches. It is no promise of XLA's, and a configuration that
another version reads otherwise ends the process; so it is used with the versions of jaxlib in TRIED_JAXLIBS alone, for
float32 on x86-64. The kernel's gradient stays XLA's: the runtime has no call for it.
"""

from __future__ import annotations

import functools
import json
import platform

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax

from alexnet_jax.models import layers
from alexnet_jax.models.layers import Padding
from alexnet_jax.runtime.xla_options import stop_cache_writes

TARGET = '__onednn$convolution'
# What Python 3.11, and what 3.12 and later got in November 2026.
TRIED_JAXLIBS = frozenset({'0.10.2', '0.12.0.1'})


@functools.cache
def is_supported() -> bool:
    """Return whether this jaxlib's oneDNN may be called."""
    return jaxlib.__version__ in TRIED_JAXLIBS and platform.machine() == 'x86_64'


def conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int, padding: Padding) -> jax.Array:
    """Return layers.conv with the same gradient; no forward mode, no second derivative.

    From then on this process writes no program to jax's cache on disk, since this one cannot be written.
    """
    if not is_supported() or x.dtype != jnp.float32:
        return layers.conv(x, kernel, bias, stride=stride, padding=padding)
    stop_cache_writes()
    return _conv(x, kernel, bias.reshape(-1), stride, tuple((low, high) for low, high in padding))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, padding: Padding) -> jax.Array:
    return _call_onednn(x, kernel, bias, stride=stride, padding=padding)


def _conv_forward(x, kernel, bias, stride, padding):
    return _conv(x, kernel, bias, stride, padding), (x, kernel, bias)


def _conv_backward(stride, padding, residuals, g):
    x, kernel, bias = residuals

    def xla_conv(x, kernel):
        zeros = jnp.zeros(kernel.shape[-1], x.dtype)
        return layers.conv(x, kernel, zeros, stride=stride, padding=padding)

    (kernel_gradient,) = jax.vjp(lambda kernel: xla_conv(x, kernel), kernel)[1](g)
    if stride == 1:
        # The input's gradient is the convolution of g with the kernel turned by 180 degrees.
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        around = tuple(
            (size - 1 - low, size - 1 - high) for size, (low, high) in zip(kernel.shape[:2], padding, strict=True)
        )
        input_gradient = _call_onednn(g, turned, stride=1, padding=around)
    else:
        (input_gradient,) = jax.vjp(lambda x: xla_conv(x, kernel), x)[1](g)
    gradients = input_gradient, kernel_gradient, jnp.sum(g, (0, 1, 2))
    return tuple(_sum_over_devices(each, primal) for each, primal in zip(gradients, (x, kernel, bias), strict=True))


_conv.defvjp(_conv_forward, _conv_backward)


def _call_onednn(x: jax.Array, kernel: jax.Array, *bias: jax.Array, stride: int, padding: Padding) -> jax.Array:
    sizes = (
        (size + sum(pads) - window) // stride + 1
        for size, pads, window in zip(x.shape[1:3], padding, kernel.shape[:2], strict=True)
    )
    out = jax.ShapeDtypeStruct((x.shape[0], *sizes, kernel.shape[3]), x.dtype)
    config = _call_config(stride, padding, with_bias=bool(bias))
    call = jax.ffi.ffi_call(TARGET, out, custom_call_api_version=1, legacy_backend_config=config)
    result = call(x, kernel, *bias)
    # Inside a shard_map, ffi_call does not say over which axes of the mesh its result varies: over its operands'.
    axes = frozenset().union(*map(_varying_axes, (x, kernel, *bias))) - _varying_axes(result)
    return lax.pcast(result, tuple(sorted(axes)), to='varying') if axes else result


def _call_config(stride: int, padding: Padding, *, with_bias: bool) -> str:
    """Return XLA's OneDnnConvolutionConfig (xla/backends/cpu/onednn_config.proto) as JSON: NHWC by HWIO."""
    image = {'dims': '4', 'data': {'batch_dim': '0', 'feature_dim': '3', 'spatial_dims': ['1', '2']}}
    filters = {'dims': '4', 'filter': {'input_feature_dim': '2', 'output_feature_dim': '3', 'spatial_dims': ['0', '1']}}
    window = {
        'pad_left': [str(low) for low, _ in padding],
        'pad_right': [str(high) for _, high in padding],
        'strides': [str(stride)] * 2,
        'window_dilations': ['1', '1'],
    }
    config = {'dims': '4', 'input': image, 'kernel': filters, 'output': image, 'window': window, 'feature_groups': '1'}
    fusions = {'ops': ['BIAS'] if with_bias else []}
    return json.dumps({'onednn_conv_config': {**config, 'fusions': fusions}})


def _varying_axes(x: jax.Array) -> frozenset[str]:
    """Return the axes of the mesh over which an array inside a shard_map differs between devices."""
    return frozenset(jax.typeof(x).manual_axis_type.varying)


def _sum_over_devices(gradient: jax.Array, primal: jax.Array) -> jax.Array:
    """Return the gradient of what devices share, summed over the axes of the mesh along which they share it."""
    axes = _varying_axes(gradient) - _varying_axes(primal)
    return lax.psum(gradient, tuple(sorted(axes))) if axes else gradient
