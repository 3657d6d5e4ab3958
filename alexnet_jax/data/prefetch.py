"""Global arrays on the mesh from a process's batches, ahead of need, in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

Arrays = dict[str, jax.Array]
CLOSE_TIMEOUT = 5  # seconds


def prefetch_to_device(
    batches: Iterable[dict[str, np.ndarray]], sharding: jax.sharding.Sharding, *, depth: int = 2
) -> 'Prefetcher':
    """Return an iterator of the batches as dicts of global arrays under `sharding`, which splits the first axis.

    Each process gives its own share, and the processes in order make the global batch. At most `depth` batches wait on
    the devices. Close it, or use it in a `with`: that ends the thread and closes `batches` too.
    """
    return Prefetcher(batches, lambda batch: jax.make_array_from_process_local_data(sharding, batch), depth)


class Prefetcher(Iterator[Arrays]):
    """An iterator over batches on the devices. What the source raises is raised here, in its turn."""

    def __init__(self, batches: Iterable, to_device: Callable[[Any], Any], depth: int):
        if depth < 1:
            raise ValueError(f'depth must be 1 or more, not {depth}.')
        # Spent here by the consumer, over all batches so far; it grows if the host is too slow.
        self.wait_seconds = 0.0
        self._batches, self._to_device = batches, to_device
        self._queue: queue.SimpleQueue = queue.SimpleQueue()  # of (batch, None), or (None, why it ended)
        self._slots = threading.Semaphore(depth)
        self._closed = threading.Event()
        self._exhausted = False
        self._thread = threading.Thread(target=self._fill, name='prefetch', daemon=True)
        self._thread.start()

    def __next__(self) -> Arrays:
        if self._exhausted or self._closed.is_set():
            raise StopIteration
        began = time.perf_counter()
        batch, end = self._queue.get()
        self.wait_seconds += time.perf_counter() - began
        if end is not None:
            self._exhausted = True
            raise end
        self._slots.release()
        return batch

    def close(self) -> None:
        """End the thread, drop the waiting batches and close the source. Does nothing the second time.

        A source that hangs in a read is abandoned after CLOSE_TIMEOUT.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self._slots.release()  # the thread may be waiting for a slot; it looks at `_closed` next
        self._thread.join(CLOSE_TIMEOUT)
        self._queue = queue.SimpleQueue()
        if self._thread.is_alive():
            return
        if hasattr(self._batches, 'close'):
            self._batches.close()

    def __enter__(self) -> 'Prefetcher':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                self._slots.acquire()
                if self._closed.is_set():
                    return
                self._queue.put((self._to_device(batch), None))
            self._queue.put((None, StopIteration()))
        except BaseException as error:  # it must not be lost in a thread that nobody joins
            self._queue.put((None, error))
