"""Kill preparations by SIGKILL at seeded instants, run them again, and compare the bytes with an undisturbed one.

    python benchmarks/robustness/killed_preparations.py --path=images.tar.gz --workdir=/tmp/killed --kills=20

Any tar of class folders will do; records of a gzipped one are reordered at the end. Some kills come then, others
while images are read, and others while statistics, report, README and manifest are written. Each is of the process
that was started; its workers have to exit by themselves. Kills that are in the results already are not repeated. The
last line is the figure.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.prepare import builder, sources
if __name__ == '__main__':
    path, directory, image_size, shard_size, num_workers = sys.argv[2:]
    builder.MIN_SHARD_SIZE = int(shard_size)
    source, spec = sources.open_source('tar', path), EncodingSpec(int(image_size))
    builder.prepare_dataset(source, directory, spec, num_workers=int(num_workers), progress=False)
"""
PHASES = ('reading', 'reordering', 'finalizing')
TIMEOUT = 600  # seconds for one preparation
ATTEMPTS = 20  # to kill a preparation before it ends

Names = set[
    str
]  # of the files in a dataset's folder; a file that is being written has the name it will get + '.partial'


def preparation_command(path: Path, directory: Path, *, image_size: int, shard_size: int, workers: int) -> list[str]:
    """Return the command of a preparation with shards of so few images that there are many."""
    script = directory.with_suffix('.py')
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT)
    return [sys.executable, *map(str, (script, ROOT, path, directory, image_size, shard_size, workers))]


def checksums(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, and the folders, which should be gone."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else 'a folder'
        for path in sorted(directory.iterdir())
    }


def interrupted_phase(names: Names) -> str:
    """Return what a preparation was doing that left these files."""
    if 'manifest.json' in names:
        return 'after the manifest'
    if names & {'statistics.npz', 'statistics.npz.partial'}:
        return 'finalizing'
    shards = {name for name in names if '-of-' in name and not name.startswith('read-')}
    return 'reordering' if shards else 'reading'


def kill_instant(rng: random.Random, phase: str, complete: Names) -> tuple[Callable[[Names], bool], float]:
    """Return what has to be seen in the folder, and how many seconds later the kill comes."""
    if phase == 'finalizing':
        file = rng.choice(['statistics.npz', 'report.json', 'README.md', 'manifest.json'])
        return lambda names: bool({file, f'{file}.partial'} & names), rng.uniform(0, 0.002)
    reading, count = phase == 'reading', rng.randrange(sum('-of-' in name for name in complete))

    def is_reached(names: Names) -> bool:
        shards = {name for name in names if '-of-' in name and not name.endswith('.partial')}
        return sum(name.startswith('read-') == reading for name in shards) >= count

    return is_reached, rng.uniform(0, 0.05)


def list_files(directory: Path) -> Names:
    """Return the names in a folder that may not exist yet and in its staging folder, without metadata of shards."""
    found: Names = set()
    for folder in (directory, directory / '.preparing'):
        try:
            entries = os.listdir(folder)
        except FileNotFoundError:
            continue
        for name in entries:
            if name.startswith('.') and name.endswith('.partial'):
                name = name[1:].rsplit('.', 2)[0] + '.partial'  # .NAME.PID.partial
            if name.startswith('statistics') or not name.endswith(('.npz', '.npz.partial')):
                found.add(name)
    return found


def run_and_kill(
    command: list[str], directory: Path, is_reached: Callable[[Names], bool], delay: float
) -> Names | None:
    """Return the files that the killed preparation left, None if it ended before."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    end = time.monotonic() + TIMEOUT
    while process.poll() is None and not is_reached(list_files(directory)):
        if time.monotonic() > end:
            process.kill()
            raise TimeoutError(f'nothing seen within {TIMEOUT} s')
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return list_files(directory) if process.wait() == -signal.SIGKILL else None


def run_trial(path: Path, folder: Path, phase: str, seed: int, expected: dict[str, str], **options: int) -> dict:
    """Kill one preparation in a phase, run it again, and return the row of the results."""
    rng, directory = random.Random(f'{seed} {phase} {options}'), folder / 'd'
    command = preparation_command(path, directory, **options)
    for _ in range(ATTEMPTS):
        shutil.rmtree(directory, ignore_errors=True)
        left = run_and_kill(command, directory, *kill_instant(rng, phase, set(expected)))
        if left is not None:
            break
    else:
        raise RuntimeError('every kill came too late; use more images')
    subprocess.run(command, check=True, timeout=TIMEOUT)
    return {
        'seed': seed,
        'workers': options['workers'],
        'wanted': phase,
        'killed while': interrupted_phase(left),
        'whole shards': sum('-of-' in name and not name.endswith('.partial') for name in left),
        'half written': sorted(name for name in left if name.endswith('.partial'))[:3],
        'same': checksums(directory) == expected,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--path', type=Path, required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--workers', default='1,2')
    parser.add_argument('--image_size', type=int, default=64)
    parser.add_argument('--shard_size', type=int, default=64)
    args = parser.parse_args()
    sizes = {'image_size': args.image_size, 'shard_size': args.shard_size}
    undisturbed = args.workdir / 'undisturbed'
    subprocess.run(preparation_command(args.path, undisturbed, workers=1, **sizes), check=True)
    expected, results = checksums(undisturbed), args.workdir / 'results.jsonl'
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row['workers'], row['seed']) for row in rows}
    for workers in map(int, args.workers.split(',')):
        for seed in range(args.kills):
            if (workers, seed) not in done:
                phase, folder = PHASES[seed % len(PHASES)], args.workdir / 'killed'
                rows.append(run_trial(args.path, folder, phase, seed, expected, workers=workers, **sizes))
                with open(results, 'a') as file:
                    file.write(json.dumps(rows[-1]) + '\n')
                print(rows[-1], flush=True)
    for phase in sorted({row['killed while'] for row in rows}):
        print(f'{phase}: {sum(row["killed while"] == phase for row in rows)}')
    print(f'{sum(row["same"] for row in rows)} of {len(rows)} killed preparations ended with the same bytes')


if __name__ == '__main__':
    main()
