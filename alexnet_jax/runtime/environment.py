"""The process: what holds for all of it and must be set before jax is imported. Devices, memory, cache and words.

Only main.py calls this: whoever imports the package keeps the settings of their own process.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import NoReturn

from ml_collections import ConfigDict

DETERMINISTIC = '--xla_gpu_deterministic_ops=true'


def settings(machine: ConfigDict) -> list[str]:
    """Makes what the section `machine` of a config asks for; a line about each."""
    os.environ['JAX_NUM_CPU_DEVICES'] = str(machine.cpu_devices)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(format='%(message)s', handlers=[Log(sys.stdout)])
    logging.getLogger('alexnet_jax').setLevel(logging.INFO)
    # What orbax and TFDS log as errors they raise too, and it gets its sentence then.
    logging.getLogger('absl').setLevel(logging.CRITICAL)
    return [
        f'machine.cpu_devices: {machine.cpu_devices}, where there is no accelerator',
        f'machine.keep_memory: {_keep_memory() if machine.keep_memory else "off"}',
        f'machine.compilation_cache: {_cache(machine.compilation_cache)}',
        f'machine.deterministic: {_deterministic() if machine.deterministic else "off, a GPU may add in any order"}',
        'log level: of absl, TFDS and orbax what is fatal, of XLA errors',
    ]


class Log(logging.StreamHandler):
    """The words of the run on stdout, the `opening` before the first of them.

    Where nobody reads them any more they go nowhere, and the work goes on.
    """

    opening: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record, behind the opening."""
        if self.opening:
            opening, self.opening = '\n'.join(self.opening), []
            super().emit(logging.makeLogRecord({'msg': opening}))
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Of what went wrong while writing, a reader that left is no error."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _to_nobody()
        else:
            super().handleError(record)


def open_with(lines: list[str]) -> None:
    """The lines come before the first word of the log: who is refused before any work reads the refusal alone."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Log):
            handler.opening = lines


def say(text: str) -> None:
    """Prints it, whether or not anybody reads it to its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _to_nobody()


def _to_nobody() -> None:
    """What stdout still holds, and all that comes, is thrown away."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def hear_callbacks() -> None:
    """What is raised in a library's callback goes no further: Python prints it and the process goes on.

    An interrupt ends the process all the same; nothing is lost by that, as all files are written so that they may be
    left at any moment. The echoes of a save that failed, whose own error orbax raises, are not printed.
    """
    printed = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            os.write(2, b'Interrupted.\n')
            os._exit(130)
        if status := getattr(lost.exc_value, 'status', 0):  # signals.Stopped
            os.write(2, f'{lost.exc_value}\n'.encode())
            os._exit(status)
        if str(lost.exc_value) != 'Event loop is closed':
            printed(lost)

    sys.unraisablehook = hook


def leave(status: int, patience: float = 5) -> NoReturn:
    """Ends the process; threads that hang in a read, for which Python would wait, are waited for so many seconds."""
    until = time.monotonic() + patience
    others = [
        each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon
    ]
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _keep_memory() -> str:
    if platform.libc_ver()[0] != 'glibc':
        return 'left out, it needs glibc'
    # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX: freed pages are kept instead of being faulted in at every step
    made = [ctypes.CDLL(None).mallopt(*option) for option in ((-4, 0), (-1, 2**31 - 1), (-8, 1))]
    return 'on, glibc keeps freed memory' if all(made) else 'refused by glibc'


def _deterministic() -> str:
    given = os.environ.get('XLA_FLAGS', '')
    if DETERMINISTIC not in given:
        os.environ['XLA_FLAGS'] = f'{given} {DETERMINISTIC}'.strip()
    return (
        f'on, {DETERMINISTIC}: on a GPU slower (by how much was not measured), elsewhere it changes nothing'
    )


def _cache(wanted: str) -> str:
    """Where compiled programs are kept from one start to the next; an entry is a few MB, all may be deleted."""
    if not wanted:
        return 'off, each start compiles'
    if wanted == 'auto' and (theirs := os.environ.get('JAX_COMPILATION_CACHE_DIR')):
        return f'as JAX_COMPILATION_CACHE_DIR says, {theirs}'
    folder = (_users_cache() if wanted == 'auto' else Path(wanted).expanduser()) / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        return f'left out, {folder} cannot be written'
    os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder)
    # As jax writes them: whatever took a second to compile, however small.
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')
    return f'compiled programs are kept in {folder}'


def _users_cache() -> Path:
    """Where the user's programs keep what they could make again (XDG Base Directory Specification)."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'alexnet_jax'


def _processor() -> str:
    """A folder's name for processors of one kind: jax would load what was compiled for another, and crash."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    kind = {line for line in lines if line.startswith(('model name', 'flags', 'Features', 'CPU part'))}
    return f'{platform.machine()}-{zlib.crc32(chr(10).join(sorted(kind)).encode()):08x}'
