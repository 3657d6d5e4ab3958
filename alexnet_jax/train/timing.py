"""The ledger: on what the time of a run was spent, over all the times it was started. Knows clocks and no steps.

What is spent is written to timings.jsonl with each row; what a kill undid is written there when the run goes on.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SUFFIX = '_seconds'  # the ending of what is spent on a subject; training itself is `seconds`, waiting included
PHASES = {
    'step': 'step',
    'wait': 'input wait',
    'compile': 'compile',
    'evaluation': 'evaluation',
    'checkpoint': 'checkpoint',
    'start': 'start',
    'end': 'end',
    'lost': 'lost to kills',
}


class PhaseTimer:
    """Adds up seconds by subject until they are taken."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def of(self, subject: str) -> Iterator[None]:
        """What is done within is time spent on `subject`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[subject] += time.perf_counter() - began

    def add(self, subject: str, seconds: float) -> None:
        """Time that was measured elsewhere."""
        self._spent[subject] += seconds

    def take(self) -> dict[str, float]:
        """{'evaluation_seconds': 1.5, ...} since the last taking."""
        taken: dict[str, float] = {f'{subject}{SUFFIX}': seconds for subject, seconds in self._spent.items()}
        self._spent.clear()
        return taken


def seconds_by_phase(row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by subject in a row of timings.jsonl, whichever version wrote it."""
    found = {subject: float(row[f'{subject}{SUFFIX}']) for subject in PHASES if f'{subject}{SUFFIX}' in row}
    if 'seconds' in row:
        wait = found.setdefault('wait', row['seconds'] * row.get('waiting', 0.0))
        found['step'] = max(row['seconds'] - wait, 0.0)
    return found


def sum_phases(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by subject over all rows."""
    sums: collections.Counter[str] = collections.Counter()
    for row in rows:
        sums.update(seconds_by_phase(row))
    return dict(sums)


def format_time_breakdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Shares of the time so far, in the order of SUBJECTS: 'step 71 %, input wait 3 %, ...'; empty without any."""
    rows = list(rows)
    sums, starts = sum_phases(rows), sum('start_seconds' in row for row in rows)
    everything = sum(sums.values())
    if not everything:
        return ''
    shares = [f'{name} {sums[word] / everything:.1%}' for word, name in PHASES.items() if sums.get(word)]
    times = 'once' if starts < 2 else f'{starts} times'
    return f'Where the time went ({everything:,.1f} s, started {times}): {", ".join(shares)}.'
