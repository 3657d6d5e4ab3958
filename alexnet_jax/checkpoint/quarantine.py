"""Folders beside the checkpoints of a run, hidden from orbax: leftovers of kills, and damaged checkpoints."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from alexnet_jax.checkpoint import unmerged
from alexnet_jax.errors import UserError, first_line
from alexnet_jax.runtime import atomic_io

TEMP_PATTERN = '*.orbax-checkpoint-tmp*'  # folders of saves that were killed
DAMAGED_SUFFIX = '.damaged'  # of the folder of a checkpoint in quarantine
STASH_SUFFIX = '.before'  # of one whose step is being saved again, until the new one was read back

log = logging.getLogger(__name__)


def clean_directory(directory: Path) -> None:
    """Remove folders of killed saves, which orbax leaves for ever, and put back what was to be saved again.

    Checkpoints whose arrays were not merged are whole after that, and leave quarantine.
    """
    for stashed in directory.glob(f'*{STASH_SUFFIX}'):
        # A new one was not read back.
        if (folder := stashed.with_suffix('')).exists():
            delete_atomically(folder)
        stashed.rename(folder)
    for leftover in directory.glob(TEMP_PATTERN):
        shutil.rmtree(leftover, ignore_errors=True)
    for checkpoint in directory.glob('[0-9]*'):
        atomic_io.clean_temp(checkpoint)
        if unmerged.is_unmerged(checkpoint):
            _recover_unmerged(checkpoint)


def _recover_unmerged(folder: Path) -> None:
    target = folder.with_name(folder.name.removesuffix(DAMAGED_SUFFIX))
    if not target.name.isdecimal() or (folder != target and target.exists()):
        return
    try:
        unmerged.merge_arrays(folder)
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        log.warning('The arrays of %s could not be merged (%s).', folder, first_line(error))
        return
    folder.rename(target)
    log.info('Merged the arrays of the checkpoint of step %s, which was saved in a path with *, ? or [.', target.name)


def quarantine_checkpoint(folder: Path) -> None:
    """Rename a damaged checkpoint, which is kept."""
    target = folder.with_name(f'{folder.name}{DAMAGED_SUFFIX}')
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def stash_checkpoint(folder: Path) -> None:
    """Rename a checkpoint until the same step is saved again."""
    folder.rename(folder.with_name(f'{folder.name}{STASH_SUFFIX}'))


def drop_stash(directory: Path) -> None:
    """Delete what was stashed, when the new one is whole."""
    for stashed in directory.glob(f'*{STASH_SUFFIX}'):
        delete_atomically(stashed)


def delete_atomically(folder: Path) -> None:
    """Delete a checkpoint, renamed first, so that a kill leaves no half of it under its name."""
    leftover = folder.with_name(f'{folder.name}.orbax-checkpoint-tmp-old')
    shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder.rename(leftover), ignore_errors=True)


def quarantined_names(directory: Path) -> list[str]:
    """Return the names of the checkpoints in quarantine."""
    return sorted(path.name for path in directory.glob(f'*{DAMAGED_SUFFIX}'))


def no_valid_checkpoint_error(directory: Path) -> UserError:
    """Return the error for a run without a usable checkpoint."""
    names = quarantined_names(directory)
    for folder in sorted(directory.glob('[0-9]*')):
        if unmerged.is_unmerged(folder):
            reason = unmerged.explain_missing_arrays(folder)
            return UserError(f'No whole checkpoint is left in {directory}, but {folder.name} can be mended: {reason}.')
    damaged = f' (damaged: {", ".join(names)})' if names else ''
    return UserError(
        f'No whole checkpoint is left in {directory}{damaged}. Restore one from a copy, or train again in a new '
        '--workdir.'
    )


def marker_file(directory: Path) -> Path:
    """Return the file that says that the run had a whole checkpoint; outside the folder, which may get lost."""
    return directory.with_name(f'.{directory.name}.saved')


def require_fresh_run(directory: Path, has_rows: bool) -> None:
    """Raise UserError if a run without a checkpoint had some, so that it would silently begin again.

    `has_rows`: its log has rows, which would be removed.
    """
    if quarantined_names(directory):
        raise no_valid_checkpoint_error(directory)
    if has_rows and marker_file(directory).exists():
        raise UserError(
            f'The run in {directory.parent} had saved checkpoints, and {directory} has none. Restore them from a copy, '
            'or train again in a new --workdir.'
        )
