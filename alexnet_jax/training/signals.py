"""Signals: a run that is asked to stop stops after its step; asked twice, it ends at once.

Knows nothing of what runs: the loop looks at `asked` between steps and saves what it has.
"""

import os
import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A run ended at a signal with everything saved; the same command goes on."""


class Stop:
    """A context in which SIGTERM and SIGINT are heard instead of ending the process.

    A second one ends it with status 128 + its number (143 or 130), even while the main thread waits inside
    a library for something that never comes. Outside the main thread Python allows no handlers: nothing is
    heard.
    """

    def __init__(self) -> None:
        self._asked: str | None = None

    @property
    def asked(self) -> str | None:
        """The name of the first signal that came, such as 'SIGTERM', or None."""
        return self._asked

    def look(self) -> str | None:
        """What the loop asks once after every step: `asked`."""
        return self._asked

    def __enter__(self) -> 'Stop':
        self._heard = threading.current_thread() is threading.main_thread()
        if self._heard:
            # Python runs its handlers only between two instructions of the main thread, which may be stuck in
            # a collective; the byte that its C handler writes at once lets a thread see the second signal.
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            self._pipe = reading, writing
            self._watcher = threading.Thread(target=_watch, args=(reading,), name='signals', daemon=True)
            self._watcher.start()
            self._old_wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            self._old = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        if not self._heard:
            return
        for number, handler in self._old.items():
            # None: it was set by something other than Python, which cannot set it again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._old_wakeup)
        reading, writing = self._pipe
        os.close(writing)
        self._watcher.join()
        os.close(reading)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._asked = self._asked or signal.Signals(number).name


def _watch(reading: int) -> None:
    """End the process at the second signal; return when the other end of the pipe is closed."""
    came = 0
    while byte := os.read(reading, 1):
        came += byte[0] in SIGNALS
        if came == 2:
            os._exit(128 + byte[0])
