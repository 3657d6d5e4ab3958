"""Where a run is killed: named points in its life, each a function of it that ends the process when it is reached.

The hooks live here, in the process that a harness starts, and not in what is tested. SIGKILL each time: nothing is
flushed, no handler runs, no file is closed.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die() -> None:
    """Ends this process as the kernel would for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal is delivered to any thread


@dataclasses.dataclass
class Countdown:
    """Says 'now' at the nth time it is asked."""

    nth: int
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def now(self) -> bool:
        """Counts once."""
        with self.lock:
            self.nth -= 1
            return self.nth == 0


@dataclasses.dataclass(frozen=True)
class Call:
    """Before, after or some seconds after the beginning of a call of `name`, a function by its full name."""

    name: str
    when: str  # before, after, within
    most: int = 1  # it is drawn which call of the first so many
    seconds: float = 0.0  # within: it is drawn how long after its beginning, up to so long

    def install(self, nth: int, share: float) -> None:
        """Puts the hook in place of the function."""
        owner, attribute = _owner(self.name)
        original, count = getattr(owner, attribute), Countdown(nth)

        def hooked(*arguments: Any, **named: Any) -> Any:
            now = count.now()
            if now and self.when == 'before':
                die()
            if now and self.when == 'within':
                threading.Timer(share * self.seconds, die).start()
            result = original(*arguments, **named)
            if now and self.when == 'after':
                die()
            return result

        setattr(owner, attribute, hooked)


@dataclasses.dataclass(frozen=True)
class Rename:
    """Before or after a file or folder gets its name, which matches the pattern."""

    pattern: str
    when: str
    most: int = 1

    def install(self, nth: int, share: float) -> None:
        """Puts hooks in place of os.rename and os.replace."""
        count = Countdown(nth)
        for function in ('rename', 'replace'):
            setattr(os, function, self._hooked(getattr(os, function), count))

    def _hooked(self, original: Callable[..., Any], count: Countdown) -> Callable[..., Any]:
        def hooked(source: Any, target: Any, **named: Any) -> Any:
            now = fnmatch.fnmatch(os.fspath(target), self.pattern) and count.now()
            if now and self.when == 'before':
                die()
            result = original(source, target, **named)
            if now:
                die()
            return result

        return hooked


@dataclasses.dataclass(frozen=True)
class Deletion:
    """While a folder is deleted that matches the pattern: half of its files are gone."""

    pattern: str
    most: int = 1

    def install(self, nth: int, share: float) -> None:
        """Puts a hook in place of shutil.rmtree."""
        original, count = shutil.rmtree, Countdown(nth)

        def hooked(path: Any, *arguments: Any, **named: Any) -> Any:
            if fnmatch.fnmatch(os.fspath(path), self.pattern) and count.now():
                files = sorted(each for each in Path(path).rglob('*') if each.is_file())
                for file in files[: max(1, int(share * len(files)))]:
                    file.unlink()
                die()
            return original(path, *arguments, **named)

        shutil.rmtree = hooked


@dataclasses.dataclass(frozen=True)
class TornRow:
    """In the middle of a line of the journal."""

    most: int = 1

    def install(self, nth: int, share: float) -> None:
        """Puts a hook in place of the journal's writing."""
        from alexnet_jax.train import metrics_writer

        original, count = metrics_writer.MetricsWriter._append, Countdown(nth)

        def hooked(self: Any, name: str, step: int, numbers: dict[str, Any]) -> None:
            if count.now():
                with open(self._directory / name, 'a') as file:
                    file.write(f'{{"step": {step}, "lo')
                die()
            original(self, name, step, numbers)

        metrics_writer.MetricsWriter._append = hooked


TRAINING = 'alexnet_jax.training'
PREPARE = {
    'within a shard': Call('alexnet_jax.data.example_proto.encode_example', 'after', 90),
    'before a shard has its name': Rename('*.array_record-*-of-?????', 'before', 3),
    'after a shard has its name': Rename('*.array_record-*-of-?????', 'after', 3),
    'after the metadata of a shard': Rename('*/.preparing/*.npz', 'after', 3),
    'before the statistics': Rename('*/statistics.npz', 'before'),
    'before the manifest': Rename('*/manifest.json', 'before'),
    'after the manifest': Rename('*/manifest.json', 'after'),
    'while the staging folder is deleted': Deletion('*/.preparing'),
}
TRAIN = {
    'compilation': Call(f'{TRAINING}.step.Jitted.__call__', 'within', 1, 1.5),
    'the first step': Call(f'{TRAINING}.step.Jitted.__call__', 'after', 1),
    'a step': Call(f'{TRAINING}.step.Jitted.__call__', 'after', 9),
    'evaluation': Call('alexnet_jax.evaluate.evaluator.Evaluator.rates', 'within', 3, 0.1),
    'before a save': Call(f'{TRAINING}.checkpoints.Checkpoints.save', 'before', 6),
    'during a save': Call(f'{TRAINING}.checkpoints.Checkpoints.save', 'within', 6, 0.15),
    'before the rename': Rename('*/checkpoints/*[0-9]', 'before', 5),
    'after the rename': Rename('*/checkpoints/*[0-9]', 'after', 5),
    'before it is read back': Call(f'{TRAINING}.checkpoints.Checkpoints._confirm', 'before', 5),
    'before its inventory': Rename('*/checkpoints/*/files.json', 'before', 5),
    'after its inventory': Rename('*/checkpoints/*/files.json', 'after', 5),
    'while an old checkpoint is deleted': Deletion('*/checkpoints/*[0-9]', 3),
    'while leftovers are cleared': Deletion('*.orbax-checkpoint-tmp*'),
    'within a row of the journal': TornRow(9),
    'before the journal is cut back': Rename('*.jsonl', 'before', 2),
    'after the journal is cut back': Rename('*.jsonl', 'after', 2),
    'before run.json': Rename('*/run.json', 'before'),
    'after run.json': Rename('*/run.json', 'after'),
    'before the result': Call('alexnet_jax.report.run_result.write_result', 'before'),
    'after the result': Call('alexnet_jax.report.run_result.write_result', 'after'),
}
POINTS = {**PREPARE, **TRAIN}
# Those that every process of several comes by; the others are of the first, which writes.
OF_ALL = {'compilation', 'the first step', 'a step', 'evaluation', 'before a save', 'during a save'}


def _owner(name: str) -> tuple[Any, str]:
    """The module or class that has the function, and the function's own name."""
    path, _, attribute = name.rpartition('.')
    try:
        return importlib.import_module(path), attribute
    except ModuleNotFoundError:
        owner, last = _owner(path)
        return getattr(owner, last), attribute
