"""Preparations killed by SIGKILL at seeded instants and run again: are the bytes those of one that was not killed?

    python benchmarks/robustness/killed_preparations.py --path=images.tar.gz --workdir=/tmp/killed --kills=20 --workers=1,2

Any tar of class folders does; in a packed one the records are put in order at the end. Some of the kills fall there,
others while images are read, and others while statistics, report, card and manifest are written. Each is of the process
that was started; its workers have to end by themselves. Kills that are done already are not repeated. The
last line is the figure.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from alexnet_jax.prepare import builder, sources
if __name__ == '__main__':
    path, directory, side, shard, workers = sys.argv[2:]
    builder.MIN_SHARD_SIZE = int(shard)
    source = sources.open_source('tar', path)
    builder.prepare_dataset(source, directory, side=int(side), workers=int(workers), progress=False)
"""
PHASES = ('reading', 'ordering', 'concluding')
PATIENCE = 600  # seconds for one preparation

Names = set[str]  # of the files in a dataset's folder


def child(path: Path, directory: Path, *, side: int, shard: int, workers: int) -> list[str]:
    """The command of a preparation with shards of so few images that there are many."""
    script = directory.with_suffix('.py')
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(CHILD)
    words = (script, ROOT, path, directory, side, shard, workers)
    return [sys.executable, *map(str, words)]


def contents(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file, and folders that should have gone."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else 'a folder'
        for path in sorted(directory.iterdir())
    }


def phase(names: Names) -> str:
    """What a preparation was doing that left these files."""
    if 'manifest.json' in names:
        return 'after the manifest'
    if names & {'statistics.npz', 'statistics.npz.partial'}:
        return 'concluding'
    return 'ordering' if any('-of-' in name and not name.startswith('read-') for name in names) else 'reading'


def instant(rng: random.Random, wanted: str, whole: Names) -> tuple[Callable[[Names], bool], float]:
    """What has to be seen in the folder, and how many seconds later the kill comes."""
    shards = sum('-of-' in name for name in whole)
    if wanted == 'concluding':
        file = rng.choice(['statistics.npz', 'report.json', 'README.md', 'manifest.json'])
        return lambda names: bool({file, f'{file}.partial'} & names), rng.uniform(0, 0.002)
    first, count = wanted == 'reading', rng.randrange(shards)

    def seen(names: Names) -> bool:
        return (
            sum('-of-' in n and n.startswith('read-') == first and not n.endswith('.partial') for n in names)
            >= count
        )

    return seen, rng.uniform(0, 0.05)


def names(directory: Path) -> Names:
    """Those of the files in a folder that may not be there yet, accounts apart."""
    found: Names = set()
    for folder in (directory, directory / '.preparing'):
        try:
            # '.NAME.PID.partial', a file that is being written, counts as 'NAME.partial'.
            listed = {re.sub(r'^\.(.+)\.\d+\.partial$', r'\1.partial', name) for name in os.listdir(folder)}
            found |= {name for name in listed if not name.endswith(('.npz', '.npz.partial'))}
            found |= {name for name in listed if name.startswith('statistics')}
        except FileNotFoundError:
            pass
    return found


def killed(command: list[str], directory: Path, seen: Callable[[Names], bool], delay: float) -> Names | None:
    """The files that were left by a preparation that was killed, or None where it was the quicker."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    while process.poll() is None and not seen(names(directory)):
        if time.monotonic() > end:
            process.kill()
            raise TimeoutError(f'{PATIENCE} s and nothing to be seen')
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return names(directory) if process.wait() == -signal.SIGKILL else None


def trial(path: Path, folder: Path, wanted: str, seed: int, expected: dict[str, str], **options: int) -> dict:
    """One kill, of the phase that is wanted, and the run after it."""
    rng, directory = random.Random(f'{seed} {wanted} {options}'), folder / 'd'
    command = child(path, directory, **options)
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        left = killed(command, directory, *instant(rng, wanted, set(expected)))
        if left is not None:
            break
    else:
        raise RuntimeError('every attempt came too late; give more images')
    subprocess.run(command, check=True, timeout=PATIENCE)
    return {
        'seed': seed,
        'workers': options['workers'],
        'wanted': wanted,
        'killed while': phase(left),
        'whole shards': sum('-of-' in name and not name.endswith('.partial') for name in left),
        'half written': sorted(name for name in left if name.endswith('.partial'))[:3],
        'same': contents(directory) == expected,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--path', type=Path, required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--workers', default='1,2')
    parser.add_argument('--side', type=int, default=64)
    parser.add_argument('--shard', type=int, default=64)
    given = parser.parse_args()
    form = {'side': given.side, 'shard': given.shard}
    unkilled = given.workdir / 'unkilled'
    subprocess.run(child(given.path, unkilled, workers=1, **form), check=True)
    expected, results = contents(unkilled), given.workdir / 'results.jsonl'
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row['workers'], row['seed']) for row in rows}
    for workers in map(int, given.workers.split(',')):
        for seed in range(given.kills):
            if (workers, seed) not in done:
                wanted = PHASES[seed % len(PHASES)]
                rows.append(
                    trial(
                        given.path, given.workdir / 'killed', wanted, seed, expected, workers=workers, **form
                    )
                )
                with open(results, 'a') as file:
                    file.write(json.dumps(rows[-1]) + '\n')
                print(rows[-1], flush=True)
    for each in sorted({row['killed while'] for row in rows}):
        print(f'{each}: {sum(row["killed while"] == each for row in rows)}')
    print(f'{sum(row["same"] for row in rows)} of {len(rows)} killed preparations came to the same bytes')


if __name__ == '__main__':
    main()
