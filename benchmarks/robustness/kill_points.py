"""Named points at which a run is killed, each a hook on a function that ends the process when it is reached.

The hooks are installed in the process that a harness starts, not in the tested code. SIGKILL each time: nothing is
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
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal is delivered to any thread


@dataclasses.dataclass
class Countdown:
    """Counts calls and tells which is the nth."""

    nth: int
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def is_now(self) -> bool:
        """Count one call; return whether it is the nth."""
        with self.lock:
            self.nth -= 1
            return self.nth == 0


@dataclasses.dataclass(frozen=True)
class Call:
    """Kills before, after or some seconds after the beginning of a call of the function with the full name `name`."""

    name: str
    when: str  # before, after, within
    # One of the first `most` calls is drawn.
    most: int = 1
    # For `within`: the largest delay after the beginning of the call.
    seconds: float = 0.0

    def install(self, nth: int, share: float) -> None:
        """Replace the function by the hook."""
        owner, attribute = find_owner(self.name)
        original, count = getattr(owner, attribute), Countdown(nth)

        def hooked(*arguments: Any, **named: Any) -> Any:
            now = count.is_now()
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
    """Kills before or after a file or folder is renamed to a name that matches the pattern."""

    pattern: str
    when: str
    most: int = 1

    def install(self, nth: int, share: float) -> None:
        """Replace os.rename and os.replace by hooks."""
        count = Countdown(nth)
        for function in ('rename', 'replace'):
            setattr(os, function, self._hooked(getattr(os, function), count))

    def _hooked(self, original: Callable[..., Any], count: Countdown) -> Callable[..., Any]:
        def hooked(source: Any, target: Any, **named: Any) -> Any:
            now = fnmatch.fnmatch(os.fspath(target), self.pattern) and count.is_now()
            if now and self.when == 'before':
                die()
            result = original(source, target, **named)
            if now:
                die()
            return result

        return hooked


@dataclasses.dataclass(frozen=True)
class Deletion:
    """Kills while a folder that matches the pattern is deleted, with a share of its files gone."""

    pattern: str
    most: int = 1

    def install(self, nth: int, share: float) -> None:
        """Replace shutil.rmtree by a hook."""
        original, count = shutil.rmtree, Countdown(nth)

        def hooked(path: Any, *arguments: Any, **named: Any) -> Any:
            if fnmatch.fnmatch(os.fspath(path), self.pattern) and count.is_now():
                files = sorted(each for each in Path(path).rglob('*') if each.is_file())
                for file in files[: max(1, int(share * len(files)))]:
                    file.unlink()
                die()
            return original(path, *arguments, **named)

        shutil.rmtree = hooked


@dataclasses.dataclass(frozen=True)
class TornRow:
    """Kills in the middle of a line of metrics.jsonl or timings.jsonl."""

    most: int = 1

    def install(self, nth: int, share: float) -> None:
        """Replace the method that appends rows by a hook."""
        from alexnet_jax.train import metrics_writer

        original, count = metrics_writer.MetricsWriter._append, Countdown(nth)

        def hooked(self: Any, name: str, step: int, numbers: dict[str, Any]) -> None:
            if count.is_now():
                with open(self._directory / name, 'a') as file:
                    file.write(f'{{"step": {step}, "lo')
                die()
            original(self, name, step, numbers)

        metrics_writer.MetricsWriter._append = hooked


STEP = 'alexnet_jax.train.train_step.CompiledStep.__call__'
CHECKPOINTS = 'alexnet_jax.checkpoint.manager.CheckpointManager'
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
    'compilation': Call(STEP, 'within', 1, 1.5),
    'the first step': Call(STEP, 'after', 1),
    'a step': Call(STEP, 'after', 9),
    'evaluation': Call('alexnet_jax.evaluate.evaluator.Evaluator.evaluate', 'within', 3, 0.1),
    'before a save': Call(f'{CHECKPOINTS}.save', 'before', 6),
    'during a save': Call(f'{CHECKPOINTS}.save', 'within', 6, 0.15),
    'before the rename': Rename('*/checkpoints/*[0-9]', 'before', 5),
    'after the rename': Rename('*/checkpoints/*[0-9]', 'after', 5),
    'before it is read back': Call(f'{CHECKPOINTS}._verify_last_save', 'before', 5),
    'before its list of files': Rename('*/checkpoints/*/files.json', 'before', 5),
    'after its list of files': Rename('*/checkpoints/*/files.json', 'after', 5),
    'while an old checkpoint is deleted': Deletion('*/checkpoints/*[0-9]', 3),
    'while leftovers are cleared': Deletion('*.orbax-checkpoint-tmp*'),
    'within a row of the log': TornRow(9),
    'before the log is truncated': Rename('*.jsonl', 'before', 2),
    'after the log is truncated': Rename('*.jsonl', 'after', 2),
    'before run.json': Rename('*/run.json', 'before'),
    'after run.json': Rename('*/run.json', 'after'),
    'before the result': Call('alexnet_jax.report.run_result.write_result', 'before'),
    'after the result': Call('alexnet_jax.report.run_result.write_result', 'after'),
}
POINTS = {**PREPARE, **TRAIN}
# Points that every process reaches; the others belong to the first one, which writes.
OF_ALL = {'compilation', 'the first step', 'a step', 'evaluation', 'before a save', 'during a save'}


def find_owner(name: str) -> tuple[Any, str]:
    """Return the module or class that has the function, and the function's own name."""
    path, _, attribute = name.rpartition('.')
    try:
        return importlib.import_module(path), attribute
    except ModuleNotFoundError:
        owner, last = find_owner(path)
        return getattr(owner, last), attribute
