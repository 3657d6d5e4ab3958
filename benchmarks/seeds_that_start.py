"""How many of ten seeds leave the loss of guessing, and after how many steps, for each initialization.

    python benchmarks/seeds_that_start.py --results=benchmarks/results/seeds_that_start.jsonl

Trains the miniature on the embedded cut-outs, or on a prepared dataset, at a constant rate (conv1's by FACTORS), as
often as there are initializations times seeds, and each time until the mean loss of ten steps lies 0.1 below ln 10:
then it has started. Every run that ended is a line of the results file; the same command goes on with those that are
missing. The last line printed is the figure.
"""

import argparse
import dataclasses
import itertools
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.config import validate
from alexnet_jax.runtime import environment
from benchmarks import results_file
from configs import quickstart

BELOW = 0.1  # nats under ln 10
OVER = 10  # steps over which the loss is averaged
# Where conv1 begins 60 times smaller its gradient is as much larger; with this factor all is as if pixels were too.
FACTORS = {name: {'conv1': 1 / 60**2} for name in ('he', 'torch')}


def parse_args() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('seeds_that_start.jsonl'))
    parser.add_argument('--dataset', default=os.path.join(tempfile.gettempdir(), 'seeds_that_start'))
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--initializations', default='', help='some of them alone; empty: all')
    parser.add_argument('--steps', type=int, default=600, help='the most that a seed is given')
    parser.add_argument('--rate', type=float, default=0.01, help="the paper's")
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--images', type=int, default=8000, help='cut-outs to train on')
    parser.add_argument(
        '--prepared', default='', help='the folder of a prepared dataset of ten classes, for cut-outs'
    )
    return parser.parse_args()


def make_config(given: argparse.Namespace):
    """The quickstart at a constant rate."""
    config = quickstart.get_config()
    config.data.directory = given.prepared or f'{given.dataset}_{given.images}'
    config.prepare.num_cutouts = f'{given.images},10,10'
    config.train.batch_size, config.train.learning_rate = given.batch, given.rate
    config.train.schedule, config.train.milestones, config.train.warmup_epochs = 'step', '', 0.0
    # Before anything imports jax.
    environment.configure_environment(**{name: config.machine[name] for name in environment.SETTINGS})
    validate.validate_config(config)
    return config


class Trials:
    """The step, compiled once, and what each trial gives it anew: weights, order of the images and dropout."""

    def __init__(self, config):
        from alexnet_jax.commands import factories
        from alexnet_jax.models import initializers
        from alexnet_jax.train import optimizer, schedule, train_step

        self._rooms, self._first_state = factories, train_step.init_train_state
        self._config, self._data = config, factories.open_or_prepare_dataset(config, '')
        self._arch = factories.make_architecture(config, self._data)
        self._mesh = factories.make_device_mesh(config, self._arch)
        layers = tuple(self._arch.parameter_counts())
        self._rates = {
            name: schedule.layer_learning_rates(layers, config.train.learning_rate, FACTORS.get(name, {}))
            for name in initializers.INITIALIZATIONS
        }
        self._rule = optimizer.paper_sgd(layers, momentum=config.train.momentum, weight_decay=config.train.weight_decay)
        network = factories.make_model(config, self._arch)
        self._step = train_step.make_train_step(
            network, self._rule, self._mesh, mean=self._data.mean, key=self._keys(0)[1]
        )

    def _keys(self, seed: int):
        import jax

        key = jax.random.key(seed)
        return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)

    def run(self, initialization: str, seed: int, steps: int) -> dict:
        """When that seed started: 'started' in steps, or None, and the mean of its last losses."""
        import jax
        import numpy as np

        from alexnet_jax.data import prefetch
        from alexnet_jax.distributed.sharding import batch_sharding

        self._config.model.initialization, self._config.seed = initialization, seed
        weights, dropout = self._keys(seed)
        network = self._rooms.network_of(self._config, self._arch, key=weights)
        one = dataclasses.replace(self._step, constants=(self._step.constants[0], dropout))
        state, losses = self._first_state(network, self._rule, self._mesh), []
        stream = self._rooms.training_of(self._config, self._data, self._arch, self._mesh)
        with prefetch.prefetch_to_device(stream.batches(0, steps), batch_sharding(self._mesh)) as batches:
            for number in range(steps):
                state, sums = one(state, next(batches), self._rates[initialization], np.uint32(number))
                sums = jax.device_get(sums)
                losses.append(float(sums['loss'] / sums['images']))
                mean = statistics.fmean(losses[-OVER:])
                if not math.isfinite(mean) or (
                    len(losses) >= OVER and mean < math.log(len(self._data.class_names)) - BELOW
                ):
                    break
        started = math.isfinite(mean) and mean < math.log(len(self._data.class_names)) - BELOW
        return {'started': len(losses) if started else None, 'loss': mean if math.isfinite(mean) else None}


def summarize_seeds(rows: list[dict], initializations: list[str]) -> str:
    """The last line: of how many seeds each initialization starts, and when."""
    parts = []
    for name in initializations:
        steps = [row['started'] for row in rows if row['initialization'] == name]
        when = sorted(step for step in steps if step is not None)
        text = f'{name}: {len(when)} of {len(steps)} start'
        parts.append(
            text
            + (f' (after {when[0]} to {when[-1]} steps, median {statistics.median(when):g})' if when else '')
        )
    return '; '.join(parts)


def run() -> None:
    """All trials that are missing."""
    given = parse_args()
    config = make_config(given)
    from alexnet_jax.models import initializers

    wanted = {
        'data': given.prepared and Path(given.prepared).name,
        'rate': given.rate,
        'batch': given.batch,
        'images': given.images,
        'steps': given.steps,
    }
    rows = [
        row
        for row in results_file.read_rows(given.results)
        if wanted.items() <= row.items() and row['seed'] < given.seeds
    ]
    done, trials = {(row['initialization'], row['seed']) for row in rows}, None
    names = [name for name in given.initializations.split(',') if name] or list(initializers.INITIALIZATIONS)
    for name, seed in itertools.product(names, range(given.seeds)):
        if (name, seed) in done:
            continue
        if trials is None:
            trials = Trials(config)
            results_file.append_row(given.results, results_file.describe_environment())
        row = {'initialization': name, 'seed': seed, **wanted, **trials.run(name, seed, given.steps)}
        results_file.append_row(given.results, row)
        rows.append(row)
        print(f'{name}, seed {seed}: {row["started"] or "not"} started, loss {row["loss"]}', flush=True)
    print(f'{summarize_seeds(rows, names)} within {given.steps} steps at rate {given.rate:g}, batch {given.batch}')


if __name__ == '__main__':
    run()
