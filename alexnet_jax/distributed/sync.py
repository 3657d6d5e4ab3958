"""Synchronization of several processes: one signal for all, a barrier after a failed read, a common maximum."""

from __future__ import annotations

import signal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.distributed.sharding import replicated_sharding
from alexnet_jax.runtime.signals import SignalHandler


class SignalSync:
    """The signal that any process of the mesh received, by one small reduction a step, read one step late.

    Read late, as the answer to this step's question would make the host wait for the devices.
    """

    def __init__(self, handler: SignalHandler, mesh: Mesh):
        self._handler, self._size = handler, mesh.size
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._reduce_max = jax.jit(jnp.max, out_shardings=replicated_sharding(mesh))
        self._pending: jax.Array | None = None

    def poll(self) -> str | None:
        """Return the name of the first signal that any process had received a step ago; all must call it each step."""
        received = self._handler.received
        mine = np.array([signal.Signals[received].value if received else 0], np.int32)
        numbers = jax.make_array_from_callback((self._size,), self._sharding, lambda _: mine)
        pending, self._pending = self._pending, self._reduce_max(numbers)
        number = 0 if pending is None else int(pending)
        return signal.Signals(number).name if number else None


def barrier_after_failure() -> None:
    """Return when all processes have failed to read a checkpoint; each that failed calls it.

    The others may wait at a barrier of orbax's. Ours has another name, so that theirs fails too, and they come here.
    """
    while jax.process_count() > 1:
        try:
            return multihost_utils.sync_global_devices('a checkpoint that cannot be read')
        except AssertionError:  # jax's error for two different barriers that met
            continue


def all_max(number: int) -> int:
    """Return the largest number of all processes; all must call it."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number, np.int32))))
