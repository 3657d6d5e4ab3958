"""Damages every file of a checkpoint and of a prepared dataset, and sees whether anyone is deceived.

    python benchmarks/robustness/damage.py --cases=2000 --seed=0 --results=benchmarks/results/damage.jsonl

One bit flipped, truncated, zeroed or deleted, at places drawn by the seed, file by file in turn. Every case ends in a
verdict: `detected` (the file is named; of a checkpoint the one before it is used), `identical` (what is read is what
was written), or else what is wrong. Every change must be told by what --mode=verify asks, too. Most cases are read in
this process, also where several wrote the files; some are through main.py, in as many processes as wrote them, where
the run must end in the same result or in a sentence that names the damage.

Every case is a line of the results file; the same command goes on with those that are missing. The exit status is 0
only where each is detected or identical; the last line is the figure.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chaos
import numpy as np
from results_file import append_row, read_rows  # noqa: E402

KINDS = ('bit', 'truncated', 'zeroed', 'deleted')
SOUND = ('detected', 'identical')
UNCHECKED = ('contact.png',)  # a picture for people, not part of the dataset


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--cases', type=int, default=200)
    parser.add_argument('--main', type=int, default=20, help='of these so many through main.py')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--devices', type=int, default=2, help='CPU devices of all processes together')
    parser.add_argument('--processes', type=int, default=1, help='that write the files')
    parser.add_argument('--results', type=Path, default=None)
    parser.add_argument('--workdir', type=Path, default=None, help='where the run lies; kept')
    return parser.parse_args()


@contextlib.contextmanager
def damaged(path: Path, kind: str, chance: random.Random) -> Iterator[bool]:
    """The file is damaged within; whether it differs from before."""
    before = path.read_bytes()
    after = bytearray(before)
    if kind == 'bit' and before:
        after[chance.randrange(len(before))] ^= 1 << chance.randrange(8)
    elif kind == 'truncated' and before:
        after = after[: chance.randrange(len(before))]
    elif kind == 'zeroed':
        after = bytes(len(before))
    if kind == 'deleted':
        path.unlink()
    else:
        path.write_bytes(after)
    try:
        yield kind == 'deleted' or bytes(after) != before
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(before)


class Listener(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One more line."""
        self.words.append(record.getMessage())


class Run:
    """A run that has ended, with what its checkpoints and its dataset hold."""

    def __init__(self, workdir: Path):
        from alexnet_jax.commands import factories, run_dir
        from configs import quickstart

        self.workdir, self.checkpoints, self.dataset = workdir, workdir / 'checkpoints', workdir / 'dataset'
        config = run_dir.restore_config(quickstart.get_config(), str(workdir))
        data = factories.open_or_prepare_dataset(config, str(workdir))
        arch = factories.make_architecture(config, data)
        self.like = factories.abstract_checkpoint(config, arch, factories.make_device_mesh(config, arch))
        self.steps = sorted(int(path.name) for path in self.checkpoints.iterdir() if path.name.isdigit())
        self.held = {step: self._restored(step) for step in self.steps[-2:]}
        self.best = self._opened().best()
        self.records = self._records()

    def files(self) -> list[Path]:
        """Every file of the newest checkpoint and of the dataset."""
        return sorted(path for path in files_of(self.workdir) if path.name not in UNCHECKED)

    def verdict(self, path: Path, kind: str, chance: random.Random) -> str:
        """What comes of that damage."""
        of_dataset = path.is_relative_to(self.dataset)
        with damaged(path, kind, chance) as differs:
            try:
                seen = self._of_dataset() if of_dataset else self._of_checkpoint()
                told = self._told(path, of_dataset)
            except Exception as error:
                return f'{type(error).__name__}: {error}'
            finally:
                self._put_back()
        if differs and not told and seen in SOUND:
            return f'{seen}, but not told by verify'
        return seen

    def _opened(self) -> Any:
        from alexnet_jax.checkpoint.manager import CheckpointManager

        return CheckpointManager(self.checkpoints)

    def _restored(self, step: int | None) -> Any:
        import jax

        found, state, record = self._opened().restore(self.like, step)
        return found, jax.device_get(state), record

    def _of_checkpoint(self) -> str:
        """By restoring as a run does that goes on."""
        newest, before = self.steps[-1], self.steps[-2]
        listener = Listener()
        logging.getLogger().addHandler(listener)
        try:
            best = self._opened().best()
            found = self._restored(None)
        finally:
            logging.getLogger().removeHandler(listener)
        if not same(found, self.held[found[0]]):
            return 'silently wrong'
        if found[0] == newest:
            return 'identical' if best in (self.best, before) else f'identical, but the best is {best}'
        named = any(f'step {newest} is damaged' in line for line in listener.words)
        return (
            'detected' if named and found[0] == before else 'the one before is not used, or nothing is said'
        )

    def _of_dataset(self) -> str:
        """By opening it and reading all of it."""
        from alexnet_jax.errors import UserError

        try:
            found = self._records()
        except UserError as mistake:
            return 'detected' if str(self.dataset) in str(mistake) else f'not named: {mistake}'
        return 'identical' if same(found, self.records) else 'silently wrong'

    def _records(self) -> Any:
        from alexnet_jax.data import dataset

        data = dataset.open_dataset(self.dataset)
        splits = {name: data.split(name) for name in data.counts}
        records = {name: [split[i] for i in range(len(split))] for name, split in splits.items()}
        return records, data.mean, data.pca_basis, data.class_names, data.counts

    def _told(self, path: Path, of_dataset: bool) -> bool:
        """Whether what mode verify asks knows of it."""
        from alexnet_jax.checkpoint import manifest
        from alexnet_jax.data import dataset

        if of_dataset:
            manifest_gone = path.name == dataset.MANIFEST_FILE
            return any(
                str(path) in fault or manifest_gone
                for fault in dataset.find_problems(self.dataset).values()
                if fault
            )
        of_step = self.checkpoints / str(self.steps[-1])
        aside = of_step.with_name(f'{of_step.name}.damaged')
        faults = manifest.find_problems(aside if aside.exists() else of_step)
        return aside.exists() or faults is None or any(faults.values())

    def _put_back(self) -> None:
        newest = self.checkpoints / str(self.steps[-1])
        aside = newest.with_name(f'{newest.name}.damaged')
        if aside.exists():
            shutil.rmtree(newest, ignore_errors=True)
            aside.rename(newest)


