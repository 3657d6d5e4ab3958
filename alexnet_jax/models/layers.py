"""Layers in their reference formulation, for value and gradient. One column at a time, no devices.

Arrays: B batch, H height, W width, C maps. Kernels are (height, width, in, out); dense layers take all columns at once,
(column, in, out). With bfloat16 inputs, biases are still added, and neighbors normalized and averaged, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Rows and columns (before, after) the input.
Padding = tuple[tuple[int, int], tuple[int, int]]

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    # Its slope at zero is 0, as in other frameworks; that of jnp.maximum(x, 0) is a half.
    'relu': jax.nn.relu,
    'tanh': jnp.tanh,
    # Jarrett et al. 2009, which section 3.1 compares with.
    'abs_tanh': lambda x: jnp.abs(jnp.tanh(x)),
    'sigmoid': jax.nn.sigmoid,
}


def promote_to_float32(dtype: jnp.dtype) -> jnp.dtype:
    """Return float32 for bfloat16, and every wider dtype itself."""
    return jnp.promote_types(dtype, jnp.float32)


def conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int, padding: Padding) -> jax.Array:
    """Cross-correlate (B, H, W, C) with the kernel to (B, H', W', out); `padding` counts zeros."""
    out = lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return (out + bias.reshape(1, 1, 1, -1)).astype(x.dtype)


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, keep_float32: bool = False) -> jax.Array:
    """Map every column's input: x (C, B, in), kernel (C, in, out), bias (C, out) to (C, B, out).

    `keep_float32` returns the sums of bfloat16 products in float32.
    """
    dtype = promote_to_float32(x.dtype) if keep_float32 else x.dtype
    return (column_products(x, kernel, dtype) + bias[:, None, :]).astype(dtype)


def column_products(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return the products x[c] @ kernel[c] of all columns, (C, B, in) by (C, in, out), summed in `dtype`.

    As one product with a batch axis: no column's part is copied out of the kernel, and no part of its gradient padded.
    """
    return lax.dot_general(x, kernel, (((2,), (1,)), ((0,), (0,))), preferred_element_type=dtype)


def response_normalization(x: jax.Array, *, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    """Return x / (k + alpha * sum of x^2 over n neighboring maps) ** beta (paper, section 3.3).

    Windows are clipped at the first and last map. `alpha` multiplies the sum; a caller that divides it by n does so
    before.
    """
    padding = ((0, 0),) * (x.ndim - 1) + ((n // 2, (n - 1) // 2),)
    wide = x.astype(promote_to_float32(x.dtype))
    total = lax.reduce_window(
        wide * wide, np.zeros((), wide.dtype), lax.add, (1,) * (x.ndim - 1) + (n,), (1,) * x.ndim, padding
    )
    return (wide * (k + alpha * total) ** -beta).astype(x.dtype)


def spatial_response_normalization(x: jax.Array, *, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    """Return x / (k + alpha * sum of x^2 over n x n pixels of the same map) ** beta (2012 source, type rnorm).

    Windows are clipped at the edges. A caller that divides alpha by n^2, as the source does, does so before.
    """
    around = (n // 2, (n - 1) // 2)
    wide = x.astype(promote_to_float32(x.dtype))
    total = lax.reduce_window(
        wide * wide, np.zeros((), wide.dtype), lax.add, (1, n, n, 1), (1,) * 4, ((0, 0), around, around, (0, 0))
    )
    return (wide * (k + alpha * total) ** -beta).astype(x.dtype)


def max_pooling(x: jax.Array, *, window: int, stride: int, padding: Padding) -> jax.Array:
    """Return the largest number of each window, (B, H, W, C) to (B, H', W', C); padding never wins."""
    # Concrete even while tracing: jax differentiates the known reductions alone.
    lowest = np.array(-np.inf, x.dtype)
    return lax.reduce_window(
        x, lowest, lax.max, (1, window, window, 1), (1, stride, stride, 1), ((0, 0), *padding, (0, 0))
    )


def average_pooling(x: jax.Array, *, window: int, stride: int, padding: Padding) -> jax.Array:
    """Return the mean of each window, (B, H, W, C) to (B, H', W', C); padding does not count."""

    def total(x: jax.Array) -> jax.Array:
        sizes, steps = (1, window, window, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, sizes, steps, ((0, 0), *padding, (0, 0)))

    wide = x.astype(promote_to_float32(x.dtype))
    return (total(wide) / total(jnp.ones((1, *x.shape[1:3], 1), wide.dtype))).astype(x.dtype)


def dropout(x: jax.Array, mask: jax.Array | None, *, keep_prob: float, inverted: bool) -> jax.Array:
    """Return x * mask in training (`mask` holds ones and zeros), x * keep_prob at test (None): paper, section 4.2.

    Inverted dropout returns x * mask / keep_prob in training and x at test, the same in expectation.
    """
    if mask is None:
        return x if inverted else x * keep_prob
    kept = x * mask.astype(x.dtype)
    return kept / keep_prob if inverted else kept
