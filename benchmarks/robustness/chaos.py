"""Kills a training again and again and holds what it ends in against one that nothing interrupted.

    python benchmarks/robustness/chaos.py --kills=200 --seed=0 --results=benchmarks/results/chaos.jsonl

SIGKILL at random instants and at the named points of kill_points.py, drawn by the seed; after each the same command
is run again. A life is a folder in which a run begins (images are prepared there too), is killed several times and
comes to its end: parameters, momentum, schedule, metrics.jsonl, result.json (but its clocks) and the dataset must
then be those of the uninterrupted run, to the bit, and --mode=verify must find every file sound.

Every kill and every life is a line of the results file; the same command goes on with those that are missing. The
exit status is 0 only where nothing differs; the last line is the figure. The runs go through main.main in processes
that are forked from this one, which has imported everything already; every eighth is a python of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks'), str(ROOT / 'benchmarks' / 'robustness')]

import kill_points  # noqa: E402
from results_file import append_row, read_rows  # noqa: E402

FIELDS = {
    'prepare.num_cutouts': '64,16,16',
    'train.batch_size': 16,
    'train.num_epochs': 4,
    'train.schedule': 'plateau',  # each evaluation but the first is a plateau, and the fourth ends the run
    'train.patience': 1,
    'train.min_delta': 0.99,
    'train.warmup_epochs': 0,
    'evaluate.every_epochs': 0.75,  # three steps
    'evaluate.batch_size': 16,
    'evaluate.views': 1,
    'checkpoint.every_steps': 2,
    'log.every_steps': 2,
    'log.tensorboard': 'false',
}
CLOCKS = ('seconds', 'images_per_second')  # of result.json: what may differ
KILLS_OF_A_LIFE = (6, 14)
OWN_PYTHON = 8  # each so many starts one that is not forked
LONGEST = 1200  # seconds; a run that takes longer hangs


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--devices', type=int, default=2, help='CPU devices of all processes together')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--point', default='', help='this point alone, or random')
    parser.add_argument('--results', type=Path, default=None)
    parser.add_argument('--workdir', type=Path, default=None, help='where the runs lie; kept')
    return parser.parse_args(words)


class Runs:
    """Starts the command under test, in one process or several, and ends it as planned."""

    def __init__(self, given: argparse.Namespace, folder: Path):
        self.given, self.folder, self.started = given, folder, 0
        cache = folder / 'compiled'
        settings = {
            'JAX_PLATFORMS': 'cpu',
            'JAX_NUM_CPU_DEVICES': str(given.devices // given.processes),
            'JAX_COMPILATION_CACHE_DIR': str(cache),
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'OPENBLAS_NUM_THREADS': '1',  # no threads before a fork
        }
        os.environ.update(settings)
        import_everything()

    def command(self, workdir: Path, process: int = 0, port: int = 0) -> list[str]:
        """The words behind `python`."""
        words = [str(ROOT / 'main.py'), f'--workdir={workdir}']
        words += [f'--config.{name}={value}' for name, value in FIELDS.items()]
        words += [f'--config.machine.cpu_devices={self.given.devices // self.given.processes}']
        words += [f'--config.mesh=1,{min(self.given.devices, 2)}']
        if self.given.processes > 1:
            words += [f'--coordinator=localhost:{port}', f'--processes={self.given.processes}']
            words += [f'--process={process}']
        return words

    def run(self, workdir: Path, plan: dict[str, Any] | None) -> list[int]:
        """The exit statuses of a run that is killed as planned, or not at all; negative: by that signal."""
        self.started += 1
        port, log = free_port(), workdir.with_suffix('.log')
        victim = plan['victim'] if plan else 0
        named = plan is not None and plan['point'] != 'random'
        # All or none: a fork leaves without jax's farewell, for which a python of its own waits for minutes.
        own = not named and self.started % OWN_PYTHON == 0
        children = []
        for process in range(self.given.processes):
            words = self.command(workdir, process, port)
            hook = plan if named and process == victim else None
            if own:
                with open(log, 'ab') as file:
                    own = subprocess.Popen([sys.executable, *words], stdout=file, stderr=file)
                children.append(own.pid)
            else:
                children.append(fork(words, hook, log))
        try:
            return self._reap(children, plan, victim)
        except (
            BaseException
        ):  # whoever ends the harness ends these too; they would be in the way of the next one's
            for child in children:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
            raise

    def _reap(self, children: list[int], plan: dict[str, Any] | None, victim: int) -> list[int]:
        """Waits; kills at the planned instant; where one of several was killed, kills the others as schedulers do."""
        began, statuses = time.monotonic(), {}
        at_random = plan and plan['point'] == 'random'
        killed = None
        while len(statuses) < len(children):
            for child in children:
                if child not in statuses:
                    pid, status = os.waitpid(child, os.WNOHANG)
                    if pid:
                        statuses[child] = os.waitstatus_to_exitcode(status)
            now = time.monotonic()
            # By the processor's time, so that a busy machine does not move the instant.
            if at_random and children[victim] not in statuses and worked(children[victim]) > plan['seconds']:
                os.kill(children[victim], signal.SIGKILL)
                at_random = False
            if killed is None and -signal.SIGKILL in statuses.values():
                killed = now
            if (killed and now - killed > plan['others']) or now - began > LONGEST:
                for child in set(children) - statuses.keys():
                    os.kill(child, signal.SIGKILL)
                killed = now
            time.sleep(0.002)
        return [statuses[child] for child in children]


def worked(process: int) -> float:
    """Seconds of processor time that a process has had (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def import_everything() -> None:
    """What the command imports on its way, so that forks have it; nothing here starts a device or a thread."""
    import grain  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    import skimage.data  # noqa: F401
    import tensorflow_datasets  # noqa: F401

    import main  # noqa: F401
    from alexnet_jax import commands  # noqa: F401
    from alexnet_jax.commands import prepare, train, verify  # noqa: F401
    from alexnet_jax.prepare import builder, sources  # noqa: F401
    from alexnet_jax.report.plots import contact_sheet  # noqa: F401


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(('localhost', 0))
        return listening.getsockname()[1]


def fork(words: list[str], plan: dict[str, Any] | None, log: Path) -> int:
    """The command in a process that is forked from this one, with a hook where one is planned; its id."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = words
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        import jax

        import main

        if plan:
            if plan['point'] == 'compilation':
                jax.config.update('jax_enable_compilation_cache', False)
            kill_points.POINTS[plan['point']].install(plan['nth'], plan['share'])
        status = main.main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def planned(given: argparse.Namespace, life: int, kill: int, workdir: Path) -> dict[str, Any] | None:
    """Where the run of a life is killed next, drawn by the seed; None: it has been killed often enough."""
    chance = random.Random(f'{given.seed} {life} {kill}')
    if kill >= random.Random(f'{given.seed} {life}').randint(*KILLS_OF_A_LIFE):
        return None
    prepared = (workdir / 'dataset' / 'manifest.json').exists()
    names = list(kill_points.TRAIN if prepared else kill_points.PREPARE)
    point = given.point or chance.choice([*names, *['random'] * (len(names) // 3)])
    kind = kill_points.POINTS.get(point)
    return {
        'point': point,
        'nth': 1
        + int((kind.most if kind else 1) * chance.random() ** 2),  # a run that goes on late has few left
        'share': chance.random(),
        'seconds': chance.uniform(0, 5 if prepared else 2),
        'victim': chance.randrange(given.processes) if point in {'random', *kill_points.OF_ALL} else 0,
        'others': chance.uniform(0, 0.5),
    }


def differences(workdir: Path, whole: Path) -> list[str]:
    """In what the run in `workdir` differs from the uninterrupted one, and which of its files are not sound."""
    files = ('metrics.jsonl', 'dataset/manifest.json')
    found = [name for name in files if (workdir / name).read_bytes() != (whole / name).read_bytes()]
    results = [json.loads((each / 'result.json').read_text()) for each in (workdir, whole)]
    for result in results:
        for clock in CLOCKS:
            del result[clock]
    found += ['result.json'] * (results[0] != results[1])
    # The SHA-256 of every column of parameters and momentum, and the schedule's state; verify reads the values.
    found += ['the last checkpoint'] * (newest(workdir) != newest(whole))
    steps = [row['step'] for row in map(json.loads, open(workdir / 'metrics.jsonl')) if 'loss' in row]
    found += ['rows'] * (steps != sorted(set(steps)))
    log = workdir.with_suffix('.verify.log')
    child = fork([str(ROOT / 'main.py'), '--mode=verify', f'--workdir={workdir}'], None, log)
    found += ['files that are not sound'] * (os.waitpid(child, 0)[1] != 0)
    return found


def newest(workdir: Path) -> Any:
    """Step, sums and record of the last checkpoint."""
    steps = [int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()]
    return max(steps), json.loads(
        (workdir / 'checkpoints' / str(max(steps)) / 'record' / 'metadata').read_text()
    )


def live(runs: Runs, life: int, results: Path, killed: int) -> dict[str, Any]:
    """One life from where it is to its end; the row about it."""
    given, workdir = runs.given, runs.folder / f'life{life}'
    attempt = kill = killed
    while True:
        wanted = planned(given, life, attempt, workdir)
        began = time.monotonic()
        statuses = runs.run(workdir, wanted)
        died = -signal.SIGKILL in statuses and time.monotonic() - began < LONGEST
        if not died:
            break
        append_row(results, {**setting(given), 'life': life, 'kill': kill, **wanted})
        kill, attempt = kill + 1, attempt + 1
    if statuses != [0] * given.processes:
        found = [f'it ended with the statuses {statuses}; its words are in {workdir.with_suffix(".log")}']
    else:
        found = differences(workdir, runs.folder / 'whole')
    return {**setting(given), 'life': life, 'kills': kill, 'differences': found}


def setting(given: argparse.Namespace) -> dict[str, int]:
    """What tells the rows of one setting from those of another."""
    return {'seed': given.seed, 'devices': given.devices, 'processes': given.processes}


def run(words: list[str] | None = None) -> int:
    """All kills that are missing; the exit status."""
    given = arguments(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = given.workdir or Path(tempfile.mkdtemp(prefix='chaos_'))
    folder.mkdir(parents=True, exist_ok=True)
    results = given.results or folder / 'results.jsonl'
    runs, whole = Runs(given, folder.absolute()), folder.absolute() / 'whole'
    if not (whole / 'result.json').exists() and runs.run(whole, None) != [0] * given.processes:
        sys.exit(f'The uninterrupted run failed; its words are in {whole.with_suffix(".log")}.')
    while True:
        rows = [row for row in read_rows(results) if setting(given).items() <= row.items()]
        lives = [row for row in rows if 'differences' in row]
        kills = [row for row in rows if 'point' in row]
        if len(kills) >= given.kills and {row['life'] for row in kills} <= {row['life'] for row in lives}:
            break
        life = len(lives)
        row = live(runs, life, results, sum(each['life'] == life for each in kills))
        append_row(results, row)
        print(f'life {life}: {row["kills"]} kills, {"; ".join(row["differences"]) or "the same"}', flush=True)
        if not row['differences']:
            shutil.rmtree(runs.folder / f'life{life}')
    different = sum(bool(row['differences']) for row in lives)
    points = len({row['point'] for row in kills})
    print(
        f'{len(kills)} kills at {points} points in {len(lives)} runs ({given.devices} devices, '
        f'{given.processes} processes): {different} differ from the uninterrupted run'
    )
    return int(different > 0)


if __name__ == '__main__':
    sys.exit(run())
