"""Errors that are not bugs: the user's mistakes, and full or closed disks and memories."""

import errno
import os
import re

from alexnet_jax.exit_codes import ExitCode

# JAX's messages for a full device memory: on CPU and GPU, on TPU, and CUDA's own.
_OUT_OF_MEMORY = re.compile(r'RESOURCE_EXHAUSTED.*(memory|allocat)|CUDA_ERROR_OUT_OF_MEMORY', re.DOTALL | re.IGNORECASE)


class UserError(ValueError):
    """A wrong input. The message is one sentence: what is wrong, what was expected, what to do.

    main.py prints it without a traceback.
    """

    exit_code = ExitCode.USER_ERROR


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters; empty if it has none."""
    return str(error).strip().partition('\n')[0][:200]


def describe_system_error(error: BaseException | None) -> str:
    """Return a sentence if a full or closed disk or a full memory caused the error; empty for any other error."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        where = f' ({error.filename})' if isinstance(error, OSError) and error.filename else ''
        if number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
            return f'No space is left{where}; free some space and run the same command to continue.'
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f'{os.strerror(number)}{where}; choose another folder, or grant permission to read and write.'
        if isinstance(error, MemoryError) or number == errno.ENOMEM or _OUT_OF_MEMORY.search(str(error)):
            reason = first_line(error).rstrip('.') or 'an allocation failed'
            return (
                f'The memory is full ({reason}). To train in less, lower config.train.batch_size, raise '
                'config.train.grad_accumulation or set config.model.compute_dtype=bfloat16; to evaluate or predict, '
                'lower config.evaluate.batch_size; to prepare, lower config.prepare.num_workers.'
            )
        error = error.__cause__
    return ''
