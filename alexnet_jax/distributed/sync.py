"""Agreement: what one of several processes was asked, all of them hear at the same step. Knows nothing of what runs."""

from __future__ import annotations

import signal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.runtime.signals import SignalHandler


class SignalSync:
    """The signal that came to any process of the mesh, by one small reduction a step, read one step late.

    Read late, since the answer to this step's question would have the host wait for the devices.
    """

    def __init__(self, stop: SignalHandler, mesh: Mesh):
        self._stop, self._count = stop, mesh.size
        self._split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._agree = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._asked_before: jax.Array | None = None

    def poll(self) -> str | None:
        """The name of the first signal that any process had heard a step ago, or None. All must call it each step."""
        mine = np.array([signal.Signals[self._stop.received].value if self._stop.received else 0], np.int32)
        numbers = jax.make_array_from_callback((self._count,), self._split, lambda _: mine)
        before, self._asked_before = self._asked_before, self._agree(numbers)
        number = 0 if before is None else int(before)
        return signal.Signals(number).name if number else None


def barrier_after_failure() -> None:
    """Called by a process that could not read a checkpoint; returns when all processes could not.

    Those that could wait at a barrier of orbax's. Ours has another name, so that theirs fails too, and they come here.
    """
    while jax.process_count() > 1:
        try:
            return multihost_utils.sync_global_devices('a checkpoint that cannot be read')
        except AssertionError:  # how jax says that two barriers met which are not the same
            continue


def all_max(number: int) -> int:
    """The highest of the numbers that the processes give; all must call it."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number, np.int32))))
