"""Time calls, measure what the machine can do at most, and compare each layer of a network with that roofline.

Times are in seconds of this process on this machine, rates in FLOP (two for a multiply-add) or bytes per second.
"""

from __future__ import annotations

import dataclasses
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
    """The measured peak of one device: FLOP/s of matrix products by library, and bytes read and written per second."""

    matmul_flops: Mapping[str, float]
    bytes_per_second: float

    @property
    def flops(self) -> float:
        """Return the FLOP/s of the fastest library."""
        return max(self.matmul_flops.values())

    def min_seconds(self, flop: float, bytes_moved: float) -> float:
        """Return the time below which no program does so many FLOP and moves so many bytes, caches aside."""
        return max(flop / self.flops, bytes_moved / self.bytes_per_second)


@dataclasses.dataclass(frozen=True)
class LayerTiming:
    """The seconds of a layer alone, forward and backward, and the least that the machine needs for either."""

    name: str
    forward: float
    backward: float
    forward_floor: float
    backward_floor: float


def time_calls(call: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """Return the seconds of each of `rounds` calls, each waited for; one call before them does not count."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds


def summary_stats(seconds: list[float]) -> dict[str, float]:
    """Return the 'median', 'least' and 'most' of some times."""
    return {'median': float(np.median(seconds)), 'least': min(seconds), 'most': max(seconds)}


def measure_peak(dtype: str = 'float32', *, matrix_size: int = 0, rounds: int = ROUNDS) -> MachinePeak:
    """Return the best of `rounds` products of square matrices (size 0: large enough), and of as many copies.

    On CPU, NumPy's library is measured too in float32. Copies are of four such matrices: more than all caches hold.
    """
    cpu = jax.default_backend() == 'cpu'
    size = matrix_size or (3072 if cpu else 8192)
    ones = jnp.ones((size, size), dtype)
    matmul = jax.jit(jnp.matmul)
    seconds = {'jax': min(time_calls(lambda: matmul(ones, ones), rounds))}
    if cpu and dtype == 'float32':
        host = np.ones((size, size), np.float32)
        out = np.empty_like(host)
        seconds['numpy'] = min(time_calls(lambda: np.matmul(host, host, out=out), rounds))
    held = [jnp.zeros((4, size, size), jnp.float32)]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def copy() -> jax.Array:
        held[0] = add(held[0])
        return held[0]

    bytes_moved = 2 * held[0].nbytes
    return MachinePeak(
        {library: 2 * size**3 / fastest for library, fastest in seconds.items()},
        bytes_moved / min(time_calls(copy, rounds)),
    )


def training_flops(arch: Architecture) -> int:
    """Return the FLOP of a training step for one image: all multiply-adds forward, and twice as many backward.

    The image gets no gradient, so the layers that see it count once backward.
    """
    first = {layer.name for layer in arch.layers if _sees_image(layer)}
    return 2 * sum((2 if name in first else 3) * macs for name, macs in arch.macs().items())


def time_layers(
    arch: Architecture,
    peak: MachinePeak,
    ops: custom_vjp.Ops,
    *,
    batch_size: int,
    compute_dtype: str = 'float32',
    compiler_options: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
) -> list[LayerTiming]:
    """Return the times of each layer alone on one device that holds all columns, in the order of the forward pass.

    `ops` are the formulations (custom_vjp.select_ops). Backward is what differentiating adds: gradients of the layer's
    input (not of the image) and of its parameters.
    """
    timings: list[LayerTiming] = []
    shapes, input_shape = arch.activation_shapes(), (arch.crop_size, arch.crop_size, arch.channels)
    itemsize, options = jnp.dtype(compute_dtype).itemsize, dict(compiler_options or {})
    for layer in arch.layers:
        inputs, parameters, mask = _random_inputs(layer, arch, input_shape, batch_size, compute_dtype)
        sees_image = _sees_image(layer)

        def forward(inputs, parameters, layer=layer, mask=mask):
            return apply_layer(layer, arch, ops, inputs, parameters, mask)

        def forward_and_backward(inputs, parameters, gradients, forward=forward, sees_image=sees_image):
            function = (lambda parameters: forward(inputs, parameters)) if sees_image else forward
            primals = (parameters,) if sees_image else (inputs, parameters)
            outputs, backward = jax.vjp(function, *primals)
            return outputs, backward(gradients)

        outputs = jax.eval_shape(forward, inputs, parameters)
        gradients = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), outputs)

        def median_seconds(function, *args):
            compiled = jax.jit(function, compiler_options=options)
            return float(np.median(time_calls(lambda: compiled(*args), rounds)))

        forward_seconds = median_seconds(forward, inputs, parameters)
        both_seconds = median_seconds(forward_and_backward, inputs, parameters, gradients)
        floors = roofline_seconds(layer, arch, input_shape, shapes[layer.name], peak, batch_size, itemsize)
        timings.append(LayerTiming(layer.name, forward_seconds, max(0.0, both_seconds - forward_seconds), *floors))
        input_shape = shapes[layer.name]
    return timings


def roofline_seconds(
    layer: Layer,
    arch: Architecture,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    peak: MachinePeak,
    batch_size: int,
    itemsize: int,
) -> tuple[float, float]:
    """Return the least seconds forward and backward: its FLOP at the peak rate, or its arrays read and written once."""
    flop = 2 * batch_size * arch.macs().get(layer.name, 0)
    weights = 4 * arch.parameter_counts().get(layer.name, 0)
    inputs, outputs = (itemsize * batch_size * math.prod(shape) for shape in (input_shape, output_shape))
    sees_image = _sees_image(layer)
    forward = peak.min_seconds(flop, inputs + outputs + weights)
    # The gradients written, and the outputs' read.
    gradients = outputs + weights if sees_image else inputs + outputs + weights
    backward = peak.min_seconds(flop if sees_image else 2 * flop, gradients + inputs + (0 if sees_image else weights))
    return forward, backward


def _sees_image(layer: Layer) -> bool:
    return isinstance(layer, Convolution) and layer.input_from == 'image'


def _random_inputs(
    layer: Layer, arch: Architecture, input_shape: tuple[int, ...], batch_size: int, compute_dtype: str
) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array], jax.Array | None]:
    """Return a layer's input by column, its parameters and its mask, of random numbers that repeat."""
    block = np.random.default_rng(0).standard_normal(2**16, np.float32)
    num_parts = 1 if _sees_image(layer) else arch.columns
    x = np.resize(block, (batch_size, *input_shape)).astype(jnp.dtype(compute_dtype))
    inputs = tuple(np.split(x, num_parts, axis=-1))
    parameters: dict[str, np.ndarray] = {}
    if isinstance(layer, Convolution | Dense):
        shape = arch.kernel_shapes()[layer.name]
        kernel = np.resize(0.01 * block, (arch.columns, *shape)).astype(jnp.dtype(compute_dtype))
        parameters = {'kernel': kernel, 'bias': np.zeros((arch.columns, shape[-1]), np.float32)}
    mask = None
    if isinstance(layer, Dropout):
        kept = np.random.default_rng(1).random(2**16) < layer.keep_prob
        mask = np.resize(kept, (arch.columns, *inputs[0].shape))
    return jax.device_put((inputs, parameters, mask))
