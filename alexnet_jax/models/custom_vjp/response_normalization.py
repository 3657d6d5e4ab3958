"""Response normalization with a hand-written gradient.

With s = k + alpha * sum of squares over the window, y = x s^-beta, and a window that is symmetric,
dx = g s^-beta - 2 alpha beta x * windowsum(g x s^(-beta-1)). Autodiff of the window sum costs XLA about ten passes over
the array; this needs two window sums of shifted slices, each fused with what surrounds it.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.models.layers import promote_to_float32


def response_normalization(x: jax.Array, *, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    """Return layers.response_normalization with the same gradient; no forward mode, no second derivative."""
    return _normalize(x, k, n, alpha, beta)


def _window_sum(x: jax.Array, n: int, *, transpose: bool = False) -> jax.Array:
    """Sum n neighboring maps, clipped at the ends; `transpose` for its transpose (the same for odd n)."""
    low, high = n // 2, (n - 1) // 2
    low, high = (high, low) if transpose else (low, high)
    # The barriers keep XLA from computing the squares again for each of the n slices.
    wide = lax.optimization_barrier(jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((low, high),)))
    return sum(lax.slice_in_dim(wide, i, i + x.shape[-1], axis=-1) for i in range(n))  # type: ignore[return-value]


def inverse_power(s: jax.Array, beta: float) -> jax.Array:
    """Return s ** -beta; the paper's 0.75 by two square roots, which CPUs do much faster than a power."""
    if beta == 0.75:
        root = lax.rsqrt(s)
        return root * jnp.sqrt(root)
    return s**-beta


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _normalize(x: jax.Array, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    return _normalize_forward(x, k, n, alpha, beta)[0]


def _normalize_forward(x, k, n, alpha, beta):
    x = lax.optimization_barrier(x)
    wide = x.astype(promote_to_float32(x.dtype))
    s = k + alpha * _window_sum(wide * wide, n)
    return lax.optimization_barrier((wide * inverse_power(s, beta)).astype(x.dtype)), (x, s)


def _normalize_backward(k, n, alpha, beta, residuals, g):
    x, s = residuals
    dtype, x, g = x.dtype, x.astype(s.dtype), g.astype(s.dtype)
    power = inverse_power(s, beta)
    back = g * power - (2 * alpha * beta) * x * _window_sum(g * x * power / s, n, transpose=True)
    return (back.astype(dtype),)


_normalize.defvjp(_normalize_forward, _normalize_backward)
