"""The device cache: a whole split as uint8 pixels on every device, for rates that no host can read and cut.

The host still draws which images, where they are cut, mirrored and lit, and sends only that; the devices do the rest,
with the same numbers as on the host's way. Knows records and devices, nothing of steps.
"""

from __future__ import annotations

import dataclasses
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.data.pipeline import Records
from alexnet_jax.errors import UserError

RESERVED_FRACTION = 0.25  # of a device's memory: for parameters, momentum, activations and the compiler's workspace
GIB = 2.0**30
MEMINFO = Path('/proc/meminfo')  # of Linux


@dataclasses.dataclass(frozen=True)
class DeviceCache:
    """A split on the devices."""

    images: jax.Array  # uint8 (N, side, side, 3), whole on every device
    labels: np.ndarray  # int32 (N,), on the host


def load_to_devices(records: Records, sharding: jax.sharding.Sharding, *, threads: int = 1) -> DeviceCache:
    """All images of a split, decoded once, on every device of `sharding`, which must not divide them.

    Raises UserError, before anything is read, where they do not fit.
    """
    shape = (len(records), *records[0][0].shape)
    require_device_memory(shape, sharding)
    images, labels = np.empty(shape, np.uint8), np.empty(len(records), np.int32)

    def read(first: int) -> None:
        for record in range(first, len(records), threads):
            images[record], labels[record], _ = records[record]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(threads)))  # the list makes what a thread raises heard
    return DeviceCache(jax.make_array_from_callback(shape, sharding, lambda index: images[index]), labels)


def require_device_memory(shape: tuple[int, ...], sharding: jax.sharding.Sharding) -> None:
    """Raises UserError where uint8 images of that shape leave too little of some device's memory."""
    mine = sorted(sharding.addressable_devices, key=lambda device: device.id)
    needed = int(np.prod(shape, dtype=np.int64))
    for device in mine:
        free = free_device_memory(device, sharers=len(mine))
        if free is not None and needed > (1 - RESERVED_FRACTION) * free:
            raise UserError(
                f'config.data.device_cache: {shape[0]:,} images of {shape[1]} pixels take {needed / GIB:,.1f} GiB, and '
                f'{device.platform}:{device.id} can give {(1 - RESERVED_FRACTION) * free / GIB:,.1f} GiB beside the training; '
                'leave the field False, or prepare fewer or smaller images.'
            )


def free_device_memory(device: jax.Device, *, sharers: int) -> int | None:
    """What a device has left; of the host's memory a share, where `sharers` CPU devices live in it; None if unknown."""
    statistics = device.memory_stats() or {}
    if 'bytes_limit' in statistics:
        return statistics['bytes_limit'] - statistics.get('bytes_in_use', 0)
    if device.platform != 'cpu':
        return None
    # The images are there once more on the host, while they are placed.
    available = _available_host_memory()
    return available if available is None else available // (sharers + 1)


def _available_host_memory() -> int | None:
    """Bytes that the host can give, with what it holds of files and would drop for them; None if unknown."""
    try:
        kibibytes = re.search(r'^MemAvailable:\s+(\d+) kB', MEMINFO.read_text(), re.MULTILINE)
        if kibibytes:
            return 1024 * int(kibibytes[1])
    except OSError:
        pass
    try:
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, OSError, ValueError):
        return None


def gather_crops(images: jax.Array, records: jax.Array, top: jax.Array, left: jax.Array, *, crop: int) -> jax.Array:
    """The crops of a batch, uint8 (B, crop, crop, 3), as pipeline.Training makes them on the host.

    `images` (N, side, side, 3); `records`, `top` and `left` int32 (B,).
    """

    def one(record: jax.Array, top: jax.Array, left: jax.Array) -> jax.Array:
        zero = jnp.zeros_like(record)
        return lax.dynamic_slice(images, (record, top, left, zero), (1, crop, crop, images.shape[-1]))[0]

    return jax.vmap(one)(records, top, left)
