"""Speed: how long calls take, what the machine can do at most, and each layer of a network against that floor.

Every figure is a time on this machine in this process. Knows neither the config nor the data; times are in seconds,
rates in multiply-adds times two (FLOP) or bytes per second.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.models import custom_vjp
from alexnet_jax.models.alexnet import through
from alexnet_jax.models.architecture import Architecture, Convolution, Dense, Dropout, Layer

ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Machine:
    """What one device does at most, measured: matrix products by library (FLOP/s), and bytes it reads and writes."""

    products: Mapping[str, float]
    bytes_per_second: float

    @property
    def rate(self) -> float:
        """FLOP/s of the fastest library."""
        return max(self.products.values())

    def floor(self, flop: float, moved: float) -> float:
        """Seconds below which no program that does so many FLOP and moves so many bytes comes, caches aside."""
        return max(flop / self.rate, moved / self.bytes_per_second)


@dataclasses.dataclass(frozen=True)
class LayerSpeed:
    """A layer alone: seconds forward and backward, and the least that the machine needs for either."""

    name: str
    forward: float
    backward: float
    forward_floor: float
    backward_floor: float


def timed(call: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each of so many calls, each waited for; one call before them does not count."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds


def machine(dtype: str = 'float32', *, side: int = 0, rounds: int = ROUNDS) -> Machine:
    """The best of several products of square matrices of `side` (0: large enough), and of several copies.

    On CPU NumPy's library takes part in float32. Copies are of four times `side` squared numbers: past all caches.
    """
    cpu = jax.default_backend() == 'cpu'
    side = side or (3072 if cpu else 8192)
    ones = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul)
    found = {'jax': min(timed(lambda: product(ones, ones), rounds))}
    if cpu and dtype == 'float32':
        host = np.ones((side, side), np.float32)
        out = np.empty_like(host)
        found['numpy'] = min(timed(lambda: np.matmul(host, host, out=out), rounds))
    held = [jnp.zeros((4, side, side), jnp.float32)]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def copy() -> jax.Array:
        held[0] = add(held[0])
        return held[0]

    moved = 2 * held[0].nbytes
    return Machine(
        {name: 2 * side**3 / each for name, each in found.items()}, moved / min(timed(copy, rounds))
    )


def training_flop(shape: Architecture) -> int:
    """FLOP of a training step for one image: products and sums of all layers, forward, and twice backward.

    No gradient goes to the image, so the layers that see it count once backward.
    """
    forward = shape.multiply_adds()
    seeing = {
        layer.name for layer in shape.layers if isinstance(layer, Convolution) and layer.sees == 'image'
    }
    return 2 * sum((2 if name in seeing else 3) * each for name, each in forward.items())


def layers(
    shape: Architecture,
    limits: Machine,
    *,
    batch: int,
    compute: str = 'float32',
    plain: bool = False,
    compiler_options: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
) -> list[LayerSpeed]:
    """Each layer alone on one device that holds all columns, in the order of the forward pass.

    Backward is what differentiating adds: gradients of what the layer sees (not of the image) and of its parameters.
    """
    found, formulations = [], custom_vjp.chosen(jax.default_backend(), plain)
    sizes, before = shape.points(), (shape.crop, shape.crop, shape.channels)
    for layer in shape.layers:
        after = sizes[layer.name]
        inputs, parameters, mask = _inputs(layer, shape, before, batch, compute)
        image = isinstance(layer, Convolution) and layer.sees == 'image'

        def run(inputs, parameters, layer=layer, mask=mask):
            return through(layer, shape, formulations, False, inputs, parameters, mask)

        def both(inputs, parameters, gradients, run=run, image=image):
            known = (lambda parameters: run(inputs, parameters)) if image else run
            primals = (parameters,) if image else (inputs, parameters)
            out, back = jax.vjp(known, *primals)
            return out, back(gradients)

        options = dict(compiler_options or {})
        gradients = jax.tree.map(
            lambda x: jnp.ones(x.shape, x.dtype), jax.eval_shape(run, inputs, parameters)
        )
        one, two = jax.jit(run, compiler_options=options), jax.jit(both, compiler_options=options)
        forward = _median(timed(functools.partial(one, inputs, parameters), rounds))
        whole = _median(timed(functools.partial(two, inputs, parameters, gradients), rounds))
        found.append(
            LayerSpeed(
                layer.name,
                forward,
                max(0.0, whole - forward),
                *floors(layer, shape, before, after, limits, batch, jnp.dtype(compute).itemsize),
            )
        )
        before = after
    return found


def floors(
    layer: Layer,
    shape: Architecture,
    before: tuple[int, ...],
    after: tuple[int, ...],
    limits: Machine,
    batch: int,
    itemsize: int,
) -> tuple[float, float]:
    """The least seconds forward and backward: its FLOP at the machine's rate, or its arrays read and written once."""
    flop = 2 * batch * shape.multiply_adds().get(layer.name, 0)
    weights = 4 * shape.parameters().get(layer.name, 0)
    inputs, outputs = (itemsize * batch * math.prod(each) for each in (before, after))
    image = isinstance(layer, Convolution) and layer.sees == 'image'
    forward = limits.floor(flop, inputs + outputs + weights)
    gradients = outputs + weights if image else inputs + outputs + weights  # written, and the outputs' read
    return forward, limits.floor(flop if image else 2 * flop, gradients + inputs + (0 if image else weights))


def _inputs(
    layer: Layer, shape: Architecture, before: tuple[int, ...], batch: int, compute: str
) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array], jax.Array | None]:
    """What the layer is given: its input by column, its parameters, its mask; numbers of no meaning, but not zero."""
    key = jax.random.key(0)
    image = isinstance(layer, Convolution) and layer.sees == 'image'
    parts = 1 if image else shape.columns
    x = jax.random.normal(key, (batch, *before), compute)
    inputs = tuple(jnp.split(x, parts, axis=-1))
    parameters: dict[str, jax.Array] = {}
    if isinstance(layer, Convolution | Dense):
        sizes = shape.kernel_shapes()[layer.name]
        kernel = 0.01 * jax.random.normal(key, (shape.columns, *sizes), jnp.float32)
        parameters = {'kernel': kernel.astype(compute), 'bias': jnp.zeros((shape.columns, sizes[-1]))}
    mask = None
    if isinstance(layer, Dropout):
        mask = jax.random.bernoulli(key, layer.keep, (shape.columns, *inputs[0].shape))
    return jax.block_until_ready((inputs, parameters, mask))


def _median(seconds: list[float]) -> float:
    return float(np.median(seconds))


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most of some times."""
    return {'median': _median(seconds), 'least': min(seconds), 'most': max(seconds)}
