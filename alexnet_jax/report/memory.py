"""Memory of a training step: estimated from an architecture, reported by the compiler, and measured.

Estimates need no device, so they answer for networks and batches that do not fit here.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping
from typing import Any

import jax

from alexnet_jax.distributed.sharding import COLUMN_AXIS, DATA_AXIS
from alexnet_jax.models.architecture import (
    Architecture,
    Convolution,
    Pooling,
    ResponseNormalization,
    SpatialResponseNormalization,
)

# Bytes of a parameter, its velocity and its gradient.
FLOAT_BYTES = 4
# The mesh of one device, as sizes by axis.
ONE_DEVICE = {DATA_AXIS: 1, COLUMN_AXIS: 1}


def estimate_step_memory(
    arch: Architecture,
    batch_size: int,
    *,
    mesh: Mapping[str, int] = ONE_DEVICE,
    grad_accumulation: int = 1,
    itemsize: int = FLOAT_BYTES,
) -> dict[str, int]:
    """Return the bytes of a step on one device of a mesh: 'state', 'gradients', 'activations', and their sum 'all'.

    `activations` are the outputs of all layers, which the backward pass reads again, the sums of squares of response
    normalization, and the gradients of the two largest neighboring layers; `itemsize` is that of the computation.
    Columns are taken to have equal shares of them, which leaves out what a column gathers from the others.
    """
    columns = mesh[COLUMN_AXIS]
    parameters = sum(arch.parameter_counts().values()) // columns
    sizes = {name: math.prod(shape) for name, shape in arch.activation_shapes().items()}
    images = batch_size // mesh[DATA_AXIS]
    kept = sum(sizes.values())
    norms = ResponseNormalization | SpatialResponseNormalization
    kept += sum(sizes[layer.name] for layer in arch.layers if isinstance(layer, norms))
    gradients = sum(sorted(sizes[layer.name] for layer in arch.layers if isinstance(layer, Convolution | Pooling))[-2:])
    pixels = arch.crop_size**2 * arch.channels
    by_part = {
        'state': 2 * FLOAT_BYTES * parameters,
        'gradients': FLOAT_BYTES * parameters * (2 if grad_accumulation > 1 else 1),
        'activations': images // grad_accumulation * itemsize * ((kept + gradients) // columns + pixels)
        + images * pixels,
    }
    return by_part | {'all': sum(by_part.values())}


def compiled_memory(compiled: Any) -> dict[str, int] | None:
    """Return the bytes of a compiled program: 'arguments', 'results' of their own, 'temporary', and their sum 'all'."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    by_part = {
        'arguments': analysis.argument_size_in_bytes,
        'results': analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        'temporary': analysis.temp_size_in_bytes,
    }
    return by_part | {'all': sum(by_part.values())}


def peak_memory() -> dict[str, int]:
    """Return the peak bytes so far of this 'process', and of its first 'device' if that has memory of its own."""
    unit = 1 if sys.platform == 'darwin' else 1024
    peak = {'process': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    statistics = jax.local_devices()[0].memory_stats() or {}
    return peak | ({'device': statistics['peak_bytes_in_use']} if 'peak_bytes_in_use' in statistics else {})


def bytes_communicated(
    arch: Architecture, batch_size: int, mesh: Mapping[str, int], itemsize: int = FLOAT_BYTES
) -> dict[str, int]:
    """Return the bytes that a device sends in a training step: between columns, forward and backward, and over data.

    Over `data` the gradients are summed in a ring, which sends 2 (n - 1) / n of them.
    """
    columns, data = mesh[COLUMN_AXIS], mesh[DATA_AXIS]
    between_columns = 0
    if columns > 1:
        numbers = sum(arch.numbers_exchanged().values()) * (arch.columns // columns) * (columns - 1)
        between_columns = 2 * itemsize * (batch_size // data) * numbers
    gradients = FLOAT_BYTES * sum(arch.parameter_counts().values()) / columns
    return {'columns': between_columns, 'data': round(2 * (data - 1) / data * gradients)}


def format_bytes(size: float) -> str:
    """Return a size as '1.50 GiB', '96 MiB' or '4 KiB'."""
    if size >= 2**28:
        return f'{size / 2**30:.2f} GiB'
    return f'{size / 2**20:.0f} MiB' if size >= 2**20 else f'{size / 2**10:.0f} KiB'


def min_accumulation_steps(
    arch: Architecture,
    batch_size: int,
    available: float,
    base: float,
    *,
    mesh: Mapping[str, int] = ONE_DEVICE,
    itemsize: int = FLOAT_BYTES,
    devices_sharing_memory: int = 1,
) -> int | None:
    """Return the fewest gradient accumulation steps with which a step fits into `available` bytes; None if none do.

    `base` are the bytes of a process without a step. `available` is the memory of one device, or that of all
    `devices_sharing_memory`, as CPU devices do.
    """
    data = mesh[DATA_AXIS]
    for steps in range(1, batch_size // data + 1):
        if batch_size % (steps * data):
            continue
        step = estimate_step_memory(arch, batch_size, mesh=mesh, grad_accumulation=steps, itemsize=itemsize)['all']
        if step * devices_sharing_memory + base <= available:
            return steps
    return None
