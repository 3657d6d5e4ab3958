"""Dense layers with a gradient whose products come in an order and a layout that spare copies of the kernels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.models.layers import column_products, promote_to_float32


def dense(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, keep_float32: bool = False, input_first: bool = True
) -> jax.Array:
    """Return layers.dense with the same gradient; no forward mode, no second derivative.

    `input_first` computes the input's gradient before the kernel's.
    """
    dtype = promote_to_float32(x.dtype) if keep_float32 else x.dtype
    # Read here, as the gradient is traced outside of the caller's jax.default_matmul_precision.
    precision = jax.config.jax_default_matmul_precision
    return (_products(x, kernel, dtype, input_first, precision) + bias[:, None, :]).astype(dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _products(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype, input_first: bool, precision: str | None) -> jax.Array:
    return column_products(x, kernel, dtype)


def _dense_forward(x, kernel, dtype, input_first, precision):
    return _products(x, kernel, dtype, input_first, precision), (x, kernel)


def _dense_backward(dtype, input_first, precision, residuals, g):
    x, kernel = residuals
    g = g.astype(x.dtype)
    input_gradient = lax.dot_general(g, kernel, (((2,), (2,)), ((0,), (0,))), precision=precision)
    if input_first:
        x = _after(input_gradient, x)
    # In the kernel's own layout, (in, out): the transpose that jax would write has TPUs copy kernels and velocities to
    # the other layout for the update, and back.
    rows = x.swapaxes(1, 2)
    return input_gradient, lax.dot_general(rows, g, (((2,), (1,)), ((0,), (0,))), precision=precision)


def _after(input_gradient, x):
    """Return x as an array that XLA computes after the input's gradient."""
    # The input's gradient reads the kernel, the update writes over it. XLA may compute the two gradients in any order;
    # if the kernel's comes first, it copies every kernel before the update. So the kernel's depends on the input's: by
    # a factor of one, or NaN where that is NaN. (An optimization_barrier does not order them: it is gone before XLA:CPU
    # schedules, and the copies stay.)
    first = input_gradient[0, 0, 0]
    return x * jnp.where(first == first, jnp.ones((), x.dtype), first)


_products.defvjp(_dense_forward, _dense_backward)
