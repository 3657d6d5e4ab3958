"""Settings of the whole process, made before jax is imported, and its exit.

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

from alexnet_jax.exit_codes import ExitCode
from alexnet_jax.runtime import jax_variables, streams
from alexnet_jax.runtime.signals import StoppedGracefully

# Fields of config.machine that `configure_environment` takes.
SETTINGS = ('cpu_devices', 'keep_memory', 'compilation_cache', 'deterministic')
# Threads of whoever runs main.py in their own process, such as a notebook: not to be waited for.
_FOREIGN_THREADS = frozenset(threading.enumerate())


def configure_logging() -> None:
    """Print the package's log on stdout; of other libraries only what is fatal (absl, TFDS, orbax) or wrong."""
    streams.open_standard_streams()
    logging.basicConfig(format='%(message)s', handlers=[streams.LogHandler(sys.stdout)])
    logging.getLogger('alexnet_jax').setLevel(logging.INFO)
    # What orbax and TFDS log as errors they raise too.
    logging.getLogger('absl').setLevel(logging.CRITICAL)
    # Without a home folder it keeps its cache in a temporary one, and says so at length.
    logging.getLogger('matplotlib').setLevel(logging.ERROR)


def configure_environment(
    *, cpu_devices: int, keep_memory: bool, compilation_cache: str, deterministic: bool
) -> list[str]:
    """Apply settings that must precede the import of jax: of config.machine, and jax's own variables.

    Returns a line about each setting, and about the variables of jax and XLA that are heeded or set. Raises UserError
    if XLA refuses XLA_FLAGS.
    """
    before = dict(os.environ)
    jax_variables.check_xla_flags()
    jax_variables.pin_variables(cpu_devices)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    settings = [
        f'machine.cpu_devices: {cpu_devices}, unless there is an accelerator',
        f'machine.keep_memory: {_tune_malloc() if keep_memory else "off"}',
        f'machine.compilation_cache: {_set_compilation_cache(compilation_cache)}',
        f'machine.deterministic: {_require_determinism() if deterministic else "off, a GPU may add in any order"}',
    ]
    changed = [f'{name}={value}' for name, value in os.environ.items() if before.get(name) != value]
    heeded = [
        f'{name}={value}'
        for name, value in os.environ.items()
        if before.get(name) == value and name not in jax_variables.PINNED and jax_variables.is_read_by_jax(name)
    ]
    return [
        *settings,
        f'environment, set here: {" ".join(changed)}',
        *([f'environment, heeded: {" ".join(heeded)}'] if heeded else []),
    ]


def install_unraisable_hook() -> None:
    """End the process at an interrupt raised in a library's callback, which Python would only print.

    Nothing is lost by that, as every file is written atomically. The echo of a failed save, whose own error orbax
    raises, is not printed.
    """
    default_hook = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        if isinstance(error, KeyboardInterrupt):
            os.write(2, b'Interrupted.\n')
            os._exit(ExitCode.INTERRUPTED)
        if isinstance(error, StoppedGracefully):
            os.write(2, f'{error}\n'.encode())
            os._exit(error.exit_code)
        if str(error) != 'Event loop is closed':
            default_hook(unraisable)

    sys.unraisablehook = hook


def exit_process(status: int, timeout: float = 5) -> NoReturn:
    """Exit without waiting more than `timeout` seconds for threads that hang in a read; Python would wait forever."""
    deadline = time.monotonic() + timeout
    others = [
        each
        for each in threading.enumerate()
        if each not in {threading.current_thread(), *_FOREIGN_THREADS} and not each.daemon
    ]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _tune_malloc() -> str:
    if platform.libc_ver()[0] != 'glibc':
        return 'left out, it needs glibc'
    # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX: freed pages are kept instead of being faulted in at every step
    results = [ctypes.CDLL(None).mallopt(*option) for option in ((-4, 0), (-1, 2**31 - 1), (-8, 1))]
    return 'on, glibc keeps freed memory' if all(results) else 'refused by glibc'


def _require_determinism() -> str:
    flags = os.environ.get('XLA_FLAGS', '')
    flag = jax_variables.DETERMINISTIC_FLAG
    if flag not in flags:
        os.environ['XLA_FLAGS'] = f'{flags} {flag}'.strip()
    return f'on, {flag}; slower on a GPU, no change elsewhere'


def _set_compilation_cache(path: str) -> str:
    """Set where compiled programs are kept from one start to the next; each is a few MB, all may be deleted."""
    if not path:
        return 'off, each start compiles'
    if path == 'auto' and (users_own := os.environ.get('JAX_COMPILATION_CACHE_DIR')):
        return f'{users_own}, set by JAX_COMPILATION_CACHE_DIR'
    try:
        folder = (_user_cache_dir() if path == 'auto' else Path(path).expanduser()) / _cpu_fingerprint()
    except RuntimeError:
        return 'off, this user has no home folder; set XDG_CACHE_HOME or config.machine.compilation_cache'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        return f'off, {folder} cannot be written'
    os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder)
    # Keep every program, however small, as jax does by default.
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')
    return str(folder)


def _user_cache_dir() -> Path:
    """Return the package's folder in the user's cache (XDG Base Directory Specification)."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'alexnet_jax'


def _cpu_fingerprint() -> str:
    """Return a folder name for this kind of processor: jax would load what was compiled for another, and crash."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    kind = {line for line in lines if line.startswith(('model name', 'flags', 'Features', 'CPU part'))}
    return f'{platform.machine()}-{zlib.crc32(chr(10).join(sorted(kind)).encode()):08x}'
