"""Compare training steps under several Python interpreters, for example with an older and a newer jax, in turn.

    python benchmarks/interpreters.py --python=python3.11 --python='.venv313/bin/python' [--preset=paper --batch=32]

Each interpreter runs this package's step in a process of its own that waits between its turns; a turn during which
other processes took more than a tenth of a core does not count. A figure is the median over the rounds of the time of
one over the first one's in the same round. Each must have the packages of requirements.txt.
"""

import argparse
import shlex
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import quiet


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--python', action='append', required=True, help='an interpreter; may have arguments')
    parser.add_argument('--preset', default='paper', help='paper or miniature')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--calls', type=int, default=5, help='steps in a turn')
    parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args()


def serve_steps(preset: str, batch: int) -> None:
    """Print the versions once a step is compiled, then make a step for each line of standard input and answer it."""
    from benchmarks import compare_pytorch

    config, _ = compare_pytorch.make_config(preset)
    run = compare_pytorch.make_jax_runner(config, 'train', batch, use_reference_ops=False)
    run()
    run()
    import jax
    import jaxlib

    print(f'Python {sys.version.split()[0]}, jax {jax.__version__}, jaxlib {jaxlib.__version__}', flush=True)
    for _ in sys.stdin:
        run()
        print('done', flush=True)


def start_worker(python: str, preset: str, batch: int) -> tuple[subprocess.Popen, str]:
    """Return a process that makes steps under that interpreter, and its versions."""
    arguments = [str(Path(__file__).resolve()), '--worker', '--python=-', f'--preset={preset}', f'--batch={batch}']
    worker = subprocess.Popen(
        [*shlex.split(python), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    versions = read_answer(worker)
    return worker, versions


def read_answer(worker: subprocess.Popen) -> str:
    """Return the next line of a worker. Exits with a sentence if it has ended."""
    if line := worker.stdout.readline():
        return line.strip()
    sys.exit(f'{worker.args[0]} ended with status {worker.wait()}; its own words stand above.')


def request_step(worker: subprocess.Popen) -> None:
    """Have a worker make one step, and wait for it."""
    worker.stdin.write('step\n')
    worker.stdin.flush()
    read_answer(worker)


def main() -> None:
    """Time the interpreters in turn and print medians, spread and ratios."""
    given = parse_args()
    if given.worker:
        serve_steps(given.preset, given.batch)
        return
    workers = {python: start_worker(python, given.preset, given.batch) for python in given.python}
    try:
        rounds, discarded = quiet.time_in_turn(
            {python: partial(request_step, worker) for python, (worker, _) in workers.items()},
            given.rounds,
            given.calls,
            processes=[worker.pid for worker, _ in workers.values()],
        )
    finally:
        for worker, _ in workers.values():
            worker.kill()
    print(
        f'{given.preset}, {given.batch} images: {given.rounds} rounds of {given.calls} steps a turn, '
        f'{discarded} turns thrown away'
    )
    for python, (_, versions) in workers.items():
        seconds = quiet.seconds_of(rounds, python)
        ratio, low, high = quiet.compare_rounds(rounds, python, given.python[0])
        print(
            f'  {versions}: {statistics.median(seconds):.3f} s (fastest {min(seconds):.3f}), '
            f'{ratio:.2f} times the first ({low:.2f} to {high:.2f})'
        )


if __name__ == '__main__':
    main()
