"""A trial that is not in the network: convolutions of 3x3 and stride 1 by Winograd's F(2x2, 3x3).

16 products where plainly there are 36 (Lavin and Gray 2015). formulations.py measures what that is worth in the whole
step; it was left out because it gains less than a tenth (2026-11-21-formulations.md).

Tiles of 4x4 inputs, overlapping by two, become tiles of 2x2 outputs: inputs and kernel are transformed, multiplied
place by place, which is one matrix product over the maps for each of the 16 places, and the products transformed back.
The gradient to the input is the same operation with the kernel turned; that to the kernel is the plain one, which was
as fast as one taken between the transforms.

B batch, H height and W width in tiles, C maps in, K maps out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.models.layers import Padding
from alexnet_jax.models.layers import conv as plainly

# One dimension: outputs = OUTPUT @ ((KERNEL @ kernel) * (INPUT @ inputs))
INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
Tiles = Sequence[Sequence[jax.Array]]  # the places of a tile, each an array over all tiles


def convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int, padding: Padding) -> jax.Array:
    """Equal to layers.convolution in value and gradient, to float32's rounding; no forward mode, no second derivative.

    What is not 3x3 with stride 1, and half precision, which the transforms would cost accuracy, is left to that one.
    Inside a shard_map both inputs must vary over the same axes.
    """
    suits = kernel.shape[:2] == (3, 3) and stride == 1 and x.dtype in (jnp.float32, jnp.float64)
    if not suits:
        return plainly(x, kernel, bias, stride=stride, padding=padding)
    return _convolve(x, kernel, padding) + bias.reshape(1, 1, 1, -1)


def _tiled(x: jax.Array, padding: Padding) -> Tiles:
    """The places of tiles that begin at every second pixel of the padded image, 4x4 of (B, H, W, C)."""
    counts = [_tiles(length, edge) for length, edge in zip(x.shape[1:3], padding, strict=True)]
    padding = [(0, 0)]
    for length, (low, _), count in zip(x.shape[1:3], padding, counts, strict=True):
        padding.append((low, 2 * count + 2 - low - length))
    x = lax.optimization_barrier(jnp.pad(x, (*padding, (0, 0))))
    return [
        [x[:, i : i + 2 * counts[0] - 1 : 2, j : j + 2 * counts[1] - 1 : 2] for j in range(4)]
        for i in range(4)
    ]


def _tiles(length: int, edge: tuple[int, int]) -> int:
    return -(-(length + sum(edge) - 2) // 2)


def _transformed(tiles: Tiles, matrix: np.ndarray) -> Tiles:
    """matrix @ tiles @ matrix.T, place by place."""
    high = [
        [_combined([row[j] for row in tiles], weights) for j in range(len(tiles[0]))] for weights in matrix
    ]
    return [[_combined(row, weights) for weights in matrix] for row in high]


def _combined(arrays: Sequence[jax.Array], weights: np.ndarray) -> jax.Array:
    total = None
    for array, weight in zip(arrays, weights.tolist(), strict=True):
        if weight:
            term = array if abs(weight) == 1 else abs(weight) * array
            total = (
                (term if weight > 0 else -term)
                if total is None
                else total + term
                if weight > 0
                else total - term
            )
    assert total is not None
    return total


def _kernel_places(kernel: jax.Array) -> Tiles:
    return _transformed([[kernel[i, j] for j in range(3)] for i in range(3)], KERNEL)


def _assembled(tiles: Tiles, height: int, width: int) -> jax.Array:
    """(B, height, width, K) from the four places of 2x2 tiles."""
    rows = jnp.stack([jnp.stack(row, axis=3) for row in tiles], axis=2)
    b, h, _, w, _, k = rows.shape
    return rows.reshape(b, 2 * h, 2 * w, k)[:, :height, :width]


def _correlated(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    height, width = (length + sum(edge) - 2 for length, edge in zip(x.shape[1:3], padding, strict=True))
    # The barriers keep XLA from making a transform again for each of its readers.
    inputs = lax.optimization_barrier(_transformed(_tiled(x, padding), INPUT))
    weights = lax.optimization_barrier(_kernel_places(kernel))
    products = [
        [lax.dot_general(inputs[i][j], weights[i][j], (((3,), (0,)), ((), ()))) for j in range(4)]
        for i in range(4)
    ]
    products = lax.optimization_barrier(products)
    return _assembled(lax.optimization_barrier(_transformed(products, OUTPUT)), height, width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return _correlated(x, kernel, padding)


def _forward(x, kernel, padding):
    return _correlated(x, kernel, padding), (x, kernel)


def _backward(padding, kept, g):
    x, kernel = kept
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    back = _correlated(g, turned, tuple((2 - low, 2 - high) for low, high in padding))
    plain = functools.partial(plainly, x, bias=jnp.zeros((1,), x.dtype), stride=1, padding=padding)
    (kernel_gradient,) = jax.vjp(lambda kernel: plain(kernel), kernel)[1](
        g
    )  # linear: only the transpose is left
    return back, kernel_gradient


_convolve.defvjp(_forward, _backward)
