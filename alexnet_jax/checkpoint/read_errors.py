"""Tells damaged checkpoint files from a transient lack of memory, file descriptors or a disk."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.checkpoint import manifest
from alexnet_jax.distributed import sync
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError, first_line

# The system's errors for files that do not exist or are not what their names say: these are damage.
_FILE_ERRORS = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_MEMORY = 'RESOURCE_EXHAUSTED'  # of jax and TensorStore, for devices' memory too
_OTHER_STATUSES = ('PERMISSION_DENIED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED')
_ERROR_NUMBER = re.compile(r'\[OS error (\d+)')  # in TensorStore's messages


class CheckpointUnreadable(UserError):
    """A checkpoint that may be whole could not be read; nothing was changed."""


def unreadable_error(step: int, directory: Path, cause: str) -> CheckpointUnreadable:
    """Return the error for a checkpoint that could not be read."""
    return CheckpointUnreadable(
        f'Could not read the checkpoint of step {step} in {directory} ({cause}). No damage was found and '
        'nothing was changed. Free the memory, file descriptors or disk that it lacks and run the same command again.'
    )


def classify_error(folder: Path, error: BaseException) -> str:
    """Return '' if the error comes from damaged files in `folder`, else its cause.

    If the manifest finds a file changed, that is damage, whatever the error; if it finds all unchanged, it is none. All
    processes must call it, and get the same answer.
    """
    cause, is_changed = transient_cause(error), False
    if is_primary():
        try:
            is_intact = manifest.is_intact(folder)
            is_changed = is_intact is False
            if is_intact:
                cause = cause or f'its files are unchanged; {_format_error(error)}'
        except (OSError, MemoryError) as manifest_error:
            cause = cause or transient_cause(manifest_error) or str(manifest_error)
    if sync.all_max(is_changed) or not sync.all_max(bool(cause)):
        return ''
    return cause or 'another process could not read it'


def transient_cause(error: BaseException) -> str:
    """Return what prevented a read, if that is no damage; else ''."""
    return next(filter(None, map(_cause_of_one, _iter_causes(error))), '')


def _iter_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and all that led to it."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _iter_causes(each)
        yield error
        error = error.__cause__ or error.__context__


def _cause_of_one(error: BaseException) -> str:
    line = first_line(error)
    if isinstance(error, MemoryError):
        return f'no memory is left{f", {line}" if line else ""}'
    if isinstance(error, TimeoutError):
        return _format_error(error)
    numbers = [int(each) for each in _ERROR_NUMBER.findall(str(error))]
    if isinstance(error, OSError) and error.errno is not None:
        numbers.append(error.errno)
    for number in numbers:
        if number not in _FILE_ERRORS:
            where = f' ({error.filename})' if isinstance(error, OSError) and error.filename else ''
            return f'{os.strerror(number)}{where}'
    if not numbers and isinstance(error, RuntimeError | ValueError | OSError):
        if _MEMORY in str(error):
            return f'no memory is left, {_format_error(error)}'
        if any(status in str(error) for status in _OTHER_STATUSES):
            return _format_error(error)
    return ''


def _format_error(error: BaseException) -> str:
    return f'{type(error).__name__}: {first_line(error)}'
