"""From the command to its first words and to the end of its first step: quickstart and whole network, cold and warm.

    python benchmarks/start_time.py --workdir=/tmp/start --results=benchmarks/results/start_time.jsonl

Cold: the folder of compiled programs is empty; warm: it is what the cold start left. Each start is a process of its own
on a dataset that is prepared already, and is killed once it has said that its first step is done; `prepared` is the
quickstart's very first command, which makes its 22,000 images before. The last line printed is the figure.
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
CUTOUTS = (
    '--config.prepare.source=cutouts',
    '--config.prepare.num_cutouts=256,16,16',
    '--config.prepare.encoding=raw',
)
FLAGS_BY_CONFIG = {
    'quickstart': (),
    'paper': ('--config=configs/default.py', '--config.train.batch_size=32', *CUTOUTS),
}


def parse_args() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('start_time.jsonl'))
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--cards', default=','.join(FLAGS_BY_CONFIG))
    parser.add_argument('--rounds', type=int, default=3, help='of a cold start and the warm one behind it')
    return parser.parse_args()


def time_start(words: list[str]) -> dict[str, float]:
    """Seconds from the command to its first line and to the line of its first step; then it is killed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'main.py'), *words, '--config.log.every_steps=1'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    found, said = {}, []
    try:
        for line in process.stdout or ():
            said.append(line)
            found.setdefault('words', time.perf_counter() - began)
            if line.startswith('step 1/'):
                return found | {'step': time.perf_counter() - began}
    finally:
        process.kill()
        process.wait()
    raise RuntimeError(f'{words} ended without a step:\n' + ''.join(said))


def time_starts(card: str, folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Of that card, so many cold and warm starts, behind the one that prepares."""
    dataset, cache = folder / f'{card}_dataset', folder / 'cache'
    shutil.rmtree(dataset, ignore_errors=True)

    def once(number: str) -> dict[str, float]:
        workdir = folder / f'{card}_{number}'
        shutil.rmtree(workdir, ignore_errors=True)
        places = (
            f'--workdir={workdir}',
            f'--config.data.directory={dataset}',
            f'--config.machine.compilation_cache={cache}',
        )
        return time_start([*FLAGS_BY_CONFIG[card], *places])

    found: dict[str, list[dict[str, float]]] = {'prepared': [], 'cold': [], 'warm': []}
    for number in range(rounds + 1):
        shutil.rmtree(cache, ignore_errors=True)
        found['cold' if number else 'prepared'].append(once(f'{number}'))
        if number:
            found['warm'].append(once(f'{number}_warm'))
    return found


def summarize_starts(rows: list[dict]) -> str:
    """The last line: medians to the end of the first step, and to the first words."""
    parts = []
    for row in rows:
        times = {
            name: tuple(statistics.median(each[what] for each in row[name]) for what in ('step', 'words'))
            for name in ('cold', 'warm')
        }
        first = row['prepared'][0]['step']
        said = ', '.join(
            f'{name} {step:.1f} s (first words {words:.1f} s)' for name, (step, words) in times.items()
        )
        parts.append(f'{row["card"]}: {said}, with its preparation {first:.1f} s')
    return 'from command to the end of the first step: ' + '; '.join(parts)


def main() -> None:
    """All cards that are missing from the results."""
    given = parse_args()
    rows = [row for row in results_file.read_rows(given.results) if 'card' in row]
    for card in given.cards.split(','):
        if card in {row['card'] for row in rows}:
            continue
        row = {'card': card, **time_starts(card, given.workdir, given.rounds)}
        if not rows:
            results_file.append_row(given.results, results_file.describe_environment())
        results_file.append_row(given.results, row)
        rows.append(row)
    print(summarize_starts(rows))


if __name__ == '__main__':
    main()
