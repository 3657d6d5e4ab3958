"""Signals: a run that is asked to stop stops after its step, or at once where nothing is lost; asked twice, it ends.

Knows nothing of what runs: the loop looks at `asked` between steps and saves what it has, and says by `leaving` what
may be left in the middle.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 10  # seconds that the main thread has to come back from a library before the process ends without it
STATUS = 3  # of a process that stopped with everything saved


class Asked(BaseException):
    """A signal came where work may be left in the middle. Like KeyboardInterrupt no Exception: nobody catches it so."""


class Stopped(BaseException):
    """A run ended at a signal with everything saved; the same command goes on."""

    status = STATUS


@contextlib.contextmanager
def at_once(words: str, *, together: bool = False) -> Iterator[None]:
    """A context in which the first signal ends the work: raises Stopped, which says `words` after the signal's name."""
    with Stop(together=together) as stop, stop.leaving(words):
        yield


class Stop:
    """A context in which SIGTERM and SIGINT are heard instead of ending the process.

    A second one ends it with status 128 + its number (143 or 130), even while the main thread waits inside
    a library for something that never comes. Outside the main thread Python allows no handlers: nothing is
    heard.
    """

    def __init__(self, *, together: bool = False) -> None:
        """`together`: one of several processes, which must not leave anything alone; `leaving` then does nothing."""
        self._asked: str | None = None
        self.together = together
        self._left: str | None = None  # what `leaving` says, while it holds

    @property
    def asked(self) -> str | None:
        """The name of the first signal that came, such as 'SIGTERM', or None."""
        return self._asked

    def look(self) -> str | None:
        """What the loop asks once after every step: `asked`."""
        return self._asked

    @contextlib.contextmanager
    def leaving(self, words: str = '') -> Iterator[None]:
        """Within it the first signal raises Asked in the main thread, at once, or Stopped where there are `words`.

        With words the process ends with STATUS even while the main thread is in a library that does not come back.
        """
        if self.together:
            yield
            return
        before, self._left = self._left, words
        try:
            if self._asked:
                self._leave()
            yield
        finally:
            self._left = before

    def _leave(self) -> None:
        words, self._left = self._left, None  # once
        raise Stopped(f'{self._asked} came: {words}') if words else Asked(self._asked)

    def __enter__(self) -> 'Stop':
        self._heard = threading.current_thread() is threading.main_thread()
        if self._heard:
            # Python runs its handlers only between two instructions of the main thread, which may be stuck in
            # a collective; the byte that its C handler writes at once lets a thread see the second signal.
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            self._pipe = reading, writing
            self._watcher = threading.Thread(target=self._watch, args=(reading,), name='signals', daemon=True)
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
        first, self._asked = self._asked is None, self._asked or signal.Signals(number).name
        if first and self._left is not None:
            self._leave()

    def _watch(self, reading: int) -> None:
        """End the process at the second signal; return when the other end of the pipe is closed."""
        came = 0
        while True:
            words = self._left
            if came == 1 and words and not select.select([reading], [], [], GRACE)[0]:
                print(f'A signal came: {words}', file=sys.stderr, flush=True)
                os._exit(STATUS)
            byte = os.read(reading, 1)
            if not byte:
                return
            came += byte[0] in SIGNALS
            if came == 2:
                os._exit(128 + byte[0])
