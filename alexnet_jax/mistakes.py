"""What is wrong and not our fault: the user's mistakes, and disks that are full. Knows nothing else of the house."""

import errno
import os


class Mistake(ValueError):
    """A wrong input, told in one sentence: what was expected, what came, what to do.

    `main.py` prints the sentence without a traceback and ends with status 2.
    """


def of_the_system(error: BaseException | None) -> str:
    """The sentence about a disk that is full or closed to us, whatever came of it; empty for anything else."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        where = f' ({error.filename})' if isinstance(error, OSError) and error.filename else ''
        if number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
            return f'No space is left{where}; make room and run the same command, which goes on from what is saved.'
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f'{os.strerror(number)}{where}; give another folder, or leave to read and write there.'
        error = error.__cause__
    return ''
