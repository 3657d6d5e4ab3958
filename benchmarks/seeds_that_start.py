"""How many of ten seeds leave the loss of guessing, and after how many steps, for each initialization.

    python benchmarks/seeds_that_start.py --results=benchmarks/results/seeds_that_start.jsonl

Trains the miniature on the embedded cut-outs, or on a prepared dataset, at a constant learning rate (conv1's by
LEARNING_RATE_FACTORS) for each initialization and seed, until the mean loss of ten steps is 0.1 below ln 10: then it
has started. Every run that ended is a line of the results file; a rerun does those that are missing. The last line
printed is the figure.
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

MARGIN = 0.1  # nats below ln 10
WINDOW = 10  # steps over which the loss is averaged
# If conv1 begins 60 times smaller, its gradient is 60 times larger; this factor makes up for both.
LEARNING_RATE_FACTORS = {name: {'conv1': 1 / 60**2} for name in ('he', 'torch')}


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('seeds_that_start.jsonl'))
    parser.add_argument('--dataset', default=os.path.join(tempfile.gettempdir(), 'seeds_that_start'))
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--initializations', default='', help='a list; empty: all')
    parser.add_argument('--steps', type=int, default=600, help='at most for each seed')
    parser.add_argument('--rate', type=float, default=0.01, help="the paper's")
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--images', type=int, default=8000, help='cut-outs to train on')
    parser.add_argument(
        '--prepared', default='', help='folder of a prepared dataset of ten classes, instead of cut-outs'
    )
    return parser.parse_args()


def make_config(args: argparse.Namespace):
    """Return the quickstart's config with a constant learning rate."""
    config = quickstart.get_config()
    config.data.directory = args.prepared or f'{args.dataset}_{args.images}'
    config.prepare.num_cutouts = f'{args.images},10,10'
    config.train.batch_size, config.train.learning_rate = args.batch, args.rate
    config.train.schedule, config.train.milestones, config.train.warmup_epochs = 'step', '', 0.0
    # Before anything imports jax.
    environment.configure_environment(**{name: config.machine[name] for name in environment.SETTINGS})
    validate.validate_config(config)
    return config


class Trials:
    """The compiled train step, which every trial runs with its own weights, order of the images and dropout."""

    def __init__(self, config):
        from alexnet_jax.commands import factories
        from alexnet_jax.models import initializers
        from alexnet_jax.train import schedule

        self._config, self._data = config, factories.open_or_prepare_dataset(config, '')
        self._arch = factories.make_architecture(config, self._data)
        self._mesh = factories.make_device_mesh(config, self._arch)
        layers = tuple(self._arch.parameter_counts())
        self._learning_rates = {
            name: schedule.layer_learning_rates(layers, config.train.learning_rate, LEARNING_RATE_FACTORS.get(name, {}))
            for name in initializers.INITIALIZATIONS
        }
        model = factories.make_model(config, self._arch)
        self._step = factories.make_step(config, model, self._mesh, self._data, key=self._keys(0)[1])

    def _keys(self, seed: int):
        """Return the keys of the weights and of the dropout masks."""
        import jax

        key = jax.random.key(seed)
        return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)

    def run(self, initialization: str, seed: int, max_steps: int) -> dict:
        """Return after how many steps that seed 'started', or None, and the mean of its last losses."""
        import jax
        import numpy as np

        from alexnet_jax.commands import factories
        from alexnet_jax.data import prefetch
        from alexnet_jax.distributed.sharding import batch_sharding

        self._config.model.initialization, self._config.seed = initialization, seed
        init_key, dropout_key = self._keys(seed)
        model = factories.make_model(self._config, self._arch, key=init_key)
        train_step = dataclasses.replace(self._step, constants=(self._step.constants[0], dropout_key))
        state, losses = factories.init_state(self._config, model, self._mesh), []
        train_data = factories.make_train_pipeline(self._config, self._data, self._arch, self._mesh)
        learning_rates = self._learning_rates[initialization]
        threshold = math.log(len(self._data.class_names)) - MARGIN
        host_batches = train_data.batches(0, max_steps)
        with prefetch.prefetch_to_device(host_batches, batch_sharding(self._mesh)) as batches:
            for number in range(max_steps):
                state, sums = train_step(state, next(batches), learning_rates, np.uint32(number))
                sums = jax.device_get(sums)
                losses.append(float(sums['loss'] / sums['images']))
                mean = statistics.fmean(losses[-WINDOW:])
                if not math.isfinite(mean) or (len(losses) >= WINDOW and mean < threshold):
                    break
        started = math.isfinite(mean) and mean < threshold
        return {'started': len(losses) if started else None, 'loss': mean if math.isfinite(mean) else None}


def summarize_seeds(rows: list[dict], initializations: list[str]) -> str:
    """Return the last line: how many seeds of each initialization start, and when."""
    parts = []
    for name in initializations:
        steps = [row['started'] for row in rows if row['initialization'] == name]
        when = sorted(step for step in steps if step is not None)
        text = f'{name}: {len(when)} of {len(steps)} start'
        parts.append(
            text + (f' (after {when[0]} to {when[-1]} steps, median {statistics.median(when):g})' if when else '')
        )
    return '; '.join(parts)


def main() -> None:
    """Run all trials that are missing from the results."""
    args = parse_args()
    config = make_config(args)
    from alexnet_jax.models import initializers

    wanted = {
        'data': args.prepared and Path(args.prepared).name,
        'rate': args.rate,
        'batch': args.batch,
        'images': args.images,
        'steps': args.steps,
    }
    rows = [
        row
        for row in results_file.read_rows(args.results)
        if wanted.items() <= row.items() and row['seed'] < args.seeds
    ]
    done, trials = {(row['initialization'], row['seed']) for row in rows}, None
    names = [name for name in args.initializations.split(',') if name] or list(initializers.INITIALIZATIONS)
    for name, seed in itertools.product(names, range(args.seeds)):
        if (name, seed) in done:
            continue
        if trials is None:
            trials = Trials(config)
            results_file.append_row(args.results, results_file.describe_environment())
        row = {'initialization': name, 'seed': seed, **wanted, **trials.run(name, seed, args.steps)}
        results_file.append_row(args.results, row)
        rows.append(row)
        print(f'{name}, seed {seed}: {row["started"] or "not"} started, loss {row["loss"]}', flush=True)
    print(f'{summarize_seeds(rows, names)} within {args.steps} steps at rate {args.rate:g}, batch {args.batch}')


if __name__ == '__main__':
    main()