def opened(whole: Path, devices: int) -> Run:
    """The run, in this process, with as many devices as all that wrote it had together."""
    import jax

    jax.config.update('jax_num_cpu_devices', devices)
    return Run(whole)


def same(one: Any, other: Any) -> bool:
    """Whether two trees hold equal arrays and values."""
    import jax

    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def through_main(
    runs: chaos.Runs, whole: Path, case: Path, path: Path, kind: str, chance: random.Random
) -> str:
    """What comes of that damage in a copy of the run when the same command is given again."""
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(whole, case)
    log = case.with_suffix('.log')
    log.unlink(missing_ok=True)
    victim = case / path.relative_to(whole)
    with damaged(victim, kind, chance):
        statuses = runs.run(case, None)
    said = log.read_text(errors='replace')
    if statuses == [2] * len(statuses):
        return 'detected' if victim.name in said or str(case) in said else f'not named: {said[-300:]}'
    if statuses != [0] * len(statuses):
        return f'ended with {statuses}: {said[-300:]}'
    results = [json.loads((each / 'result.json').read_text()) for each in (case, whole)]
    kept = [{k: v for k, v in result.items() if k not in chaos.TIMINGS} for result in results]
    rows = [(each / 'metrics.jsonl').read_bytes() for each in (case, whole)]
    if (
        kept[0] != kept[1]
        or rows[0] != rows[1]
        or chaos.newest_checkpoint(case) != chaos.newest_checkpoint(whole)
    ):
        return 'silently wrong'
    return 'detected' if ' is damaged: ' in said else 'identical'


def case_of(files: list[Path], seed: int, number: int) -> tuple[Path, str, random.Random]:
    """File, kind and chance of a case: every file by every kind in turn."""
    return (
        files[number % len(files)],
        KINDS[number // len(files) % len(KINDS)],
        random.Random(f'{seed} {number}'),
    )


def run() -> int:
    """All cases that are missing; the exit status."""
    given = arguments()
    folder = (given.workdir or Path(tempfile.mkdtemp(prefix='damage_'))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results = given.results or folder / 'results.jsonl'
    runs, whole = chaos.Runs(given, folder), folder / 'whole'
    if not (whole / 'result.json').exists() and runs.run(whole, None) != [0] * given.processes:
        sys.exit(f'The undamaged run failed; its words are in {whole.with_suffix(".log")}.')
    rows = [row for row in read_rows(results) if chaos.row_key(given).items() <= row.items()]
    done = {row['case'] for row in rows}
    held = None
    for number in range(given.cases):
        if number in done:
            continue
        if number < given.main:  # first, since forks come before jax has devices
            files = sorted(each for each in files_of(whole) if each.name not in UNCHECKED)
            path, kind, chance = case_of(files, given.seed, 7 * number)  # spread over the files
            verdict = through_main(runs, whole, folder / 'case', path, kind, chance)
        else:
            held = held or opened(whole, given.devices)
            path, kind, chance = case_of(held.files(), given.seed, number)
            verdict = held.verdict(path, kind, chance)
        row = {**chaos.row_key(given), 'case': number, 'main': number < given.main, 'kind': kind}
        row |= {'file': str(path.relative_to(whole)), 'verdict': verdict}
        append_row(results, row)
        rows.append(row)
        if verdict not in SOUND:
            print(f'case {number}, {row["file"]} {kind}: {verdict}', flush=True)
    return told(rows, given)


def files_of(workdir: Path) -> list[Path]:
    """Every file of the newest checkpoint and of the dataset."""
    steps = [int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()]
    both = [*(workdir / 'checkpoints' / str(max(steps))).rglob('*'), *(workdir / 'dataset').rglob('*')]
    return [path for path in both if path.is_file()]


def told(rows: list[dict[str, Any]], given: argparse.Namespace) -> int:
    """Prints the figure; the exit status."""
    verdicts = collections.Counter(row['verdict'] if row['verdict'] in SOUND else 'wrong' for row in rows)
    silent = sum(row['verdict'] == 'silently wrong' for row in rows)
    print(
        f'{len(rows)} cases ({sum(row["main"] for row in rows)} through main.py; {given.devices} devices, '
        f'{given.processes} processes): {verdicts["detected"]} detected, {verdicts["identical"]} identical, '
        f'{verdicts["wrong"]} otherwise, {silent} silently wrong'
    )
    return int(verdicts['wrong'] > 0)


if __name__ == '__main__':
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    sys.exit(run())
