"""Writes the numbers of a run to metrics.jsonl, timings.jsonl and TensorBoard, and prints lines and a progress bar.

`metrics.jsonl` holds only what config and seed decide, so that two runs of the same can be compared byte by byte; clock
readings go to `timings.jsonl`. One JSON object on a line, with its `step`.
"""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io
from alexnet_jax.train import tensorboard, timing
from alexnet_jax.train.tensorboard import EventWriter

METRICS_FILE, TIMINGS_FILE, TENSORBOARD_DIR = 'metrics.jsonl', 'timings.jsonl', 'tensorboard'
NOT_FINITE = ('NaN', 'Infinity', '-Infinity')  # as strings: JSON has no such numbers


def read_metrics(workdir: str | Path, *, last_step: int | None = None) -> list[dict[str, Any]]:
    """Return the entries of metrics.jsonl up to a step, in their order, each with its `step`; none without the file.

    A last line that a kill tore is skipped. Raises UserError if another line is damaged.
    """
    entries = [entry for entry, _ in _read_entries(Path(workdir) / METRICS_FILE)]
    return [entry for entry in entries if last_step is None or entry['step'] <= last_step]


def read_timings(workdir: str | Path) -> list[dict[str, Any]]:
    """Return the entries of timings.jsonl, as `read_metrics` does."""
    return [entry for entry, _ in _read_entries(Path(workdir) / TIMINGS_FILE)]


class MetricsWriter:
    """Writes into `workdir`, and prints; does neither unless `enabled` (in all processes but one)."""

    def __init__(self, workdir: str | Path, *, tensorboard: bool, enabled: bool = True):
        self._directory, self._enabled = Path(workdir), enabled
        self._tensorboard = tensorboard and enabled
        self._purge_step: int | None = None
        self._events: EventWriter | None = None
        self._files: dict[str, Any] = {}
        self._progress: Any = None

    def write_metrics(self, step: int, **numbers: Any) -> None:
        """Append numbers (Python's, NumPy's or JAX's scalars) that config and seed decide."""
        self._append(METRICS_FILE, step, numbers)

    def write_timings(self, step: int, **numbers: Any) -> None:
        """Append numbers that depend on the machine and its clock."""
        self._append(TIMINGS_FILE, step, numbers)

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Show a text (Markdown) in TensorBoard."""
        if self._tensorboard:
            self._event_writer().add_text(step, tag, text)

    def add_picture(self, step: int, tag: str, file: str | os.PathLike[str]) -> None:
        """Show a PNG in TensorBoard."""
        if self._tensorboard:
            self._event_writer().add_picture(step, tag, file)

    def print_line(self, text: str) -> None:
        """Print a line to standard output, above the progress bar."""
        if self._enabled:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def update_progress(self, done: int, total: int) -> None:
        """Draw on standard error how far the run is, if that is a terminal; another `total` begins another bar."""
        if not (self._enabled and sys.stderr.isatty()):
            return
        if self._progress is None or self._progress.total != total:
            self.close_progress()
            self._progress = tqdm(total=total, initial=done, leave=False, dynamic_ncols=True)
        self._progress.update(done - self._progress.n)

    def close_progress(self) -> None:
        """Remove the progress bar from the terminal, if there is one."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def truncate_after(self, step: int) -> None:
        """Keep only what was written up to `step`, in both files and for TensorBoard, before a run resumes.

        Each file is replaced atomically. The seconds that the removed rows took go into a last row of the timings, as
        lost.
        """
        if not self._enabled:
            return
        self.close()
        self._purge_step = step + 1
        for name in (METRICS_FILE, TIMINGS_FILE):
            path = self._directory / name
            if path.exists():
                entries = _read_entries(path)
                kept = [line for entry, line in entries if entry['step'] <= step]
                removed = [entry for entry, _ in entries if entry['step'] > step]
                lost = sum(timing.sum_phases(removed).values()) if name == TIMINGS_FILE else 0.0
                _replace_lines(path, kept + [json.dumps({'step': step, 'lost_seconds': lost})] * (lost > 0))

    def time_breakdown(self) -> str:
        """Return a sentence with the shares of the time so far, over all starts of the run."""
        return timing.format_time_breakdown(read_timings(self._directory)) if self._enabled else ''

    def flush(self) -> None:
        """Wait until all that was written is on the disk: before a checkpoint that counts on it."""
        for file in self._files.values():
            os.fsync(file.fileno())
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Close the files and the progress bar. Writing again opens them again."""
        self.close_progress()
        for file in self._files.values():
            file.close()
        self._files = {}
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> 'MetricsWriter':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _append(self, name: str, step: int, numbers: dict[str, Any]) -> None:
        if not self._enabled:
            return
        scalars = {key: _to_scalar(value) for key, value in numbers.items()}
        row = {'step': int(step)} | {key: _to_json(value) for key, value in scalars.items()}
        if name not in self._files:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._files[name] = open(self._directory / name, 'a', encoding='utf-8')  # noqa: SIM115, kept open
        self._files[name].write(json.dumps(row, allow_nan=False) + '\n')
        self._files[name].flush()
        if self._tensorboard:
            tag = tensorboard.metric_tag if name == METRICS_FILE else tensorboard.timing_tag
            self._event_writer().add_scalars(step, {tag(key): value for key, value in scalars.items()})

    def _event_writer(self) -> EventWriter:
        if self._events is None:
            self._events = EventWriter(self._directory / TENSORBOARD_DIR, purge_step=self._purge_step)
        return self._events


def _to_scalar(value: Any) -> bool | int | float:
    """Return a scalar of any library as Python's own number, of exactly its value."""
    scalar = np.asarray(value).item()
    if not isinstance(scalar, bool | int | float):
        raise TypeError(f'{value!r} is not a number.')
    return scalar


def _to_json(number: bool | int | float) -> bool | int | float | str:
    """Return a number as JSON takes it, which writes as many digits of a float as restore it exactly."""
    return number if math.isfinite(number) else json.dumps(number)


def _read_entries(path: Path) -> list[tuple[dict[str, Any], str]]:
    """Return the entries of a file with the lines they came from, without a torn last line."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entry['step'] + 0
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):
                break
            raise UserError(
                f'Line {number} of {path} is damaged: expected a JSON object with a step. Remove that line.'
            ) from error
        restored = {k: float(v) if isinstance(v, str) and v in NOT_FINITE else v for k, v in entry.items()}
        entries.append((restored, line.decode()))
    return entries


def _replace_lines(path: Path, lines: list[str]) -> None:
    with atomic_io.write_atomic(path) as file:
        file.writelines(line + '\n' for line in lines)
