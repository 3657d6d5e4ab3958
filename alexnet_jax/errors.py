"""What is wrong and not our fault: the user's mistakes, and disks and memories that are full. Knows nothing else of
the house.
"""

import errno
import os
import re

# How JAX's runtime says that a device's memory is full: on CPU and GPU, on TPU, and when CUDA itself says so.
_FULL = re.compile(
    r'RESOURCE_EXHAUSTED.*(memory|allocat)|CUDA_ERROR_OUT_OF_MEMORY', re.DOTALL | re.IGNORECASE
)


class UserError(ValueError):
    """A wrong input, told in one sentence: what was expected, what came, what to do.

    `main.py` prints the sentence without a traceback and ends with status 2.
    """


def describe_system_error(error: BaseException | None) -> str:
    """The sentence about a disk that is full or closed to us, or a memory that is full, whatever came of it; empty for
    anything else.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        where = f' ({error.filename})' if isinstance(error, OSError) and error.filename else ''
        if number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
            return f'No space is left{where}; make room and run the same command, which goes on from what is saved.'
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f'{os.strerror(number)}{where}; give another folder, or leave to read and write there.'
        if isinstance(error, MemoryError) or number == errno.ENOMEM or _FULL.search(str(error)):
            first = (str(error).splitlines() or [''])[0].rstrip('.') or 'no more could be had'
            return (
                f'The memory is full ({first[:200]}): to train in less, give a smaller config.train.batch_size, a larger '
                'config.train.grad_accumulation or config.model.compute_dtype=bfloat16; to evaluate or predict, a smaller '
                'config.evaluate.batch_size; to prepare, fewer config.prepare.num_workers.'
            )
        error = error.__cause__
    return ''
