"""The runs of an ablation study: each an ordinary training in a process of its own, several at once, resumable."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.cli import CONFIG_DIR
from alexnet_jax.commands import run_dir
from alexnet_jax.commands.study_progress import StudyProgress
from alexnet_jax.config import schema, validate
from alexnet_jax.errors import UserError
from alexnet_jax.exit_codes import ExitCode
from alexnet_jax.report.run_result import RESULT_FILE
from alexnet_jax.runtime import atomic_io, child_process, signals

POLL_SECONDS = 0.5

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run of the study: its network, its seed, its config and its run directory."""

    network: str
    seed: int
    config: ConfigDict = dataclasses.field(hash=False, compare=False)
    folder: Path

    def __str__(self) -> str:
        """Return its name in messages."""
        return f'{self.network}, seed {self.seed}'

    @property
    def log_file(self) -> Path:
        """The file with what its process prints."""
        return self.folder.with_suffix('.log')

    def is_finished(self) -> bool:
        """Return whether it has its result."""
        return (self.folder / RESULT_FILE).exists()

    def read_errors(self) -> tuple[float, float]:
        """Return the top-1 and the top-5 error of its result. Raises UserError if the file is damaged."""
        file = self.folder / RESULT_FILE
        try:
            result = json.loads(file.read_text())
            return float(result['top1_error']), float(result['top5_error'])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f'{file} is damaged ({error}); remove it, and the same command makes it again.') from error

    def command_flags(self) -> list[str]:
        """Return the flags of main.py that train it: all fields that differ from the defaults."""
        values = validate.flatten_config(self.config)
        own = {
            name: value
            for name, value in values.items()
            if value != schema.FIELDS[name].default and not name.startswith('ablations.')
        }
        return [
            f'--config={CONFIG_DIR / "default.py"}',
            f'--workdir={self.folder.absolute()}',
            *(f'--config.{name}={value}' for name, value in own.items()),
        ]

    def is_held(self) -> bool:
        """Return whether another process trains it: one that a killed study left, or that somebody started by hand."""
        file = self.folder / run_dir.LOCK_FILE
        if not file.exists():
            return False
        try:
            with atomic_io.lock_file(file, 'held'):
                return False
        except UserError:
            return True


def share_devices(parallel: int) -> list[dict[str, str]]:
    """Return for each of the runs at once the variables that give it its part of the GPUs; none where there are none.

    Raises UserError if there are fewer GPUs than runs.
    """
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if os.environ.get('JAX_PLATFORMS', '').startswith('cpu'):
        gpus = []
    elif visible is not None:
        # As CUDA reads it: a negative number hides what follows.
        entries = itertools.takewhile(lambda entry: not entry.startswith('-'), map(str.strip, visible.split(',')))
        gpus = list(filter(None, entries))
    else:
        gpus = [str(number) for number, _ in enumerate(Path('/proc/driver/nvidia/gpus').glob('*'))]
    if not gpus or parallel == 1:
        return [{} for _ in range(parallel)]
    if len(gpus) < parallel:
        raise UserError(f'config.ablations.parallel={parallel} runs need as many GPUs, and there are {len(gpus)}.')
    return [{'CUDA_VISIBLE_DEVICES': ','.join(gpus[number::parallel])} for number in range(parallel)]


class RunQueue:
    """Trains planned runs, as many at once as there are shares of devices, until all have a result or one fails."""

    def __init__(self, runs: Sequence[PlannedRun], shares: Iterable[Mapping[str, str]]):
        self.runs = runs
        self.waiting = [run for run in runs if not run.is_finished()]
        self.free = list(shares)
        self.active: dict[PlannedRun, tuple[subprocess.Popen, Mapping[str, str]]] = {}
        # What to say of runs that ended without a result.
        self.failures: list[str] = []
        self.has_diverged = False
        self._held: set[PlannedRun] = set()
        self._stopped: set[PlannedRun] = set()

    def run_all(self, handler: signals.SignalHandler) -> None:
        """Train all that have no result; return when they have, when a signal came, or when one failed.

        A run whose loss is not finite leaves the others alone. Otherwise those under way are told to save and stop.
        """
        with StudyProgress(self.runs) as progress:
            try:
                while self.waiting or self.active:
                    if handler.poll():
                        self.stop_all()
                    self._start_runs()
                    time.sleep(POLL_SECONDS)
                    for run in self._collect_ended():
                        progress.announce(run)
                    progress.refresh()
            finally:
                self.stop_all()
                for process, _ in self.active.values():
                    process.wait()

    def stop_all(self) -> None:
        """Start no more runs, and tell those under way once to save and stop."""
        self.waiting = []
        for run, (process, _) in self.active.items():
            if run not in self._stopped:
                self._stopped.add(run)
                process.terminate()

    def _start_runs(self) -> None:
        """Start runs while there are devices, those that another process trains later."""
        for run in list(self.waiting):
            if not self.free:
                return
            if run.is_held():
                if run not in self._held:
                    self._held.add(run)
                    log.info('%s is being trained by another process; waiting for that.', run)
                continue
            self.waiting.remove(run)
            if run.is_finished():
                continue
            share = self.free.pop()
            run.folder.parent.mkdir(parents=True, exist_ok=True)
            process = child_process.start_script(
                CONFIG_DIR.parent / 'main.py', run.command_flags(), run.log_file, {**os.environ, **share}
            )
            self.active[run] = process, share

    def _collect_ended(self) -> list[PlannedRun]:
        """Take the runs whose process has ended out of the active ones; return those that have a result."""
        ended = [run for run, (process, _) in self.active.items() if process.poll() is not None]
        finished = []
        for run in ended:
            process, share = self.active.pop(run)
            self.free.append(share)
            if process.returncode == ExitCode.OK and run.is_finished():
                finished.append(run)
            elif run not in self._stopped:
                self.failures.append(_describe_failure(run, process.returncode))
                if process.returncode == ExitCode.NONFINITE_LOSS:
                    self.has_diverged = True
                else:
                    self.stop_all()
        return finished


def _describe_failure(run: PlannedRun, status: int) -> str:
    """Return how a run ended: its status and the last line that it printed."""
    how = f'was killed by signal {-status}' if status < 0 else f'ended with status {status}'
    lines = run.log_file.read_text(errors='replace').split('\n')
    last = next((line.strip() for line in reversed(lines) if line.strip()), '')
    return f'{run} {how}: {last} ({run.log_file})'
