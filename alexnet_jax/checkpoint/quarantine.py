"""What lies beside the checkpoints of a run, out of orbax's sight: leftovers of kills, and what is damaged.

Knows names and moves, nothing of what is in the folders.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

TEMP_PATTERN = '*.orbax-checkpoint-tmp*'  # folders of saves that were killed
DAMAGED_SUFFIX = '.damaged'  # the ending of a checkpoint's folder that was set aside
STASH_SUFFIX = '.before'  # of one whose step is being saved again, until the new one was read back


def clean_directory(directory: Path) -> None:
    """Removes folders of killed saves, which orbax leaves for ever, and puts back what was to be saved again."""
    for before in directory.glob(f'*{STASH_SUFFIX}'):
        if (folder := before.with_suffix('')).exists():  # nobody read it back
            delete_atomically(folder)
        before.rename(folder)
    for leftover in directory.glob(TEMP_PATTERN):
        shutil.rmtree(leftover, ignore_errors=True)
    for checkpoint in directory.glob('[0-9]*'):
        atomic_io.clean_temp(checkpoint)


def quarantine_checkpoint(folder: Path) -> None:
    """As damaged; kept, not deleted."""
    aside = folder.with_name(f'{folder.name}{DAMAGED_SUFFIX}')
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def stash_checkpoint(folder: Path) -> None:
    """Until the same step is saved again."""
    folder.rename(folder.with_name(f'{folder.name}{STASH_SUFFIX}'))


def drop_stash(directory: Path) -> None:
    """What was put by, as the new one is whole."""
    for before in directory.glob(f'*{STASH_SUFFIX}'):
        delete_atomically(before)


def delete_atomically(folder: Path) -> None:
    """Deletes it; renamed first, so that a kill leaves no half of it under its name."""
    leftover = folder.with_name(f'{folder.name}.orbax-checkpoint-tmp-old')
    shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder.rename(leftover), ignore_errors=True)


def quarantined_names(directory: Path) -> list[str]:
    """The names of what was set aside."""
    return sorted(path.name for path in directory.glob(f'*{DAMAGED_SUFFIX}'))


def no_valid_checkpoint_error(directory: Path) -> UserError:
    """The sentence where no checkpoint can be used."""
    where = f', where {", ".join(names)} was set aside' if (names := quarantined_names(directory)) else ''
    return UserError(
        f'No whole checkpoint is left in {directory}{where}; put a sound copy there, or train again in a fresh workdir.'
    )


def marker_file(directory: Path) -> Path:
    """The file that says that the run had a whole checkpoint; beside the folder, since that may get lost."""
    return directory.with_name(f'.{directory.name}.saved')


def require_fresh_run(directory: Path, rows: bool) -> None:
    """Raises UserError where a run without a checkpoint would begin afresh, unasked, that had some.

    `rows`: whether steps of it are written down, which would be cut away.
    """
    if quarantined_names(directory):
        raise no_valid_checkpoint_error(directory)
    if rows and marker_file(directory).exists():
        raise UserError(
            f'The run in {directory.parent} had saved checkpoints and {directory} holds none any more; put them back, '
            'or train again in a fresh workdir.'
        )
