"""Layers in their plain formulation: the reference for value and gradient. One column at a time, no devices.

Arrays: B batch, H height, W width, C maps. Kernels are (height, width, in, out), dense ones (inputs, units). Where
numbers are bfloat16, biases are added and neighbors normalized and averaged in float32 all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Edges = tuple[tuple[int, int], tuple[int, int]]

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    'relu': jax.nn.relu,  # its slope at zero is 0, as everywhere else; that of jnp.maximum(x, 0) is a half
    'tanh': jnp.tanh,
    'abs_tanh': lambda x: jnp.abs(jnp.tanh(x)),  # Jarrett et al. 2009, which section 3.1 compares with
    'sigmoid': jax.nn.sigmoid,
}


def wider(dtype: jnp.dtype) -> jnp.dtype:
    """float32 for bfloat16, and every wider dtype itself."""
    return jnp.promote_types(dtype, jnp.float32)


def convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int, edges: Edges) -> jax.Array:
    """Cross-correlation, (B, H, W, C) to (B, H', W', out); `edges` are zeros around the input."""
    out = lax.conv_general_dilated(
        x, kernel, (stride, stride), edges, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return (out + bias.reshape(1, 1, 1, -1)).astype(x.dtype)


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, wide: bool = False) -> jax.Array:
    """(B, ...) to (B, units); the input is flattened in the order height, width, maps.

    `wide` leaves the sums of bfloat16 numbers in float32.
    """
    sums = jnp.matmul(
        x.reshape(x.shape[0], -1), kernel, preferred_element_type=wider(x.dtype) if wide else None
    )
    out = sums + bias.reshape(1, -1)
    return out if wide else out.astype(x.dtype)


def response_normalization(x: jax.Array, *, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    """x / (k + alpha * sum of x^2 over n neighboring maps) ** beta (paper, section 3.3); windows clipped at the ends.

    `alpha` is what multiplies the sum: who divides it by n does so before.
    """
    ends = ((0, 0),) * (x.ndim - 1) + ((n // 2, (n - 1) // 2),)
    wide = x.astype(wider(x.dtype))
    total = lax.reduce_window(
        wide * wide, np.zeros((), wide.dtype), lax.add, (1,) * (x.ndim - 1) + (n,), (1,) * x.ndim, ends
    )
    return (wide * (k + alpha * total) ** -beta).astype(x.dtype)


def max_pooling(x: jax.Array, *, window: int, stride: int, edges: Edges) -> jax.Array:
    """Largest number of each window, (B, H, W, C) to (B, H', W', C); past the edges there is nothing."""
    lowest = np.array(
        -np.inf, x.dtype
    )  # concrete even while tracing: jax differentiates the known reductions alone
    return lax.reduce_window(
        x, lowest, lax.max, (1, window, window, 1), (1, stride, stride, 1), ((0, 0), *edges, (0, 0))
    )


def average_pooling(x: jax.Array, *, window: int, stride: int, edges: Edges) -> jax.Array:
    """Mean number of each window, (B, H, W, C) to (B, H', W', C); what lies past the edges does not count."""

    def total(x: jax.Array) -> jax.Array:
        sizes, steps = (1, window, window, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, sizes, steps, ((0, 0), *edges, (0, 0)))

    wide = x.astype(wider(x.dtype))
    return (total(wide) / total(jnp.ones((1, *x.shape[1:3], 1), wide.dtype))).astype(x.dtype)


def dropout(x: jax.Array, mask: jax.Array | None, *, keep: float, inverted: bool) -> jax.Array:
    """In training (a mask of ones and zeros is given) x * mask; at test x * keep: the paper's scaling, section 4.2.

    Inverted: x * mask / keep in training and x at test, the same in expectation.
    """
    if mask is None:
        return x if inverted else x * keep
    kept = x * mask.astype(x.dtype)
    return kept / keep if inverted else kept
