"""The ground of a preparation: a directory that becomes a dataset. Whose it is, who works in it, and if there is room.

Knows which files belong to a dataset and its making, and leaves all others alone.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

STAGING_DIR = '.preparing'  # a folder for the accounts of whole shards and the lock; gone when the dataset is whole
LOCK = 'lock'
REPORT_FILE, README_FILE, CONTACT_SHEET_FILE = 'report.json', 'README.md', 'contact.png'
METADATA_FILES = (*dataset.TFDS_FILES, dataset.STATISTICS_FILE, REPORT_FILE, README_FILE)
KNOWN = '|'.join(map(re.escape, (*METADATA_FILES, dataset.MANIFEST_FILE, CONTACT_SHEET_FILE)))
OWN_FILES = re.compile(
    rf'(\w+-\w+\.array_record-\d{{5,}}-of-\d{{5,}}|{KNOWN})(\.partial)?'
)
JPEG_QUALITY_POINTS, BYTES_PER_PIXEL = (
    (1, 50, 75, 90, 95, 98, 100),
    (0.05, 0.12, 0.17, 0.28, 0.4, 0.56, 0.78),
)  # of a pixel, measured
MARGIN = 2**24  # bytes for everything but the records


def claim_output_dir(directory: Path) -> None:
    """Makes the directory ours, unless it is somebody's."""
    try:
        if directory.exists() and not (directory / STAGING_DIR).exists():
            foreign = sorted(name for name in os.listdir(directory) if not _is_own_file(name))
            if foreign:
                raise UserError(
                    f'{directory} holds other things, such as {foreign[0]!r}; give an empty or a new directory.'
                )
        (directory / STAGING_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{directory} cannot become a dataset ({error}); give another directory.') from error


@contextlib.contextmanager
def lock_output_dir(directory: Path) -> Iterator[None]:
    """Holds the directory against a second preparation; however this process ends, the system lets go of it."""
    message = f'{directory} is being prepared by another process; wait for it to end.'
    with atomic_io.lock_file(directory / STAGING_DIR / LOCK, message):
        yield


def clean_output_dir(directory: Path, wanted: Collection[str]) -> None:
    """Removes what killed preparations left half done, and all but the `wanted` paths of other ones."""
    for folder in (directory, directory / STAGING_DIR):
        for path in folder.iterdir():
            ours = _is_own_file(path.name) if folder == directory else path.name != LOCK
            if ours and str(path) not in wanted:
                path.unlink()


def _is_own_file(name: str) -> bool:
    return OWN_FILES.fullmatch(name) is not None or atomic_io.is_temp(name)


def remove_staging_dir(directory: Path) -> None:
    """Ends the work in a whole dataset; also what a kill at this very place left."""
    shutil.rmtree(directory / STAGING_DIR, ignore_errors=True)
    atomic_io.clean_temp(directory)


def require_space_for_dataset(directory: Path, images: int, side: int, encoding: str, quality: int, *, twice: bool) -> None:
    """Raises UserError where the disk has no room for so many images, or `twice` so many, beside what lies there."""
    of_a_pixel = 3.0 if encoding == 'raw' else float(np.interp(quality, JPEG_QUALITY_POINTS, BYTES_PER_PIXEL))
    needed = int(images * (side**2 * of_a_pixel + 700) * (2 if twice else 1)) + MARGIN
    present = sum(path.stat().st_size for path in directory.rglob('*.array_record-*'))
    atomic_io.require_free_space(
        directory,
        needed - present,
        subject=f'Preparing {directory}{" (for a while, twice the dataset)" if twice else ""}',
        hint='choose another directory, a smaller config.prepare.image_size or config.prepare.encoding=jpeg',
    )
