"""What lies beside the checkpoints of a run, out of orbax's sight: leftovers of kills, and what is damaged.

Knows names and moves, nothing of what is in the folders.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from alexnet_jax.errors import UserError

LEFTOVER = '*.orbax-checkpoint-tmp*'  # folders of saves that were killed
DAMAGED = '.damaged'  # the ending of a checkpoint's folder that was set aside
BEFORE = '.before'  # of one whose step is being saved again, until the new one was read back


def clear(directory: Path) -> None:
    """Removes folders of killed saves, which orbax leaves for ever, and puts back what was to be saved again."""
    for before in directory.glob(f'*{BEFORE}'):
        if (folder := before.with_suffix('')).exists():  # nobody read it back
            give_up(folder)
        before.rename(folder)
    for leftover in directory.glob(LEFTOVER):
        shutil.rmtree(leftover, ignore_errors=True)


def set_aside(folder: Path) -> None:
    """As damaged; kept, not deleted."""
    aside = folder.with_name(f'{folder.name}{DAMAGED}')
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def put_by(folder: Path) -> None:
    """Until the same step is saved again."""
    folder.rename(folder.with_name(f'{folder.name}{BEFORE}'))


def drop(directory: Path) -> None:
    """What was put by, as the new one is whole."""
    for before in directory.glob(f'*{BEFORE}'):
        give_up(before)


def give_up(folder: Path) -> None:
    """Deletes it; renamed first, so that a kill leaves no half of it under its name."""
    leftover = folder.with_name(f'{folder.name}.orbax-checkpoint-tmp-old')
    shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder.rename(leftover), ignore_errors=True)


def damaged(directory: Path) -> list[str]:
    """The names of what was set aside."""
    return sorted(path.name for path in directory.glob(f'*{DAMAGED}'))


def none_left(directory: Path) -> UserError:
    """The sentence where no checkpoint can be used."""
    where = f', where {", ".join(names)} was set aside' if (names := damaged(directory)) else ''
    return UserError(
        f'No whole checkpoint is left in {directory}{where}; put a sound copy there, or train again in a fresh workdir.'
    )


def saved(directory: Path) -> Path:
    """The file that says that the run had a whole checkpoint; beside the folder, since that may get lost."""
    return directory.with_name(f'.{directory.name}.saved')


def check_fresh(directory: Path, rows: bool) -> None:
    """Raises UserError where a run without a checkpoint would begin afresh, unasked, that had some.

    `rows`: whether steps of it are written down, which would be cut away.
    """
    if damaged(directory):
        raise none_left(directory)
    if rows and saved(directory).exists():
        raise UserError(
            f'The run in {directory.parent} had saved checkpoints and {directory} holds none any more; put them back, '
            'or train again in a fresh workdir.'
        )
