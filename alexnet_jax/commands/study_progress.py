"""Progress of a study of many runs: a line for each run that ends, and on a terminal a bar for the whole."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from alexnet_jax.report.text import format_percent
from alexnet_jax.train.metrics_writer import METRICS_FILE
from alexnet_jax.train.timing import format_duration

if TYPE_CHECKING:
    from alexnet_jax.commands.ablation_runs import PlannedRun

# Bytes at the end of metrics.jsonl that hold its last rows.
TAIL = 4096

log = logging.getLogger(__name__)


class StudyProgress:
    """Tells what part of the runs is done, those under way by their epochs, and when all will be."""

    def __init__(self, runs: Sequence[PlannedRun]):
        self._runs = runs
        self._began = time.monotonic()
        self._at_start = self._count_done()
        self._bar: Any = None

    def __enter__(self) -> StudyProgress:
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=len(self._runs),
                leave=False,
                dynamic_ncols=True,
                bar_format='{percentage:3.0f}%|{bar}| {n:.1f} of {total} runs{postfix}',
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def announce(self, run: PlannedRun) -> None:
        """Print a line about a run that has its result now."""
        count = sum(each.is_finished() for each in self._runs)
        line = (
            f'{count} of {len(self._runs)} runs: {run}, {format_percent(run.read_errors()[0])} top-1 error'
            f'{self._time_to_go(self._count_done())}'
        )
        if self._bar is None:
            log.info('%s', line)
        else:
            tqdm.write(line, file=sys.stdout)

    def refresh(self) -> None:
        """Redraw the bar, if there is one."""
        if self._bar is not None:
            done = self._count_done()
            self._bar.set_postfix_str(self._time_to_go(done).removeprefix('; '), refresh=False)
            self._bar.update(done - self._bar.n)

    def _count_done(self) -> float:
        """Return the number of finished runs, and the finished parts of the others, under way or stopped."""
        return sum(1 if run.is_finished() else _fraction_done(run) for run in self._runs)

    def _time_to_go(self, done: float) -> str:
        """Return '; 26:40 min to go' at the rate since this study was started or resumed; '' as long as it has none."""
        advanced, left = done - self._at_start, len(self._runs) - done
        if advanced <= 0 or left <= 0:
            return ''
        return f'; {format_duration((time.monotonic() - self._began) * left / advanced)} to go'


def _fraction_done(run: PlannedRun) -> float:
    """Return the part of its epochs that a run without result has trained, by the last row of its metrics."""
    file = Path(run.folder) / METRICS_FILE
    if not file.exists():
        return 0.0
    with open(file, 'rb') as opened:
        opened.seek(max(0, file.stat().st_size - TAIL))
        lines = opened.read().splitlines()
    for line in reversed(lines):
        try:
            return min(1.0, float(json.loads(line)['epoch']) / run.config.train.num_epochs)
        except (ValueError, TypeError, KeyError):
            continue
    return 0.0
