"""Time from the command to its first output and to the end of its first step: quickstart and whole network.

    python benchmarks/start_time.py --workdir=/tmp/start --results=benchmarks/results/start_time.jsonl

Cold: the compilation cache is empty; warm: it is what the cold start left. Each start is a process of its own on a
prepared dataset, killed once it has printed its first step; `prepared` is the very first command, which prepares the
dataset before. The last line printed is the figure.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import results_file

ROOT = Path(__file__).resolve().parent.parent
CUTOUTS = ('--config.prepare.source=cutouts', '--config.prepare.num_cutouts=256,16,16', '--config.prepare.encoding=raw')
FLAGS_BY_CONFIG = {'quickstart': (), 'paper': ('--config=configs/default.py', '--config.train.batch_size=32', *CUTOUTS)}


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('start_time.jsonl'))
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--configs', default=','.join(FLAGS_BY_CONFIG))
    parser.add_argument('--rounds', type=int, default=3, help='of a cold start and a warm one')
    return parser.parse_args()


def time_start(flags: list[str]) -> dict[str, float]:
    """Return the seconds from a command to its first line ('words') and to its first 'step', at which it is killed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'main.py'), *flags, '--config.log.every_steps=1'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    seconds, lines = {}, []
    try:
        for line in process.stdout or ():
            lines.append(line)
            seconds.setdefault('words', time.perf_counter() - began)
            if line.startswith('step 1/'):
                return seconds | {'step': time.perf_counter() - began}
    finally:
        process.kill()
        process.wait()
    raise RuntimeError(f'{flags} ended without a step:\n' + ''.join(lines))


def time_starts(config: str, folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Time `rounds` cold and warm starts of a config, after the one that prepares its dataset."""
    dataset, cache = folder / f'{config}_dataset', folder / 'cache'
    shutil.rmtree(dataset, ignore_errors=True)

    def time_once(number: str) -> dict[str, float]:
        workdir = folder / f'{config}_{number}'
        shutil.rmtree(workdir, ignore_errors=True)
        paths = (
            f'--workdir={workdir}',
            f'--config.data.directory={dataset}',
            f'--config.machine.compilation_cache={cache}',
        )
        return time_start([*FLAGS_BY_CONFIG[config], *paths])

    times: dict[str, list[dict[str, float]]] = {'prepared': [], 'cold': [], 'warm': []}
    for number in range(rounds + 1):
        shutil.rmtree(cache, ignore_errors=True)
        times['cold' if number else 'prepared'].append(time_once(f'{number}'))
        if number:
            times['warm'].append(time_once(f'{number}_warm'))
    return times


def summarize_starts(rows: list[dict]) -> str:
    """Return the last line: medians to the end of the first step, and to the first output."""
    parts = []
    for row in rows:
        times = {
            name: tuple(statistics.median(each[what] for each in row[name]) for what in ('step', 'words'))
            for name in ('cold', 'warm')
        }
        first = row['prepared'][0]['step']
        text = ', '.join(f'{name} {step:.1f} s (first output {words:.1f} s)' for name, (step, words) in times.items())
        parts.append(f'{row["card"]}: {text}, with preparation {first:.1f} s')
    return 'from command to the end of the first step: ' + '; '.join(parts)


def main() -> None:
    """Time all configs that are missing from the results."""
    args = parse_args()
    rows = [row for row in results_file.read_rows(args.results) if 'card' in row]
    for config in args.configs.split(','):
        if config in {row['card'] for row in rows}:
            continue
        row = {'card': config, **time_starts(config, args.workdir, args.rounds)}
        if not rows:
            results_file.append_row(args.results, results_file.describe_environment())
        results_file.append_row(args.results, row)
        rows.append(row)
    print(summarize_starts(rows))


if __name__ == '__main__':
    main()
