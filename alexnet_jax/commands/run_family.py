"""Families: the runs, or the checkpoints of runs, that one path pattern names.

/runs/seed*                  every run whose folder is named so, at the checkpoint of config.evaluate.checkpoint
/runs/seed*/checkpoints/*    every checkpoint that these runs keep
/runs/seed0/checkpoints/500  one of them
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_jax.commands.run_dir import CHECKPOINTS_DIR, RUN_FILE
from alexnet_jax.errors import UserError


class RunAddress(NamedTuple):
    """A run directory and the step of one of its checkpoints; '': that of config.evaluate.checkpoint."""

    run_dir: str
    step: str = ''

    def expand(self, template: str, *, step: str) -> str:
        """Return a path with {workdir}, {run} (its last folder) and {step} filled in."""
        values = {'workdir': self.run_dir, 'run': os.path.basename(os.path.abspath(self.run_dir)), 'step': step}
        return re.sub(r'\{(workdir|run|step)\}', lambda match: values[match[1]], template)


def find_runs(pattern: str) -> list[RunAddress]:
    """Return what a path or a pattern names, numbers in names by their value.

    Raises UserError if that is no run and no checkpoint of one.
    """
    is_pattern = glob.has_magic(pattern) and not os.path.lexists(pattern)
    paths = sorted(glob.glob(pattern), key=_natural_order) if is_pattern else [pattern]
    if addresses := [address for path in paths if (address := parse_address(path))]:
        return addresses
    if not is_pattern:
        # The mode itself says what the folder lacks.
        return [RunAddress(pattern)]
    raise UserError(
        f'--workdir={pattern} names no run and no checkpoint. Name a run directory, or several by a pattern such as '
        f"'/runs/seed*' or '/runs/seed*/{CHECKPOINTS_DIR}/*', in quotes."
    )


def parse_address(path: str) -> RunAddress | None:
    """Return the run, or the checkpoint of a run, that lies at `path`; None if there is none."""
    folder = Path(path)
    if (folder / RUN_FILE).is_file():
        return RunAddress(path)
    if folder.name.isdecimal() and folder.parent.name == CHECKPOINTS_DIR and folder.is_dir():
        return RunAddress(str(folder.parent.parent), folder.name)
    return None


def common_folder(addresses: Sequence[RunAddress]) -> Path:
    """Return the folder that all runs lie in; of a single run, or its checkpoints, the run directory."""
    return Path(os.path.commonpath([os.path.abspath(address.run_dir) for address in addresses]))


def rows_of_each_run(members: Iterable[tuple[Path, list[dict[str, Any]]]]) -> list[list[dict[str, Any]]]:
    """Return the rows of metrics.jsonl of each run directory once: of several checkpoints of a run the longest."""
    longest: dict[Path, list[dict[str, Any]]] = {}
    for folder, rows in members:
        key = folder.absolute()
        longest[key] = max(longest.get(key, []), rows, key=len)
    return list(longest.values())


def _natural_order(path: str) -> list[tuple[int, str]]:
    """Return a key by which step 90 comes before step 100."""
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'(\d+)', path)]
