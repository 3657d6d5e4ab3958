"""Damages every file of a checkpoint and of a prepared dataset, and checks that the damage is detected.

    python benchmarks/robustness/damage.py --cases=2000 --seed=0 --results=benchmarks/results/damage.jsonl

One bit flipped, truncated, zeroed or deleted, at places drawn by the seed, file by file in turn. Every case ends in a
verdict: `detected` (the file is named; of a checkpoint the one before it is used), `identical` (what is read is what
was written), or else what is wrong. The checks of --mode=verify must find every change, too. Most cases are read in
this process, even if several wrote the files; some go through main.py, in as many processes as wrote them, and the run
must end in the same result or in a message that names the damage.

Every case is a line of the results file; the same command continues with the missing ones. The exit status is 0 only if
each is detected or identical; the last line is the figure.
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


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
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
def damage_file(path: Path, kind: str, chance: random.Random) -> Iterator[bool]:
    """Damage the file within the context, which gets whether it differs from before."""
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
    """Keeps the messages that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append(record.getMessage())


class Run:
    """A run that has ended, with the content of its checkpoints and its dataset."""

    def __init__(self, workdir: Path):
        from alexnet_jax.commands import factories, run_dir
        from configs import quickstart

        self.workdir, self.checkpoints, self.dataset = workdir, workdir / 'checkpoints', workdir / 'dataset'
        config = run_dir.restore_config(quickstart.get_config(), str(workdir))
        data = factories.open_or_prepare_dataset(config, str(workdir))
        arch = factories.make_architecture(config, data)
        self.like = factories.abstract_checkpoint(config, arch, factories.make_device_mesh(config, arch))
        self.steps = sorted(int(path.name) for path in self.checkpoints.iterdir() if path.name.isdigit())
        self.content = {step: self._restore(step) for step in self.steps[-2:]}
        self.best = self._open().best()
        self.records = self._records()

    def files(self) -> list[Path]:
        """Return every file of the newest checkpoint and of the dataset."""
        return sorted(path for path in list_files(self.workdir) if path.name not in UNCHECKED)

    def verdict(self, path: Path, kind: str, chance: random.Random) -> str:
        """Return how that damage is handled."""
        of_dataset = path.is_relative_to(self.dataset)
        with damage_file(path, kind, chance) as differs:
            try:
                verdict = self._read_dataset() if of_dataset else self._read_checkpoint()
                is_found = self._is_found_by_verify(path, of_dataset)
            except Exception as error:
                return f'{type(error).__name__}: {error}'
            finally:
                self._undo_quarantine()
        if differs and not is_found and verdict in SOUND:
            return f'{verdict}, but not found by verify'
        return verdict

    def _open(self) -> Any:
        from alexnet_jax.checkpoint.manager import CheckpointManager

        return CheckpointManager(self.checkpoints)

    def _restore(self, step: int | None) -> Any:
        import jax

        found, state, record = self._open().restore(self.like, step)
        return found, jax.device_get(state), record

    def _read_checkpoint(self) -> str:
        """Restore as a resumed run does; return the verdict."""
        newest, before = self.steps[-1], self.steps[-2]
        listener = Listener()
        logging.getLogger().addHandler(listener)
        try:
            best = self._open().best()
            found = self._restore(None)
        finally:
            logging.getLogger().removeHandler(listener)
        if not trees_equal(found, self.content[found[0]]):
            return 'silently wrong'
        if found[0] == newest:
            return 'identical' if best in (self.best, before) else f'identical, but the best is {best}'
        named = any(f'step {newest} is damaged' in line for line in listener.messages)
        return 'detected' if named and found[0] == before else 'the one before is not used, or it is not named'

    def _read_dataset(self) -> str:
        """Open the dataset and read all of it; return the verdict."""
        from alexnet_jax.errors import UserError

        try:
            found = self._records()
        except UserError as mistake:
            return 'detected' if str(self.dataset) in str(mistake) else f'not named: {mistake}'
        return 'identical' if trees_equal(found, self.records) else 'silently wrong'

    def _records(self) -> Any:
        from alexnet_jax.data import dataset

        data = dataset.open_dataset(self.dataset)
        splits = {name: data.split(name) for name in data.counts}
        records = {name: [split[i] for i in range(len(split))] for name, split in splits.items()}
        return records, data.mean, data.pca_basis, data.class_names, data.counts

    def _is_found_by_verify(self, path: Path, of_dataset: bool) -> bool:
        """Return whether the checks of --mode=verify find the damage."""
        from alexnet_jax.checkpoint import manifest
        from alexnet_jax.data import dataset

        if of_dataset:
            manifest_gone = path.name == dataset.MANIFEST_FILE
            return any(
                str(path) in fault or manifest_gone for fault in dataset.find_problems(self.dataset).values() if fault
            )
        of_step = self.checkpoints / str(self.steps[-1])
        aside = of_step.with_name(f'{of_step.name}.damaged')
        faults = manifest.find_problems(aside if aside.exists() else of_step)
        return aside.exists() or faults is None or any(faults.values())

    def _undo_quarantine(self) -> None:
        newest = self.checkpoints / str(self.steps[-1])
        aside = newest.with_name(f'{newest.name}.damaged')
        if aside.exists():
            shutil.rmtree(newest, ignore_errors=True)
            aside.rename(newest)


