"""Figure 1 of the paper: epochs until the training error on CIFAR-10 is 25 %, with ReLU and with tanh.

    python benchmarks/figure1.py --workdir=/tmp/figure1 --config.prepare.path=cifar-10-binary.tar.gz

Each activation has its own best learning rate: seed 0 trains by each of --rates for --search-epochs, and the first to
arrive wins, else the lowest error; while that is the largest or the smallest rate, its double or its half is tried. By
the best rate every seed trains until the error of an epoch, on its images as they were trained on, is at most 25 %.
Every run is an ordinary one of configs/figure1.py in a folder of --workdir, ended by SIGTERM; a rerun continues where
the last one was. Further flags --config.* go to every run. Writes figure1.csv and figure1.png into --workdir; the last
line is the figure.
"""

from __future__ import annotations

import argparse
import collections
import csv
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from alexnet_jax.data.dataset import open_dataset
from alexnet_jax.exit_codes import ExitCode
from alexnet_jax.report.plots import style
from alexnet_jax.runtime import atomic_io, child_process
from alexnet_jax.train.metrics_writer import read_metrics

TARGET = 0.25  # of the training images
PUBLISHED_RATIO = 6
COLORS = {'relu': style.TRAIN, 'tanh': style.VALIDATION}
POLL_SECONDS = 2.0
# Activation, learning rate and seed -> training error by epoch.
Curves = dict[tuple[str, float, int], list[float]]


