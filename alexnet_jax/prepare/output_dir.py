"""Output directory of a dataset build: ownership check, lock, cleanup, free-space check.

Knows which files belong to a dataset and its build, and leaves all others alone.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from alexnet_jax.data import dataset
from alexnet_jax.data.encoding import RAW, EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

STAGING_DIR = '.preparing'  # holds the lock and the metadata of finished shards; deleted with the end of the build
LOCK_FILE = 'lock'
REPORT_FILE, README_FILE, CONTACT_SHEET_FILE = 'report.json', 'README.md', 'contact.png'
METADATA_FILES = (*dataset.TFDS_FILES, dataset.STATISTICS_FILE, REPORT_FILE, README_FILE)
_NAMES = '|'.join(map(re.escape, (*METADATA_FILES, dataset.MANIFEST_FILE, CONTACT_SHEET_FILE)))
# Builds by version 0.2 and its predecessors wrote to NAME.partial.
OWN_FILES = re.compile(rf'(\w+-\w+\.array_record-\d{{5,}}-of-\d{{5,}}|{_NAMES})(\.partial)?')
# Bytes of a JPEG per pixel by its quality, measured on photographs.
JPEG_QUALITIES = (1, 50, 75, 90, 95, 98, 100)
BYTES_PER_PIXEL = (0.05, 0.12, 0.17, 0.28, 0.4, 0.56, 0.78)
BYTES_PER_RECORD = 700  # beside the pixels
MARGIN_BYTES = 2**24  # for all files but the shards


def claim_output_dir(directory: Path) -> None:
    """Create the staging folder. Raises UserError if the directory has foreign files or cannot be written."""
    try:
        if directory.exists() and not (directory / STAGING_DIR).exists():
            foreign = sorted(name for name in os.listdir(directory) if not _is_own_file(name))
            if foreign:
                raise UserError(
                    f'{directory} holds other files, such as {foreign[0]!r}. Choose an empty or a new directory.'
                )
        (directory / STAGING_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{directory} cannot hold a dataset ({error}). Choose another directory.') from error


@contextlib.contextmanager
def lock_output_dir(directory: Path) -> Iterator[None]:
    """Hold the directory against a second build. Raises UserError if one is running."""
    message = f'{directory} is being prepared by another process. Wait for it to end.'
    with atomic_io.lock_file(directory / STAGING_DIR / LOCK_FILE, message):
        yield


def clean_output_dir(directory: Path, keep: Collection[str]) -> None:
    """Delete what killed builds left unfinished, and all files of other builds; those with paths in `keep` stay."""
    for folder in (directory, directory / STAGING_DIR):
        for path in folder.iterdir():
            own = _is_own_file(path.name) if folder == directory else path.name != LOCK_FILE
            if own and str(path) not in keep:
                path.unlink()


def _is_own_file(name: str) -> bool:
    return OWN_FILES.fullmatch(name) is not None or atomic_io.is_temp(name)


def remove_staging_dir(directory: Path) -> None:
    """Delete the staging folder of a finished dataset; also one that a kill at this point left."""
    shutil.rmtree(directory / STAGING_DIR, ignore_errors=True)


def require_space_for_dataset(directory: Path, num_images: int, spec: EncodingSpec, copies: int) -> None:
    """Raise UserError if the disk is too small for so many `copies` of the dataset; shards that are there count."""
    per_pixel = 3.0
    if spec.encoding != RAW:
        per_pixel = float(np.interp(spec.jpeg_quality, JPEG_QUALITIES, BYTES_PER_PIXEL))
    needed = int(num_images * (spec.image_size**2 * per_pixel + BYTES_PER_RECORD) * copies) + MARGIN_BYTES
    present = sum(path.stat().st_size for path in directory.rglob('*.array_record-*'))
    atomic_io.require_free_space(
        directory,
        needed - present,
        subject=f'Preparing {directory}{" (for a while, twice the dataset)" if copies > 1 else ""}',
        hint='choose another directory, a smaller config.prepare.image_size or config.prepare.encoding=jpeg',
    )
