"""Memory: what a training step needs, by arithmetic from an architecture, by the compiler, and as it was.

The arithmetic needs no device, so that it can be asked of networks and batches that do not fit here.
"""

from __future__ import annotations

import math
import resource
import sys
from typing import Any

import jax

from alexnet_jax.models.architecture import Architecture, Convolution, Pooling, ResponseNormalization

FLOAT = 4  # bytes of a parameter, its velocity and its gradient


def predicted(
    shape: Architecture,
    batch: int,
    *,
    accumulate: int = 1,
    itemsize: int = FLOAT,
    data: int = 1,
    column: int = 1,
) -> dict[str, int]:
    """Bytes of a training step on one device of a mesh: 'state', 'gradients', 'activations', and their sum 'all'.

    `activations` are the outputs of all layers that the backward pass reads again, the sum of squares beside each
    normalized number, and gradients of the two largest neighbors; `itemsize` is that of the computation. A column's
    share of them is taken for equal, which leaves out what it gathers of the others.
    """
    parameters = sum(shape.parameters().values()) // column
    sizes = {name: math.prod(each) for name, each in shape.points().items()}
    images = batch // data
    kept = sum(sizes.values())
    kept += sum(sizes[layer.name] for layer in shape.layers if isinstance(layer, ResponseNormalization))
    passing = sum(
        sorted(sizes[layer.name] for layer in shape.layers if isinstance(layer, Convolution | Pooling))[-2:]
    )
    pixels = shape.crop**2 * shape.channels
    found = {
        'state': 2 * FLOAT * parameters,
        'gradients': FLOAT * parameters * (2 if accumulate > 1 else 1),
        'activations': images // accumulate * itemsize * ((kept + passing) // column + pixels)
        + images * pixels,
    }
    return found | {'all': sum(found.values())}


def of_program(compiled: Any) -> dict[str, int] | None:
    """Bytes that the compiler sets aside for a program: 'arguments', 'results' of their own, 'temporary', 'all'."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    found = {
        'arguments': analysis.argument_size_in_bytes,
        'results': analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        'temporary': analysis.temp_size_in_bytes,
    }
    return found | {'all': sum(found.values())}


def most() -> dict[str, int]:
    """The most bytes so far: of this process in the host's memory, and of its first device where that has its own."""
    unit = 1 if sys.platform == 'darwin' else 1024
    found = {'process': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    statistics = jax.local_devices()[0].memory_stats() or {}
    return found | ({'device': statistics['peak_bytes_in_use']} if 'peak_bytes_in_use' in statistics else {})


def exchanged(shape: Architecture, batch: int, mesh: dict[str, int], itemsize: int = FLOAT) -> dict[str, int]:
    """Bytes that a device sends in a training step: between columns, forward and backward, and over data.

    Over `data` the gradients are summed in a ring, which sends 2 (n - 1) / n of them.
    """
    column, data = mesh['column'], mesh['data']
    share = batch // data
    between = 0
    if column > 1:
        numbers = sum(shape.exchanged().values()) * (shape.columns // column) * (column - 1)
        between = 2 * itemsize * share * numbers
    gradients = FLOAT * sum(shape.parameters().values()) / column
    return {'columns': between, 'data': round(2 * (data - 1) / data * gradients)}


def readable(number: float) -> str:
    """As people read them."""
    if number >= 2**28:
        return f'{number / 2**30:.2f} GiB'
    return f'{number / 2**20:.0f} MiB' if number >= 2**20 else f'{number / 2**10:.0f} KiB'


def fits(
    shape: Architecture,
    batch: int,
    room: float,
    base: float,
    *,
    itemsize: int = FLOAT,
    data: int = 1,
    column: int = 1,
    sharing: int = 1,
) -> int | None:
    """Into how few equal parts a batch must be cut for its step and a process of `base` bytes to fit into `room`.

    On a mesh that is the room of one device, or of so many as are `sharing` it, as CPU devices do.
    """
    for parts in (each for each in range(1, batch // data + 1) if batch % (each * data) == 0):
        step = predicted(shape, batch, accumulate=parts, itemsize=itemsize, data=data, column=column)['all']
        if step * sharing + base <= room:
            return parts
    return None
