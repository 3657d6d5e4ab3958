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
from alexnet_jax.models.alexnet import apply_layer
from alexnet_jax.models.architecture import Architecture, Convolution, Dense, Dropout, Layer

ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class MachinePeak:
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
class LayerTiming:
    """A layer alone: seconds forward and backward, and the least that the machine needs for either."""

    name: str
    forward: float
    backward: float
    forward_floor: float
    backward_floor: float


def time_calls(call: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each of so many calls, each waited for; one call before them does not count."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds


def measure_peak(dtype: str = 'float32', *, side: int = 0, rounds: int = ROUNDS) -> MachinePeak:
    """The best of several products of square matrices of `side` (0: large enough), and of several copies.

    On CPU NumPy's library takes part in float32. Copies are of four times `side` squared numbers: past all caches.
    """
    cpu = jax.default_backend() == 'cpu'
    side = side or (3072 if cpu else 8192)
    ones = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul)
    found = {'jax': min(time_calls(lambda: product(ones, ones), rounds))}
    if cpu and dtype == 'float32':
        host = np.ones((side, side), np.float32)
        out = np.empty_like(host)
        found['numpy'] = min(time_calls(lambda: np.matmul(host, host, out=out), rounds))
    held = [jnp.zeros((4, side, side), jnp.float32)]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def copy() -> jax.Array:
        held[0] = add(held[0])
        return held[0]

    moved = 2 * held[0].nbytes
    return MachinePeak(
        {name: 2 * side**3 / each for name, each in found.items()}, moved / min(time_calls(copy, rounds))
    )


def training_flops(arch: Architecture) -> int:
    """FLOP of a training step for one image: products and sums of all layers, forward, and twice backward.

    No gradient goes to the image, so the layers that see it count once backward.
    """
    forward = arch.macs()
    seeing = {
        layer.name for layer in arch.layers if isinstance(layer, Convolution) and layer.input_from == 'image'
    }
    return 2 * sum((2 if name in seeing else 3) * each for name, each in forward.items())


def time_layers(
    arch: Architecture,
    limits: MachinePeak,
    *,
    batch: int,
    compute: str = 'float32',
    plain: bool = False,
    compiler_options: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
) -> list[LayerTiming]:
    """Each layer alone on one device that holds all columns, in the order of the forward pass.

    Backward is what differentiating adds: gradients of what the layer sees (not of the image) and of its parameters.
    """
    found, formulations = [], custom_vjp.select_ops(jax.default_backend(), plain)
    sizes, before = arch.activation_shapes(), (arch.crop_size, arch.crop_size, arch.channels)
    for layer in arch.layers:
        after = sizes[layer.name]
        inputs, parameters, mask = _random_inputs(layer, arch, before, batch, compute)
        image = isinstance(layer, Convolution) and layer.input_from == 'image'

        def run(inputs, parameters, layer=layer, mask=mask):
            return apply_layer(layer, arch, formulations, inputs, parameters, mask)

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
        forward = _median(time_calls(functools.partial(one, inputs, parameters), rounds))
        whole = _median(time_calls(functools.partial(two, inputs, parameters, gradients), rounds))
        found.append(
            LayerTiming(
                layer.name,
                forward,
                max(0.0, whole - forward),
                *roofline_seconds(layer, arch, before, after, limits, batch, jnp.dtype(compute).itemsize),
            )
        )
        before = after
    return found


def roofline_seconds(
    layer: Layer,
    arch: Architecture,
    before: tuple[int, ...],
    after: tuple[int, ...],
    limits: MachinePeak,
    batch: int,
    itemsize: int,
) -> tuple[float, float]:
    """The least seconds forward and backward: its FLOP at the machine's rate, or its arrays read and written once."""
    flop = 2 * batch * arch.macs().get(layer.name, 0)
    weights = 4 * arch.parameter_counts().get(layer.name, 0)
    inputs, outputs = (itemsize * batch * math.prod(each) for each in (before, after))
    image = isinstance(layer, Convolution) and layer.input_from == 'image'
    forward = limits.floor(flop, inputs + outputs + weights)
    gradients = outputs + weights if image else inputs + outputs + weights  # written, and the outputs' read
    return forward, limits.floor(flop if image else 2 * flop, gradients + inputs + (0 if image else weights))


def _random_inputs(
    layer: Layer, arch: Architecture, before: tuple[int, ...], batch: int, compute: str
) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array], jax.Array | None]:
    """What the layer is given: its input by column, its parameters, its mask; numbers of no meaning, but not zero."""
    key = jax.random.key(0)
    image = isinstance(layer, Convolution) and layer.input_from == 'image'
    parts = 1 if image else arch.columns
    x = jax.random.normal(key, (batch, *before), compute)
    inputs = tuple(jnp.split(x, parts, axis=-1))
    parameters: dict[str, jax.Array] = {}
    if isinstance(layer, Convolution | Dense):
        sizes = arch.kernel_shapes()[layer.name]
        kernel = 0.01 * jax.random.normal(key, (arch.columns, *sizes), jnp.float32)
        parameters = {'kernel': kernel.astype(compute), 'bias': jnp.zeros((arch.columns, sizes[-1]))}
    mask = None
    if isinstance(layer, Dropout):
        mask = jax.random.bernoulli(key, layer.keep_prob, (arch.columns, *inputs[0].shape))
    return jax.block_until_ready((inputs, parameters, mask))


def _median(seconds: list[float]) -> float:
    return float(np.median(seconds))


def summary_stats(seconds: list[float]) -> dict[str, float]:
    """Median, least and most of some times."""
    return {'median': _median(seconds), 'least': min(seconds), 'most': max(seconds)}
