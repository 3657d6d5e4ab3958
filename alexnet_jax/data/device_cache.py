"""A whole split as uint8 pixels on every device, for throughputs that no host can read and crop.

The host still draws which images, where they are cropped, their flips and lighting, and sends only that; the devices do
the rest, with the same numbers as from the host's pixels.
"""

from __future__ import annotations

import dataclasses
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.data.normalize import crop_images
from alexnet_jax.errors import UserError

# Of a device's memory: for parameters, momentum, activations and the compiler's workspace.
RESERVED_FRACTION = 0.25
GIB = 2.0**30
MEMINFO = Path('/proc/meminfo')  # of Linux


@dataclasses.dataclass(frozen=True)
class DeviceCache:
    """A split on the devices."""

    images: jax.Array  # uint8 (N, side, side, 3), all of them on every device
    labels: np.ndarray  # int32 (N,), on the host


def load_to_devices(records: RecordSource, sharding: jax.sharding.Sharding, *, threads: int = 1) -> DeviceCache:
    """Decode all images of a split once and copy them to every device of `sharding`, which must be replicated.

    Raises UserError, before anything is read, if they do not fit.
    """
    shape = (len(records), *records[0][0].shape)
    require_device_memory(shape, sharding)
    images, labels = np.empty(shape, np.uint8), np.empty(len(records), np.int32)

    def read_every(first: int) -> None:
        for record in range(first, len(records), threads):
            labels[record], _ = records.read_crop(record, images[record])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read_every, range(threads)))  # the list raises what a thread raised
    return DeviceCache(jax.make_array_from_callback(shape, sharding, lambda index: images[index]), labels)


def require_device_memory(shape: tuple[int, ...], sharding: jax.sharding.Sharding) -> None:
    """Raise UserError if uint8 images of that shape leave too little memory on one of this process's devices."""
    devices = sorted(sharding.addressable_devices, key=lambda device: device.id)
    needed = int(np.prod(shape, dtype=np.int64))
    for device in devices:
        free = free_device_memory(device, devices_sharing_memory=len(devices))
        if free is not None and needed > (1 - RESERVED_FRACTION) * free:
            raise UserError(
                f'config.data.device_cache: {shape[0]:,} images of {shape[1]} pixels take {needed / GIB:,.1f} GiB, but '
                f'{device.platform}:{device.id} has {(1 - RESERVED_FRACTION) * free / GIB:,.1f} GiB for them; set '
                'the field to False, or prepare fewer or smaller images.'
            )


def free_device_memory(device: jax.Device, *, devices_sharing_memory: int) -> int | None:
    """Return the free bytes of a device, None if unknown; a CPU device has its share of the host's memory."""
    statistics = device.memory_stats() or {}
    if 'bytes_limit' in statistics:
        return statistics['bytes_limit'] - statistics.get('bytes_in_use', 0)
    if device.platform != 'cpu':
        return None
    # One more share: while the images are copied, the host holds them too.
    available = _available_host_memory()
    return available if available is None else available // (devices_sharing_memory + 1)


def _available_host_memory() -> int | None:
    """Return the bytes that the host can allocate, droppable file caches included; None if unknown."""
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


def gather_crops(
    images: jax.Array, records: jax.Array, top: jax.Array, left: jax.Array, *, crop_size: int
) -> jax.Array:
    """Return the crops of a batch, uint8 (B, crop, crop, 3), as TrainPipeline makes them on the host.

    `images` (N, side, side, 3); `records`, `top` and `left` int32 (B,).
    """
    return jax.vmap(lambda index, top, left: crop_images(images, top, left, crop_size, index=index))(records, top, left)
