"""SIGTERM and SIGINT: the first stops after the current step, or at once if no progress is lost; the second exits."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from alexnet_jax.exit_codes import ExitCode

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Time that the main thread has to return from a library before the process exits without it.
GRACE_SECONDS = 10


class InterruptNow(BaseException):
    """A signal arrived within an interruptible block. Not an Exception, so that no `except Exception` catches it."""


class StoppedGracefully(BaseException):
    """A run ended at a signal with everything saved; the same command continues it."""

    exit_code = ExitCode.STOPPED


@contextlib.contextmanager
def interrupt_immediately(message: str, *, multi_process: bool = False) -> Iterator[None]:
    """End the block at the first signal: raises StoppedGracefully, with `message` after the signal's name."""
    with SignalHandler(multi_process=multi_process) as handler, handler.interruptible(message):
        yield


class SignalHandler:
    """A context in which the first SIGTERM or SIGINT is recorded instead of ending the process.

    The second one exits with status 128 + its number (143 or 130), even if the main thread is stuck in a library.
    Outside the main thread Python allows no handlers, and nothing is recorded.
    """

    def __init__(self, *, multi_process: bool = False) -> None:
        """With `multi_process` no process stops by itself, as others would wait: `interruptible` does nothing."""
        self.multi_process = multi_process
        self._received: str | None = None
        # The message of the innermost interruptible block; None outside of all.
        self._message: str | None = None

    @property
    def received(self) -> str | None:
        """The name of the first signal, such as 'SIGTERM', or None."""
        return self._received

    def poll(self) -> str | None:
        """Return `received`; called once after every step, as `SignalSync.poll` is with several processes."""
        return self._received

    @contextlib.contextmanager
    def interruptible(self, message: str = '') -> Iterator[None]:
        """Let the first signal end the block at once: raises InterruptNow in the main thread, or StoppedGracefully.

        StoppedGracefully is raised if there is a `message`; then the process exits after GRACE_SECONDS even if the
        main thread is in a library that does not return.
        """
        if self.multi_process:
            yield
            return
        outer, self._message = self._message, message
        try:
            if self._received:
                self._interrupt()
            yield
        finally:
            self._message = outer

    def _interrupt(self) -> None:
        message, self._message = self._message, None  # once
        raise (StoppedGracefully(f'Received {self._received}; {message}') if message else InterruptNow(self._received))

    def __enter__(self) -> 'SignalHandler':
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            # Python runs its handlers only between two instructions of the main thread, which may be stuck in
            # a collective; the byte that its C handler writes at once lets a thread see the second signal.
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            self._pipe = reading, writing
            self._watcher = threading.Thread(
                target=self._watch_second_signal, args=(reading,), name='signals', daemon=True
            )
            self._watcher.start()
            self._old_wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            self._old_handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        if not self._installed:
            return
        for number, handler in self._old_handlers.items():
            # None: it was set by something other than Python, which cannot set it again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._old_wakeup)
        reading, writing = self._pipe
        os.close(writing)
        self._watcher.join()
        os.close(reading)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        is_first, self._received = self._received is None, self._received or signal.Signals(number).name
        if is_first and self._message is not None:
            self._interrupt()

    def _watch_second_signal(self, reading: int) -> None:
        """Exit the process at the second signal; return when the other end of the pipe is closed."""
        count = 0
        while True:
            message = self._message
            if count == 1 and message and not select.select([reading], [], [], GRACE_SECONDS)[0]:
                print(f'Received a signal; {message}', file=sys.stderr, flush=True)
                os._exit(ExitCode.STOPPED)
            byte = os.read(reading, 1)
            if not byte:
                return
            count += byte[0] in SIGNALS
            if count == 2:
                os._exit(128 + byte[0])
