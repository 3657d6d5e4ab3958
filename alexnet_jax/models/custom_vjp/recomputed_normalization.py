"""Response normalization that saves nothing but its input, in few passes over memory where arithmetic is cheap: GPUs.

The formula is that of response_normalization. The forward pass is one kernel that XLA fuses with what comes before. The
backward pass is two: the numbers that the window sums, and their sum with all the rest. They are kept in the input's
dtype, and the sums of squares are computed again rather than saved in float32.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.models.custom_vjp.response_normalization import inverse_power
from alexnet_jax.models.layers import promote_to_float32


def recomputed_normalization(x: jax.Array, *, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    """Return layers.response_normalization with the same gradient; no forward mode, no second derivative."""
    return _normalize(x, k, n, alpha, beta)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _normalize(x: jax.Array, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    wide = x.astype(promote_to_float32(x.dtype))
    return (wide * inverse_power(k + alpha * _sum_window(wide * wide, n), beta)).astype(x.dtype)


def _sum_window(x: jax.Array, n: int, *, transpose: bool = False) -> jax.Array:
    """Sum n neighboring maps, clipped at the ends; `transpose` for its transpose (the same for odd n)."""
    low, high = n // 2, (n - 1) // 2
    low, high = (high, low) if transpose else (low, high)
    wide = jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((low, high),))
    return sum(lax.slice_in_dim(wide, i, i + x.shape[-1], axis=-1) for i in range(n))  # type: ignore[return-value]


def _recomputed_forward(x, k, n, alpha, beta):
    return _normalize(x, k, n, alpha, beta), x


def _recomputed_backward(k, n, alpha, beta, x, g):
    dtype, wide_dtype = x.dtype, promote_to_float32(x.dtype)
    # Without the barriers XLA saves the sums of squares of the forward pass, and the summands in float32.
    x = lax.optimization_barrier(x).astype(wide_dtype)
    g = g.astype(wide_dtype)
    s = k + alpha * _sum_window(x * x, n)
    power = inverse_power(s, beta)
    summands = lax.optimization_barrier((g * x * power / s).astype(dtype)).astype(wide_dtype)
    return ((g * power - (2 * alpha * beta) * x * _sum_window(summands, n, transpose=True)).astype(dtype),)


_normalize.defvjp(_recomputed_forward, _recomputed_backward)
