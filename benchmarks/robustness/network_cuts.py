"""Cuts, delays and thins the network between two training hosts: status 5 on both, and the same bits after the resume.

    python benchmarks/robustness/network_cuts.py --trials=20 --seed=0 --results=benchmarks/results/network.jsonl

Two hosts in network namespaces (two_hosts.py; needs root and iproute2, and ends with a sentence elsewhere) train one
network, a column each. At a step that the seed draws, the link is
  cut      taken down at one host: both must name the lost connection and end with status 5 within peer_timeout; then
           the link is up again, and the same command continues,
  blinks   taken down for a third of peer_timeout: the run continues or ends like a cut one, and is continued,
  delayed  by 50 ms per frame in each direction until the run ends,
  lossy    losing 3 % of the frames until the run ends.
In the end parameters, momentum, schedule, metrics.jsonl, result.json (except its timings) and dataset must equal those
of an undisturbed run to the bit, and --mode=verify must find every file sound.

Every trial is a line of the results file; the same command continues with the missing ones. The exit status is 0 only
if all held; the last line is the figure.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks'), str(ROOT / 'benchmarks' / 'robustness')]

import chaos  # noqa: E402
import two_hosts  # noqa: E402
from results_file import append_row, read_rows  # noqa: E402

FIELDS = {
    'mesh': '1,2',
    'prepare.num_cutouts': '80,16,16',
    'train.batch_size': 16,
    'train.num_epochs': 8,  # 40 steps
    'train.warmup_epochs': 0,
    'evaluate.every_epochs': 2,
    'evaluate.batch_size': 16,
    'evaluate.views': 1,
    'checkpoint.every_steps': 4,
    'log.every_steps': 1,
    'log.tensorboard': 'false',
    'machine.cpu_devices': 1,
}
STEPS = (1, 36)
KINDS = ('cut', 'cut', 'cut', 'blinks', 'delayed', 'lossy')
SENTENCE = re.compile(r'^The connection between .* was lost: ', re.MULTILINE)
MAX_SECONDS = 300


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--trials', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--kind', choices=sorted(set(KINDS)), default=None, help='this kind of trial alone')
    parser.add_argument('--peer-timeout', type=int, default=20, help='config.machine.peer_timeout, seconds')
    parser.add_argument('--results', type=Path, default=None)
    parser.add_argument('--workdir', type=Path, default=None, help='where the runs lie; kept')
    return parser.parse_args(argv)


def start_run(hosts: two_hosts.TwoHosts, workdir: Path, peer_timeout: int) -> list[subprocess.Popen]:
    """Start the run in `workdir` on both hosts."""
    fields = FIELDS | {'machine.peer_timeout': peer_timeout}
    words = [f'--config.{name}={value}' for name, value in fields.items()]
    words += [f'--workdir={workdir}', f'--coordinator={hosts.addresses[0]}:8476', '--processes=2']
    command = [sys.executable, str(ROOT / 'main.py'), *words]
    return [hosts.start(host, [*command, f'--process={host}'], host_log(workdir, host)) for host in (0, 1)]


def host_log(workdir: Path, host: int) -> Path:
    """Return the file that holds what a host has printed."""
    return workdir.with_name(f'{workdir.name}.{host}.log')


def wait_for_exit(processes: list[subprocess.Popen]) -> tuple[list[int], list[float]]:
    """Return statuses, and seconds from now until each ended; kill those that take longer than MAX_SECONDS."""
    began, seconds = time.monotonic(), [0.0 for _ in processes]
    while any(process.poll() is None for process in processes):
        now = time.monotonic() - began
        seconds = [now if process.poll() is None else s for process, s in zip(processes, seconds, strict=True)]
        if now > MAX_SECONDS:
            for process in processes:
                process.kill()
        time.sleep(0.02)
    return [process.returncode for process in processes], [round(s, 1) for s in seconds]


def wait_for_step(processes: list[subprocess.Popen], workdir: Path, step: int) -> None:
    """Wait until the row of a step is written, or the run has ended."""
    metrics = workdir / 'metrics.jsonl'
    until = time.monotonic() + MAX_SECONDS
    while all(process.poll() is None for process in processes) and time.monotonic() < until:
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            return
        time.sleep(0.01)


def run_trial(hosts: two_hosts.TwoHosts, workdir: Path, plan: dict[str, Any], peer_timeout: int) -> dict[str, Any]:
    """Disturb a run as planned and continue it to its end; return its row."""
    processes = start_run(hosts, workdir, peer_timeout)
    wait_for_step(processes, workdir, plan['step'])
    if plan['kind'] in ('cut', 'blinks'):
        hosts.set_link(plan['host'], up=False)
        if plan['kind'] == 'blinks':
            time.sleep(peer_timeout / 3)
            hosts.set_link(plan['host'], up=True)
    else:
        hosts.impair(*{'delayed': (50, 0), 'lossy': (0, 0.03)}[plan['kind']])
    statuses, seconds = wait_for_exit(processes)
    hosts.set_link(plan['host'], up=True)
    hosts.impair()
    texts = [host_log(workdir, host).read_text(errors='replace') for host in (0, 1)]
    faults = []
    if statuses == [5, 5]:
        faults += [f'host {host} has no sentence' for host in (0, 1) if not SENTENCE.search(texts[host])]
        faults += [f'host {host} took {s} s' for host, s in enumerate(seconds) if s > peer_timeout]
    elif statuses != [0, 0] or plan['kind'] == 'cut':
        faults.append(f'statuses {statuses}')
    if plan['kind'] in ('delayed', 'lossy') and statuses != [0, 0]:
        faults.append('a slow network ended the run')
    faults += ['a traceback'] * any('Traceback' in text for text in texts)
    resumed, _ = ([0, 0], None) if statuses == [0, 0] else wait_for_exit(start_run(hosts, workdir, peer_timeout))
    if resumed != [0, 0]:
        faults.append(f'the run that resumes ended with {resumed}')
    else:
        faults += [f'{name} differs' for name in chaos.find_differences(workdir, workdir.with_name('whole'))]
    return {'statuses': statuses, 'seconds': seconds, 'emulator': hosts.emulator, 'faults': faults}


def summarize(rows: list[dict[str, Any]]) -> str:
    """Return the figure: partitions tried, seconds to the sentence, status on each side, what differed."""
    parts = []
    for kind in sorted({row['kind'] for row in rows}):
        each = [row for row in rows if row['kind'] == kind]
        ends = sorted({tuple(row['statuses']) for row in each})
        seconds = [second for row in each if row['statuses'] == [5, 5] for second in row['seconds']]
        said = f', {min(seconds)} to {max(seconds)} s to the sentence' if seconds else ''
        counts = ', '.join(f'{sum(tuple(r["statuses"]) == end for r in each)} with statuses {end}' for end in ends)
        parts.append(f'{len(each)} {kind} ({counts}{said})')
    bad = sum(bool(row['faults']) for row in rows)
    return f'{len(rows)} disturbed runs: {"; ".join(parts)}; {bad} with another end than the undisturbed run'


def main(argv: list[str] | None = None) -> int:
    """Make the trials that are missing; return the exit status."""
    args = parse_args(argv)
    if reason := two_hosts.missing_requirement():
        print(f'Skipped: {reason}')
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = (args.workdir or Path(tempfile.mkdtemp(prefix='network_cuts_'))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results, whole = args.results or folder / 'results.jsonl', folder / 'whole'
    os.environ |= {
        'JAX_PLATFORMS': 'cpu',
        'JAX_COMPILATION_CACHE_DIR': str(folder / 'compiled'),
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    }
    key = {'seed': args.seed, 'peer_timeout': args.peer_timeout}
    with two_hosts.TwoHosts() as hosts:
        if not (whole / 'result.json').exists():
            if wait_for_exit(start_run(hosts, whole, args.peer_timeout))[0] != [0, 0]:
                sys.exit(f'The undisturbed run failed; see {host_log(whole, 0)}.')
        while True:
            rows = [row for row in read_rows(results) if key.items() <= row.items()]
            if len(rows) >= args.trials:
                break
            chance = random.Random(f'{args.seed} {len(rows)}')
            kind = args.kind or KINDS[len(rows) % len(KINDS)]
            plan = {'kind': kind, 'step': chance.randint(*STEPS), 'host': chance.randrange(2)}
            workdir = folder / f'trial{len(rows)}'
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.copytree(whole / 'dataset', workdir / 'dataset')
            row = plan | run_trial(hosts, workdir, plan, args.peer_timeout)
            append_row(results, key | row)
            print(f'trial {len(rows)}: {row}', flush=True)
            if not row['faults']:
                shutil.rmtree(workdir)
    print(summarize(rows))
    return int(any(row['faults'] for row in rows))


if __name__ == '__main__':
    sys.exit(main())
