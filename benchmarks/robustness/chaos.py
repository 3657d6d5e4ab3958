"""Kills a training again and again and compares its end with that of an uninterrupted one.

    python benchmarks/robustness/chaos.py --kills=200 --seed=0 --results=benchmarks/results/chaos.jsonl

SIGKILL at random instants and at the named points of kill_points.py, drawn by the seed; after each the same command
is run again. A life is a folder in which a run begins (images are prepared there too), is killed several times and
ends: parameters, momentum, schedule, metrics.jsonl, result.json (except its timings) and the dataset must then equal
those of the uninterrupted run, to the bit, and --mode=verify must find every file sound.

Every kill and every life is a line of the results file; the same command continues with the missing ones. The exit
status is 0 only if nothing differs; the last line is the figure. The runs go through main.main in processes forked
from this one, which has imported everything already; every eighth is a new Python process.
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
    'train.schedule': 'plateau',  # each evaluation except the first is a plateau, and the fourth ends the run
    'train.patience': 1,
    'train.min_delta': 0.99,
    'train.warmup_epochs': 0,
    'evaluate.every_epochs': 0.75,  # three steps
    'evaluate.batch_size': 16,
    'evaluate.views': 1,
    'checkpoint.every_steps': 2,
    'log.every_steps': 2,
    'log.tensorboard': 'false',
    'log.pictures': 'false',  # seconds at each evaluation
}
TIMINGS = ('seconds', 'images_per_second')  # of result.json; these may differ
KILLS_OF_A_LIFE = (6, 14)
NEW_PYTHON_EVERY = 8  # runs; the others are forked
MAX_SECONDS = 1200  # a run that takes longer hangs


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--life', type=int, nargs=2, default=KILLS_OF_A_LIFE, help='fewest and most kills of a life')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--devices', type=int, default=2, help='CPU devices of all processes together')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--point', default='', help='this point alone, or random')
    parser.add_argument('--results', type=Path, default=None)
    parser.add_argument('--workdir', type=Path, default=None, help='where the runs lie; kept')
    return parser.parse_args(argv)


class Runs:
    """Starts the tested command, in one process or several, and kills it as planned."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder, self.started = args, folder, 0
        settings = {
            'JAX_PLATFORMS': 'cpu',
            'JAX_NUM_CPU_DEVICES': str(args.devices // args.processes),
            'JAX_COMPILATION_CACHE_DIR': str(folder / 'compiled'),
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'OPENBLAS_NUM_THREADS': '1',  # no threads before a fork
        }
        os.environ.update(settings)
        import_everything()

    def command(self, workdir: Path, process: int = 0, port: int = 0) -> list[str]:
        """Return the arguments of `python`."""
        argv = [str(ROOT / 'main.py'), f'--workdir={workdir}']
        argv += [f'--config.{name}={value}' for name, value in FIELDS.items()]
        argv += [f'--config.machine.cpu_devices={self.args.devices // self.args.processes}']
        argv += [f'--config.mesh=1,{min(self.args.devices, 2)}']
        if self.args.processes > 1:
            argv += [f'--coordinator=localhost:{port}', f'--processes={self.args.processes}']
            argv += [f'--process={process}']
        return argv

    def run(self, workdir: Path, plan: dict[str, Any] | None) -> list[int]:
        """Return the exit statuses of a run that is killed as planned, or not at all; negative: by that signal."""
        self.started += 1
        port, log = free_port(), workdir.with_suffix('.log')
        victim = plan['victim'] if plan else 0
        named = plan is not None and plan['point'] != 'random'
        # All or none: a fork exits without leaving jax.distributed, for which a new Python would wait for minutes.
        new_python = not named and self.started % NEW_PYTHON_EVERY == 0
        children = []
        for process in range(self.args.processes):
            argv = self.command(workdir, process, port)
            hook = plan if named and process == victim else None
            if new_python:
                with open(log, 'ab') as file:
                    child = subprocess.Popen([sys.executable, *argv], stdout=file, stderr=file)
                children.append(child.pid)
            else:
                children.append(fork(argv, hook, log))
        try:
            return self._reap(children, plan, victim)
        except BaseException:
            # If the harness ends, these must too; they would be in the way of the next one's.
            for child in children:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
            raise

    def _reap(self, children: list[int], plan: dict[str, Any] | None, victim: int) -> list[int]:
        """Wait, and kill at the planned instant; if one of several was killed, kill the others as schedulers do."""
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
            if at_random and children[victim] not in statuses and cpu_seconds(children[victim]) > plan['seconds']:
                os.kill(children[victim], signal.SIGKILL)
                at_random = False
            if killed is None and -signal.SIGKILL in statuses.values():
                killed = now
            if (killed and now - killed > plan['others']) or now - began > MAX_SECONDS:
                for child in set(children) - statuses.keys():
                    os.kill(child, signal.SIGKILL)
                killed = now
            time.sleep(0.002)
        return [statuses[child] for child in children]


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def import_everything() -> None:
    """Import what the command imports, so that forks have it; nothing here starts a device or a thread."""
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
    """Return a port that no process listens on."""
    with socket.socket() as listening:
        listening.bind(('localhost', 0))
        return listening.getsockname()[1]


def fork(argv: list[str], plan: dict[str, Any] | None, log: Path) -> int:
    """Run the command in a fork of this process, with the planned hook if any; return its id."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = argv
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        import jax

        import main

        if plan:
            if plan['point'] == 'compilation':
                jax.config.update('jax_enable_compilation_cache', False)
            kill_points.POINTS[plan['point']].install(plan['nth'], plan['share'])
        status = main.main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def plan_kill(args: argparse.Namespace, life: int, kill: int, workdir: Path) -> dict[str, Any] | None:
    """Draw where the run of a life is killed next; None if it has been killed often enough."""
    chance = random.Random(f'{args.seed} {life} {kill}')
    if kill >= random.Random(f'{args.seed} {life}').randint(*args.life):
        return None
    prepared = (workdir / 'dataset' / 'manifest.json').exists()
    names = list(kill_points.TRAIN if prepared else kill_points.PREPARE)
    point = args.point or chance.choice([*names, *['random'] * (len(names) // 3)])
    kind = kill_points.POINTS.get(point)
    return {
        'point': point,
        # Squared, since a run that resumes late has few left.
        'nth': 1 + int((kind.most if kind else 1) * chance.random() ** 2),
        'share': chance.random(),
        'seconds': chance.uniform(0, 5 if prepared else 2),
        'victim': chance.randrange(args.processes) if point in {'random', *kill_points.OF_ALL} else 0,
        'others': chance.uniform(0, 0.5),
    }


def find_differences(workdir: Path, whole: Path) -> list[str]:
    """Return what differs between the run in `workdir` and the uninterrupted one, and whether a file is damaged."""
    files = ('metrics.jsonl', 'dataset/manifest.json')
    found = [name for name in files if (workdir / name).read_bytes() != (whole / name).read_bytes()]
    results = [json.loads((each / 'result.json').read_text()) for each in (workdir, whole)]
    for result in results:
        for name in TIMINGS:
            del result[name]
    found += ['result.json'] * (results[0] != results[1])
    # The SHA-256 of every column of parameters and momentum, and the schedule's state; verify reads the values.
    found += ['the last checkpoint'] * (newest_checkpoint(workdir) != newest_checkpoint(whole))
    steps = [row['step'] for row in map(json.loads, open(workdir / 'metrics.jsonl')) if 'loss' in row]
    found += ['rows'] * (steps != sorted(set(steps)))
    log = workdir.with_suffix('.verify.log')
    child = fork([str(ROOT / 'main.py'), '--mode=verify', f'--workdir={workdir}'], None, log)
    found += ['files that are not sound'] * (os.waitpid(child, 0)[1] != 0)
    return found


def newest_checkpoint(workdir: Path) -> Any:
    """Return the step, digests and record of the last checkpoint."""
    steps = [int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()]
    return max(steps), json.loads((workdir / 'checkpoints' / str(max(steps)) / 'record' / 'metadata').read_text())


def run_life(runs: Runs, life: int, results: Path, killed: int) -> dict[str, Any]:
    """Run one life from where it is to its end; return its row."""
    args, workdir = runs.args, runs.folder / f'life{life}'
    attempt = kill = killed
    while True:
        plan = plan_kill(args, life, attempt, workdir)
        began = time.monotonic()
        statuses = runs.run(workdir, plan)
        died = -signal.SIGKILL in statuses and time.monotonic() - began < MAX_SECONDS
        if not died:
            break
        append_row(results, {**row_key(args), 'life': life, 'kill': kill, **plan})
        kill, attempt = kill + 1, attempt + 1
    if statuses != [0] * args.processes:
        found = [f'it ended with the statuses {statuses}; see {workdir.with_suffix(".log")}']
    else:
        found = find_differences(workdir, runs.folder / 'whole')
    return {**row_key(args), 'life': life, 'kills': kill, 'differences': found}


def row_key(args: argparse.Namespace) -> dict[str, int]:
    """Return the fields that identify the rows of these arguments."""
    return {'seed': args.seed, 'devices': args.devices, 'processes': args.processes}


def main(argv: list[str] | None = None) -> int:
    """Make the kills that are missing; return the exit status."""
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = args.workdir or Path(tempfile.mkdtemp(prefix='chaos_'))
    folder.mkdir(parents=True, exist_ok=True)
    results = args.results or folder / 'results.jsonl'
    runs, whole = Runs(args, folder.absolute()), folder.absolute() / 'whole'
    if not (whole / 'result.json').exists() and runs.run(whole, None) != [0] * args.processes:
        sys.exit(f'The uninterrupted run failed; see {whole.with_suffix(".log")}.')
    while True:
        rows = [row for row in read_rows(results) if row_key(args).items() <= row.items()]
        lives = [row for row in rows if 'differences' in row]
        kills = [row for row in rows if 'point' in row]
        if len(kills) >= args.kills and {row['life'] for row in kills} <= {row['life'] for row in lives}:
            break
        life = len(lives)
        row = run_life(runs, life, results, sum(each['life'] == life for each in kills))
        append_row(results, row)
        print(f'life {life}: {row["kills"]} kills, {"; ".join(row["differences"]) or "the same"}', flush=True)
        if not row['differences']:
            shutil.rmtree(runs.folder / f'life{life}')
    different = sum(bool(row['differences']) for row in lives)
    points = len({row['point'] for row in kills})
    print(
        f'{len(kills)} kills at {points} points in {len(lives)} runs ({args.devices} devices, '
        f'{args.processes} processes): {different} differ from the uninterrupted run'
    )
    return int(different > 0)


if __name__ == '__main__':
    sys.exit(main())
