"""The ground of a preparation: a directory that becomes a dataset. Whose it is, who works in it, and if there is room.

Knows which files belong to a dataset and its making, and leaves all others alone.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

ASIDE = '.preparing'  # a folder for the accounts of whole shards and the lock; gone when the dataset is whole
LOCK = 'lock'
REPORT, CARD, PICTURE = 'report.json', 'README.md', 'contact.png'
OTHERS = (*dataset.DESCRIPTION, dataset.STATISTICS, REPORT, CARD)
KNOWN = '|'.join(map(re.escape, (*OTHERS, dataset.MANIFEST, PICTURE)))
OURS = re.compile(
    rf'(\w+-\w+\.array_record-\d{{5,}}-of-\d{{5,}}|{KNOWN})(\.partial)?'
)
QUALITIES, BYTES = (
    (1, 50, 75, 90, 95, 98, 100),
    (0.05, 0.12, 0.17, 0.28, 0.4, 0.56, 0.78),
)  # of a pixel, measured
MARGIN = 2**24  # bytes for everything but the records


def claim(directory: Path) -> None:
    """Makes the directory ours, unless it is somebody's."""
    try:
        if directory.exists() and not (directory / ASIDE).exists():
            foreign = sorted(name for name in os.listdir(directory) if not _is_own(name))
            if foreign:
                raise UserError(
                    f'{directory} holds other things, such as {foreign[0]!r}; give an empty or a new directory.'
                )
        (directory / ASIDE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{directory} cannot become a dataset ({error}); give another directory.') from error


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Holds the directory against a second preparation; however this process ends, the system lets go of it."""
    message = f'{directory} is being prepared by another process; wait for it to end.'
    with atomic_io.lock_file(directory / ASIDE / LOCK, message):
        yield


def clear(directory: Path, wanted: Collection[str]) -> None:
    """Removes what killed preparations left half done, and all but the `wanted` paths of other ones."""
    for folder in (directory, directory / ASIDE):
        for path in folder.iterdir():
            ours = _is_own(path.name) if folder == directory else path.name != LOCK
            if ours and str(path) not in wanted:
                path.unlink()


def _is_own(name: str) -> bool:
    return OURS.fullmatch(name) is not None or atomic_io.is_temp(name)


def release(directory: Path) -> None:
    """Ends the work in a whole dataset; also what a kill at this very place left."""
    shutil.rmtree(directory / ASIDE, ignore_errors=True)


def check_room(directory: Path, images: int, side: int, encoding: str, quality: int, *, twice: bool) -> None:
    """Raises UserError where the disk has no room for so many images, or `twice` so many, beside what lies there."""
    of_a_pixel = 3.0 if encoding == 'raw' else float(np.interp(quality, QUALITIES, BYTES))
    needed = int(images * (side**2 * of_a_pixel + 700) * (2 if twice else 1)) + MARGIN
    present = sum(path.stat().st_size for path in directory.rglob('*.array_record-*'))
    atomic_io.require_free_space(
        directory,
        needed - present,
        subject=f'Preparing {directory}{" (for a while, twice the dataset)" if twice else ""}',
        hint='choose another directory, a smaller config.prepare.image_size or config.prepare.encoding=jpeg',
    )