def errors_by_epoch(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the training error of each epoch that is over, from the rows of metrics.jsonl.

    A row has the mean error of the steps since the row before, and counts for each epoch by its share.
    """
    sums: collections.Counter[int] = collections.Counter()
    before = 0.0
    for row in rows:
        if 'top1_error' in row:
            for number in range(int(before), math.ceil(row['epoch'])):
                share = min(row['epoch'], number + 1) - max(before, number)
                sums[number] += share * row['top1_error']
            before = row['epoch']
    return [sums[number] for number in range(int(before))]


def epochs_to_target(errors: Sequence[float], target: float = TARGET) -> float:
    """Return after how many epochs the error is down at the target, infinity if it never is.

    An epoch's mean error is taken for that of its middle, with straight lines between.
    """
    for number, error in enumerate(errors):
        if error <= target:
            before = errors[number - 1] if number else error
            part = (before - target) / (before - error) if before > target else 1.0
            return number - 0.5 + part
    return math.inf


def train_until(folder: Path, flags: Sequence[str], is_enough: Callable[[list[float]], bool]) -> list[float]:
    """Run main.py in `folder` until its errors by epoch are enough, or the run is over, and return them.

    A run that has enough already is not started. Raises SystemExit if it fails otherwise than by a loss that is not
    finite, which is an end like another.
    """
    over = folder / 'result.json'
    if is_enough(errors := errors_by_epoch(read_metrics(folder))) or over.exists():
        return errors
    folder.mkdir(parents=True, exist_ok=True)
    command = [f'--workdir={folder}', *flags]
    # Ends with this process, however that ends.
    process = child_process.start_script(ROOT / 'main.py', command, log := folder / 'output.log', os.environ)
    try:
        while process.poll() is None and not is_enough(errors_by_epoch(read_metrics(folder))):
            time.sleep(POLL_SECONDS)
    finally:
        process.terminate()
        code = process.wait()
    if code not in (ExitCode.OK, ExitCode.STOPPED, ExitCode.NONFINITE_LOSS):
        last = log.read_text().strip().rpartition('\n')[2]
        raise SystemExit(f'main.py {" ".join(command)} ended with status {code}; the last line of {log} is: {last}')
    return errors_by_epoch(read_metrics(folder))


class Figure:
    """The runs of the figure, each in its folder of `workdir`, and what they gave."""

    def __init__(self, workdir: Path, dataset: Path, flags: Sequence[str]):
        self._workdir = workdir
        self._flags = (f'--config.data.directory={dataset.absolute()}', *flags)
        self.curves: Curves = {}

    def run(self, activation: str, rate: float, seed: int, epochs: float = math.inf) -> list[float]:
        """Train until the target, or for so many epochs, and return the errors by epoch."""
        folder = self._workdir / f'{activation}-{rate:g}-{seed}'
        flags = (
            f'--config={ROOT / "configs" / "figure1.py"}',
            f'--config.model.activation={activation}',
            f'--config.train.learning_rate={rate!r}',
            f'--config.seed={seed}',
            *self._flags,
        )
        errors = train_until(folder, flags, lambda errors: min(errors, default=1.0) <= TARGET or len(errors) >= epochs)
        self.curves[activation, rate, seed] = errors
        ends = f'{len(errors)} epochs, training error {errors[-1]:.1%}' if errors else 'not one epoch'
        print(f'{activation}, rate {rate:g}, seed {seed}: {ends}', flush=True)
        return errors

    def find_rate(self, activation: str, rates: Sequence[float], epochs: int) -> float:
        """Return the best rate for seed 0: first at the target, else lowest after so many epochs.

        While the best one is the largest or the smallest tried, its double or its half is tried too.
        """
        results: dict[float, tuple[float, float]] = {}
        untried = list(rates)
        while untried:
            for rate in untried:
                errors = self.run(activation, rate, 0, epochs)[:epochs]
                # A loss that is not finite ends a run early.
                last = errors[-1] if len(errors) == epochs else math.inf
                results[rate] = epochs_to_target(errors), last
            best = min(results, key=lambda rate: results[rate])
            if min(results[best]) == math.inf:
                sys.exit(f'No rate trained {activation} for {epochs} epochs. Try smaller --rates or --search-epochs.')
            untried = [best * 2] if best == max(results) else [best / 2] if best == min(results) else []
        return best


def write_curves(curves: Curves, file: Path) -> None:
    """Write a row for each activation, rate, seed and epoch."""
    with atomic_io.write_atomic(file) as opened:
        writer = csv.writer(opened, lineterminator='\n')
        writer.writerow(('activation', 'learning_rate', 'seed', 'epoch', 'training_error'))
        for (activation, rate, seed), errors in curves.items():
            for epoch, error in enumerate(errors, 1):
                writer.writerow((activation, f'{rate:g}', seed, epoch, f'{error:.5f}'))


def plot_errors(curves: Curves, rates: Mapping[str, float], num_images: int, file: Path) -> None:
    """Draw the training error by epoch of every seed, each activation at its rate, and the target."""
    from matplotlib.ticker import PercentFormatter

    subtitle = f'four layers without regularization on {num_images:,} images of CIFAR-10; a line for each seed'
    figure = style.make_figure(7.2, 4.6, 'Training error with ReLU and with tanh', subtitle)
    axes = figure.add_axes((0.09, 0.12, 0.88, 0.67))
    for (activation, rate, seed), errors in curves.items():
        if rates.get(activation) == rate:
            label = f'{activation}, rate {rate:g}' if seed == 0 else None
            middles = [number + 0.5 for number in range(len(errors))]
            dashes = '--' if activation == 'tanh' else '-'
            axes.plot(middles, errors, dashes, color=COLORS[activation], linewidth=1.4, label=label)
    axes.axhline(TARGET, color=style.MUTED, linewidth=0.8)
    style.style_axes(axes, grid='y')
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=' %'))
    axes.set_xlabel('epoch', color=style.MUTED, fontsize=9)
    axes.set_title('training error', loc='left', color=style.TEXT, fontsize=10, fontweight='bold', pad=5)
    axes.legend(frameon=False, fontsize=9, labelcolor=style.TEXT)
    style.save_figure(figure, file)


def format_figure(curves: Curves, rates: Mapping[str, float]) -> str:
    """Return the last line: epochs to the target of each activation, and their ratio by seed."""
    parts, epochs = [], {}
    for activation, rate in rates.items():
        by_seed = {
            seed: epochs_to_target(errors)
            for (name, each, seed), errors in curves.items()
            if (name, each) == (activation, rate)
        }
        epochs[activation] = by_seed
        parts.append(f'{activation} {_describe(list(by_seed.values()))} at rate {rate:g}')
    seeds = epochs['relu'].keys() & epochs['tanh'].keys()
    ratios = [epochs['tanh'][seed] / epochs['relu'][seed] for seed in sorted(seeds) if epochs['relu'][seed] < math.inf]
    return (
        f'epochs to {TARGET:.0%} training error: {", ".join(parts)}; ratio {_describe(ratios)} of {len(ratios)} seeds; '
        f'the paper: {PUBLISHED_RATIO}'
    )


def _describe(values: Sequence[float]) -> str:
    return f'{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})' if values else 'unknown'


def parse_rates(text: str) -> list[float]:
    """Return '0.001,0.002' as numbers."""
    return [float(rate) for rate in text.split(',')]


def main() -> None:
    """Run what is missing of the figure, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--dataset', type=Path, help='prepared, or to be; <workdir>/dataset if not given')
    parser.add_argument('--rates', type=parse_rates, default='0.0005,0.001,0.002', help='to begin with')
    parser.add_argument('--search-epochs', type=int, default=10, help='for each rate')
    parser.add_argument('--seeds', type=int, default=3)
    args, flags = parser.parse_known_args()
    if unknown := [flag for flag in flags if not flag.startswith('--config.')]:
        parser.error(f'unknown argument {unknown[0]}; flags of main.py begin with --config.')
    # So that a run is stopped and saved when the script is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.TERMINATED))
    directory = args.dataset or args.workdir / 'dataset'
    figure = Figure(args.workdir, directory, flags)
    rates = {name: figure.find_rate(name, args.rates, args.search_epochs) for name in COLORS}
    for seed in range(args.seeds):
        for activation, rate in rates.items():
            figure.run(activation, rate, seed)
    write_curves(figure.curves, args.workdir / 'figure1.csv')
    plot_errors(figure.curves, rates, open_dataset(directory).counts['train'], args.workdir / 'figure1.png')
    print(format_figure(figure.curves, rates))


if __name__ == '__main__':
    main()
