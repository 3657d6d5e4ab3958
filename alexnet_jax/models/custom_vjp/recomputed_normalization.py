"""Response normalization that saves nothing but its input, in few passes over memory where arithmetic is cheap.

The formula is that of response_normalization. The forward pass is one kernel that XLA fuses with what comes before. The
backward pass is two: the numbers that the window sums, and their sum with all the rest. They are kept in the input's
dtype, and the sums of squares are computed again rather than saved in float32. GPUs sum shifted slices; TPUs multiply
by a band of ones, which their compiler fuses with what comes before and after as it does no window.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.models.custom_vjp.response_normalization import inverse_power
from alexnet_jax.models.layers import promote_to_float32


def recomputed_normalization(
    x: jax.Array, *, k: float, n: int, alpha: float, beta: float, by_product: bool = False
) -> jax.Array:
    """Return layers.response_normalization with the same gradient; no forward mode, no second derivative.

    `by_product` sums windows by products with a band matrix, in which a NaN reaches all maps of its pixel.
    """
    return _normalize(x, k, n, alpha, beta, by_product)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _normalize(x: jax.Array, k: float, n: int, alpha: float, beta: float, by_product: bool) -> jax.Array:
    wide = x.astype(promote_to_float32(x.dtype))
    return (wide * inverse_power(k + alpha * _sum_squares(wide, n, x.dtype, by_product), beta)).astype(x.dtype)


def _sum_squares(wide: jax.Array, n: int, dtype: jnp.dtype, by_product: bool) -> jax.Array:
    """Sum the squares of n neighboring maps, which are numbers of `dtype`."""
    # On TPUs HIGH keeps 16 bits of a factor, which is all that the square of a number in bfloat16 has.
    precision = lax.Precision.HIGH if dtype == jnp.bfloat16 else lax.Precision.HIGHEST
    return _sum_window(wide * wide, n, precision=precision, by_product=by_product)


def _multiply_band(x: jax.Array, low: int, high: int, precision: lax.Precision) -> jax.Array:
    """Sum maps i - low to i + high for every map i, by a product with a matrix of ones and zeros."""
    maps = np.arange(x.shape[-1])
    distance = maps[:, None] - maps
    band = jnp.asarray((-low <= distance) & (distance <= high), x.dtype)
    return lax.dot_general(x, band, (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def _sum_window(
    x: jax.Array, n: int, *, precision: lax.Precision, by_product: bool, transpose: bool = False
) -> jax.Array:
    """Sum n neighboring maps, clipped at the ends; `transpose` for its transpose (the same for odd n)."""
    low, high = n // 2, (n - 1) // 2
    low, high = (high, low) if transpose else (low, high)
    if by_product:
        return _multiply_band(x, low, high, precision)
    wide = jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((low, high),))
    return sum(lax.slice_in_dim(wide, i, i + x.shape[-1], axis=-1) for i in range(n))  # type: ignore[return-value]


def _recomputed_forward(x, k, n, alpha, beta, by_product):
    return _normalize(x, k, n, alpha, beta, by_product), x


def _recomputed_backward(k, n, alpha, beta, by_product, x, g):
    dtype, wide_dtype = x.dtype, promote_to_float32(x.dtype)
    # Without the barriers XLA saves the sums of squares of the forward pass, and the summands in float32.
    x = lax.optimization_barrier(x).astype(wide_dtype)
    g = g.astype(wide_dtype)
    s = k + alpha * _sum_squares(x, n, dtype, by_product)
    power = inverse_power(s, beta)
    summands = lax.optimization_barrier((g * x * power / s).astype(dtype)).astype(wide_dtype)
    # At the default precision TPUs round factors to bfloat16, which is what these summands are in then.
    precision = lax.Precision.DEFAULT if dtype == jnp.bfloat16 else lax.Precision.HIGHEST
    total = _sum_window(summands, n, precision=precision, by_product=by_product, transpose=True)
    return ((g * power - (2 * alpha * beta) * x * total).astype(dtype),)


_normalize.defvjp(_recomputed_forward, _recomputed_backward)
