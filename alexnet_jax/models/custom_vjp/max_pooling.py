"""Max pooling with a hand-written gradient.

The forward pass remembers which number of its window won (one byte), the first among equals as in XLA's own gradient.
The backward pass spreads winners and gradients apart by the stride, once each, and then gathers for every input the
windows that it won: one fused pass without scatter or atomics, so it is deterministic wherever it runs.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.models.layers import Padding


def max_pooling(x: jax.Array, *, window: int, stride: int, padding: Padding, spread_once: bool = True) -> jax.Array:
    """Return layers.max_pooling with the same gradient; no forward mode, no second derivative.

    `spread_once` writes winners and gradients spread apart to memory, instead of spreading them whenever they are read.
    """
    return _pool(x, window, stride, padding, spread_once)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _pool(x: jax.Array, window: int, stride: int, padding: Padding, spread_once: bool) -> jax.Array:
    return _pool_forward(x, window, stride, padding, spread_once)[0]


def _output_size(size: int, pads: tuple[int, int], window: int, stride: int) -> int:
    return (size + sum(pads) - window) // stride + 1


def _pool_forward(x, window, stride, padding, spread_once):
    del spread_once
    lowest = jnp.array(-jnp.inf, x.dtype)
    padded = lax.pad(x, lowest, ((0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)))
    height, width = (_output_size(size, pads, window, stride) for size, pads in zip(x.shape[1:3], padding, strict=True))
    best, winner = None, None
    for offset in range(window * window):
        top, left = divmod(offset, window)
        end = (x.shape[0], top + (height - 1) * stride + 1, left + (width - 1) * stride + 1, x.shape[3])
        candidate = lax.slice(padded, (0, top, left, 0), end, (1, stride, stride, 1))
        if best is None:
            best, winner = candidate, jnp.zeros_like(candidate, jnp.int8)
        else:
            winner = jnp.where(candidate > best, jnp.int8(offset), winner)
            # A NaN stays one, as in the reference.
            best = lax.max(best, candidate)
    return best, (winner, x.shape[1:3])


def _pool_backward(window, stride, padding, spread_once, residuals, g):
    winner, sizes = residuals
    spread = [(0, 0, 0)]
    for size, (low, _), outputs in zip(sizes, padding, winner.shape[1:3], strict=True):
        # Input y is number i of window (y + low - i) / stride: shifted by window - 1 so that no index is negative.
        spread.append((window - 1, size + low - (outputs - 1) * stride - 1, stride - 1))
    spread.append((0, 0, 0))
    g = lax.pad(g, jnp.zeros((), g.dtype), spread)
    winner = lax.pad(winner, jnp.array(-1, jnp.int8), spread)
    if spread_once:
        # The barriers make XLA for CPUs write each spread array once instead of nine times.
        g, winner = lax.optimization_barrier(g), lax.optimization_barrier(winner)
    total = None
    for offset in range(window * window):
        top, left = (window - 1 - start + low for start, (low, _) in zip(divmod(offset, window), padding, strict=True))
        begin, end = (0, top, left, 0), (g.shape[0], top + sizes[0], left + sizes[1], g.shape[3])
        won = lax.slice(winner, begin, end) == offset
        share = jnp.where(won, lax.slice(g, begin, end), jnp.zeros((), g.dtype))
        total = share if total is None else total + share
    return (total,)


_pool.defvjp(_pool_forward, _pool_backward)
