"""Why a checkpoint was not read: damage to its files, or want of memory, of open files or of a disk, which is none.

Knows errors and inventories, nothing of what is read.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.checkpoint import manifest
from alexnet_jax.distributed import sync
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError

# What a system says of files that are not there or are not what their names say: such are damage.
_OF_FILES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_MEMORY = 'RESOURCE_EXHAUSTED'  # jax and TensorStore say so of memory, of devices' too
_ELSEWHERE = ('PERMISSION_DENIED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED')
_NUMBER = re.compile(r'\[OS error (\d+)')  # how TensorStore words what the system said
_NONE, _SOUND, _OUTAGE, _CONVICTED = range(4)


class CheckpointUnreadable(UserError):
    """A checkpoint that may be whole could not be read; nothing there was changed."""


def transient_cause(error: BaseException) -> str:
    """What kept something from being read, where that is no damage to it; else empty."""
    return next(filter(None, map(_cause_of_one, _iter_causes(error))), '')


def _iter_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _iter_causes(each)
        yield error
        error = error.__cause__ or error.__context__


def _cause_of_one(error: BaseException) -> str:
    first = (str(error).splitlines() or [''])[0][:200]
    words = f'{type(error).__name__}: {first}'
    if isinstance(error, MemoryError):
        return f'no memory is left{f", {first}" if first else ""}'
    if isinstance(error, TimeoutError):
        return words
    numbers = [int(each) for each in _NUMBER.findall(str(error))]
    if isinstance(error, OSError) and error.errno is not None:
        numbers.append(error.errno)
    for number in numbers:
        if number not in _OF_FILES:
            where = f' ({error.filename})' if isinstance(error, OSError) and error.filename else ''
            return f'{os.strerror(number)}{where}'
    if not numbers and isinstance(error, RuntimeError | ValueError | OSError):
        for word in (_MEMORY, *_ELSEWHERE):
            if word in str(error):
                return f'no memory is left, {words}' if word == _MEMORY else words
    return ''


def classify_error(folder: Path, error: BaseException) -> str:
    """Empty where the error comes of damage to the files of `folder`; else what it came of.

    Where the inventory finds a file changed, that is damage, whatever the error; where it finds all of them as they
    were written, it is none. All processes must call it, and come to one answer.
    """
    words = transient_cause(error)
    verdict = _OUTAGE if words else _NONE
    if is_primary():
        try:
            sound = manifest.is_intact(folder)
            verdict = _CONVICTED if sound is False else max(verdict, _SOUND if sound else _NONE)
        except (OSError, MemoryError) as other:
            words, verdict = words or transient_cause(other) or str(other), _OUTAGE
    verdict = sync.all_max(verdict)
    if verdict == _OUTAGE:
        return words or 'another process could not read it'
    first = (str(error).splitlines() or [''])[0][:200]
    return (
        f'its files are those that were saved; {type(error).__name__}: {first}' if verdict == _SOUND else ''
    )


def unreadable_error(step: int, directory: Path, words: str) -> CheckpointUnreadable:
    """The sentence about a checkpoint that was not read."""
    return CheckpointUnreadable(
        f'The checkpoint of step {step} in {directory} could not be read ({words}), which is no damage to it: nothing '
        'there was changed; free the memory, the open files or the disk that it lacks, and run the same command again.'
    )
