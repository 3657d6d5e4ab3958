"""The feed: a host's batches become global arrays on the mesh, ahead of need, in a thread of its own.

Knows nothing of what is in a batch. A few batches wait on the devices; a host that is too slow shows in
`waited`.
"""

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
    batches: Iterable[dict[str, np.ndarray]], sharding: jax.sharding.Sharding, *, ahead: int = 2
) -> 'Feed':
    """The batches as dicts of global arrays under `sharding`, which shares the first axis among the devices.

    Each process gives its own share, and the processes in order make the global batch. At most `ahead`
    batches wait on the devices. Close it, or use it in a `with`: that ends the thread and closes `batches`
    too.
    """
    return Prefetcher(batches, lambda batch: jax.make_array_from_process_local_data(sharding, batch), ahead)


class Prefetcher(Iterator[Arrays]):
    """An iterator over placed batches. What the source raises is raised here, in its turn."""

    def __init__(self, batches: Iterable, place: Callable[[Any], Any], ahead: int):
        if ahead < 1:
            raise ValueError(f'At least one batch must wait ahead of need, not {ahead}.')
        self.waited = 0.0  # seconds spent here by the consumer, over all batches so far
        self._batches, self._place = batches, place
        self._ring: queue.SimpleQueue = queue.SimpleQueue()  # of (batch, None), or (None, why it ended)
        self._room = threading.Semaphore(ahead)
        self._closed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._fill, name='feed', daemon=True)
        self._thread.start()

    def __next__(self) -> Arrays:
        if self._over or self._closed.is_set():
            raise StopIteration
        begun = time.perf_counter()
        batch, end = self._ring.get()
        self.waited += time.perf_counter() - begun
        if end is not None:
            self._over = True
            raise end
        self._room.release()
        return batch

    def close(self) -> None:
        """End the thread, let go of what waits and close the source. Does nothing the second time.

        A source that hangs in a read is left to itself after PATIENCE.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self._room.release()  # the thread may be waiting for room; it looks at `_closed` next
        self._thread.join(CLOSE_TIMEOUT)
        self._ring = queue.SimpleQueue()
        if self._thread.is_alive():
            return
        if hasattr(self._batches, 'close'):
            self._batches.close()

    def __enter__(self) -> 'Feed':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                self._room.acquire()
                if self._closed.is_set():
                    return
                self._ring.put((self._place(batch), None))
            self._ring.put((None, StopIteration()))
        except BaseException as error:  # whatever it is, it must not end in a thread that nobody hears
            self._ring.put((None, error))
