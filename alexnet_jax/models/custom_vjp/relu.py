"""ReLU whose gradient reads its result, which the next layer reads anyway, instead of its input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """Return jax.nn.relu with the same gradient; no forward mode, no second derivative."""
    return jnp.maximum(x, 0)


def _relu_backward(y, g):
    # Without the barrier XLA computes the result again, from the input that nobody else would read.
    return (jnp.where(lax.optimization_barrier(y) > 0, g, jnp.zeros((), g.dtype)),)


relu.defvjp(lambda x: (relu(x),) * 2, _relu_backward)
