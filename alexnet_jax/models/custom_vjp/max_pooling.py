"""Max pooling with a hand-written gradient.

The forward pass remembers which number of its window won (one byte), the first among equals as in XLA's own gradient.
The backward pass gathers for every input the windows that it won: without scatter or atomics, so it is deterministic
wherever it runs. On CPUs it first spreads winners and gradients apart by the stride, once each; on GPUs it looks at the
few windows that hold an input, so that XLA can compute it inside whatever reads it.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.models.layers import Padding


def max_pooling(x: jax.Array, *, window: int, stride: int, padding: Padding, spread: bool = True) -> jax.Array:
    """Return layers.max_pooling with the same gradient; no forward mode, no second derivative.

    `spread` writes winners and gradients spread apart to memory on the way back.
    """
    return _pool(x, window, stride, padding, spread)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _pool(x: jax.Array, window: int, stride: int, padding: Padding, spread: bool) -> jax.Array:
    return _pool_forward(x, window, stride, padding, spread)[0]


def _output_size(size: int, pads: tuple[int, int], window: int, stride: int) -> int:
    return (size + sum(pads) - window) // stride + 1


def _pool_forward(x, window, stride, padding, spread):
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
    if not spread:
        # Else XLA pools again, from the larger array, where columns are put side by side.
        best, winner = lax.optimization_barrier((best, winner))
    return best, (winner, x.shape[1:3])


def _pool_backward(window, stride, padding, spread, residuals, g):
    winner, sizes = residuals
    if not spread:
        return (_gather_from_windows(winner, g, sizes, window, stride, padding),)
    apart = [(0, 0, 0)]
    for size, (low, _), outputs in zip(sizes, padding, winner.shape[1:3], strict=True):
        # Input y is number i of window (y + low - i) / stride: shifted by window - 1 so that no index is negative.
        apart.append((window - 1, size + low - (outputs - 1) * stride - 1, stride - 1))
    apart.append((0, 0, 0))
    g = lax.pad(g, jnp.zeros((), g.dtype), apart)
    winner = lax.pad(winner, jnp.array(-1, jnp.int8), apart)
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


def _gather_from_windows(winner, g, sizes, window, stride, padding):
    """Return the gradient of the input: for each of its numbers, the sum over the windows that it won.

    Rows and columns are taken in blocks of `stride`; number i of a block lies in the window of that block and, as
    number i + stride, in that of the block before, as far as windows reach.
    """
    reach = math.ceil(window / stride)
    blocks = [math.ceil((size + low) / stride) for size, (low, _) in zip(sizes, padding, strict=True)]
    around = [
        (0, 0, 0),
        *((reach - 1, count - outputs, 0) for count, outputs in zip(blocks, winner.shape[1:3], strict=True)),
        (0, 0, 0),
    ]
    g = lax.pad(g, jnp.zeros((), g.dtype), around)
    winner = lax.pad(winner, jnp.array(-1, jnp.int8), around)
    total = None
    for back in itertools.product(range(reach), repeat=2):
        row, column = (np.arange(stride) + each * stride for each in back)
        inside = (row < window)[:, None] & (column < window)
        number = np.where(inside, row[:, None] * window + column, -2).astype(np.int8)
        top, left = (reach - 1 - each for each in back)
        here = (slice(None), slice(top, top + blocks[0]), None, slice(left, left + blocks[1]), None)
        share = jnp.where(winner[here] == number[None, None, :, None, :, None], g[here], jnp.zeros((), g.dtype))
        total = share if total is None else total + share
    whole = total.reshape(g.shape[0], blocks[0] * stride, blocks[1] * stride, g.shape[3])
    (low, _), (before, _) = padding
    return whole[:, low : low + sizes[0], before : before + sizes[1]]


_pool.defvjp(_pool_forward, _pool_backward)