def open_run(whole: Path, devices: int) -> Run:
    """Open the run in this process, with as many devices as all processes that wrote it had together."""
    import jax

    jax.config.update('jax_num_cpu_devices', devices)
    return Run(whole)


def trees_equal(one: Any, other: Any) -> bool:
    """Return whether two trees hold equal arrays and values."""
    import jax

    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def run_through_main(runs: chaos.Runs, whole: Path, case: Path, path: Path, kind: str, chance: random.Random) -> str:
    """Return how that damage in a copy of the run is handled when the same command is run again."""
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(whole, case)
    log = case.with_suffix('.log')
    log.unlink(missing_ok=True)
    victim = case / path.relative_to(whole)
    with damage_file(victim, kind, chance):
        statuses = runs.run(case, None)
    # Messages are wrapped to the width of a terminal.
    output = ' '.join(log.read_text(errors='replace').split())
    if statuses == [2] * len(statuses):
        return 'detected' if victim.name in output or str(case) in output else f'not named: {output[-300:]}'
    if statuses != [0] * len(statuses):
        return f'ended with {statuses}: {output[-300:]}'
    results = [json.loads((each / 'result.json').read_text()) for each in (case, whole)]
    kept = [{k: v for k, v in result.items() if k not in chaos.TIMINGS} for result in results]
    rows = [(each / 'metrics.jsonl').read_bytes() for each in (case, whole)]
    if kept[0] != kept[1] or rows[0] != rows[1] or chaos.newest_checkpoint(case) != chaos.newest_checkpoint(whole):
        return 'silently wrong'
    return 'detected' if ' is damaged: ' in output else 'identical'


def draw_case(files: list[Path], seed: int, number: int) -> tuple[Path, str, random.Random]:
    """Return the file, kind and random generator of a case: every file by every kind in turn."""
    return (files[number % len(files)], KINDS[number // len(files) % len(KINDS)], random.Random(f'{seed} {number}'))


def main() -> int:
    """Run the cases that are missing; return the exit status."""
    args = parse_args()
    folder = (args.workdir or Path(tempfile.mkdtemp(prefix='damage_'))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results = args.results or folder / 'results.jsonl'
    runs, whole = chaos.Runs(args, folder), folder / 'whole'
    if not (whole / 'result.json').exists() and runs.run(whole, None) != [0] * args.processes:
        sys.exit(f'The undamaged run failed; see {whole.with_suffix(".log")}.')
    rows = [row for row in read_rows(results) if chaos.row_key(args).items() <= row.items()]
    done = {row['case'] for row in rows}
    run = None
    for number in range(args.cases):
        if number in done:
            continue
        if number < args.main:  # first, since forks come before jax has devices
            files = sorted(each for each in list_files(whole) if each.name not in UNCHECKED)
            path, kind, chance = draw_case(files, args.seed, 7 * number)  # spread over the files
            verdict = run_through_main(runs, whole, folder / 'case', path, kind, chance)
        else:
            run = run or open_run(whole, args.devices)
            path, kind, chance = draw_case(run.files(), args.seed, number)
            verdict = run.verdict(path, kind, chance)
        row = {**chaos.row_key(args), 'case': number, 'main': number < args.main, 'kind': kind}
        row |= {'file': str(path.relative_to(whole)), 'verdict': verdict}
        append_row(results, row)
        rows.append(row)
        if verdict not in SOUND:
            print(f'case {number}, {row["file"]} {kind}: {verdict}', flush=True)
    return report(rows, args)


def list_files(workdir: Path) -> list[Path]:
    """Return every file of the newest checkpoint and of the dataset."""
    steps = [int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()]
    both = [*(workdir / 'checkpoints' / str(max(steps))).rglob('*'), *(workdir / 'dataset').rglob('*')]
    return [path for path in both if path.is_file()]


def report(rows: list[dict[str, Any]], args: argparse.Namespace) -> int:
    """Print the figure; return the exit status."""
    verdicts = collections.Counter(row['verdict'] if row['verdict'] in SOUND else 'wrong' for row in rows)
    silent = sum(row['verdict'] == 'silently wrong' for row in rows)
    print(
        f'{len(rows)} cases ({sum(row["main"] for row in rows)} through main.py; {args.devices} devices, '
        f'{args.processes} processes): {verdicts["detected"]} detected, {verdicts["identical"]} identical, '
        f'{verdicts["wrong"]} otherwise, {silent} silently wrong'
    )
    return int(verdicts['wrong'] > 0)


if __name__ == '__main__':
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    sys.exit(main())
