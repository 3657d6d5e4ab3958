"""The quickstart by several seeds: its accuracy, and the time of the whole command.

    python benchmarks/quickstart.py --seeds=3 --workdir=/tmp/quickstart

A seed whose result.json is there already is not run again. The last line is the figure.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parent.parent / 'main.py'


def run_seed(seed: int, workdir: Path) -> dict[str, float]:
    """Return the top-1 accuracy, the seconds of the whole command and the baseline's accuracy of one seed."""
    record = workdir / 'command.json'
    if not record.exists():
        began = time.perf_counter()
        subprocess.run([sys.executable, str(MAIN), f'--workdir={workdir}', f'--config.seed={seed}'], check=True)
        record.write_text(json.dumps({'seconds': time.perf_counter() - began}))
    result = json.loads((workdir / 'result.json').read_text())
    return {
        'accuracy': 1 - result['top1_error'],
        'baseline': 1 - result['baseline']['best'],
        'seconds': json.loads(record.read_text())['seconds'],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--workdir', type=Path, required=True)
    args = parser.parse_args()
    runs = [run_seed(seed, args.workdir / str(seed)) for seed in range(args.seeds)]
    for seed, run in enumerate(runs):
        print(f'seed {seed}: {run["accuracy"]:.1%} top-1 in {run["seconds"]:.0f} s (baseline {run["baseline"]:.1%})')
    accuracies = [run['accuracy'] for run in runs]
    print(
        f'mean {statistics.mean(accuracies):.1%} top-1, {min(accuracies):.1%} to {max(accuracies):.1%}, '
        f'in {statistics.mean(run["seconds"] for run in runs):.0f} s'
    )


if __name__ == '__main__':
    main()
