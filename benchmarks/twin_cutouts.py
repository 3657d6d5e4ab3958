"""The miniature on cut-outs by this package and by PyTorch, with equal budgets: the test errors of three seeds each.

    pip install -r requirements-torch.txt
    python benchmarks/twin_cutouts.py --results=benchmarks/results/twin_cutouts.jsonl

Sides: `float32` and `bfloat16` are the package's own step, `torch` is tests/twin.py. A seed gives all sides the same
first weights, batches and schedule; each draws its dropout itself. Every run that ended is a line of the results file;
the same command goes on with those that are missing. The last line printed is the figure.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.config import validate
from alexnet_jax.runtime import environment
from benchmarks import results_file
from configs import quickstart

SIDES = ('float32', 'torch', 'bfloat16')


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('twin_cutouts.jsonl'))
    parser.add_argument('--dataset', default=os.path.join(tempfile.gettempdir(), 'twin_cutouts'))
    parser.add_argument('--sides', default=','.join(SIDES))
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument(
        '--rate', type=float, default=0.08, help="the quickstart's, which it falls from by a cosine"
    )
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--images', default='20000,1000,1000', help='to train on, validate on and test')
    parser.add_argument(
        '--prepared', default='', help='the folder of a prepared dataset of ten classes, for cut-outs'
    )
    parser.add_argument('--threads', type=int, default=0, help="of PyTorch's; 0: one for each core")
    return parser.parse_args()


def config_of(given: argparse.Namespace):
    """The quickstart, shorter."""
    config = quickstart.get_config()
    config.data.directory = given.prepared or f'{given.dataset}_{given.images.replace(",", "_")}'
    config.prepare.num_cutouts = given.images
    config.train.batch_size, config.train.learning_rate = given.batch, given.rate
    config.train.num_epochs = given.steps * given.batch / int(given.images.partition(',')[0])
    config.train.warmup_epochs = min(config.train.warmup_epochs, 0.1 * config.train.num_epochs)
    config.machine.cpu_devices = 1  # as PyTorch has it: one process, all cores
    # Before anything imports jax.
    environment.configure_environment(**{name: config.machine[name] for name in environment.SETTINGS})
    validate.check(config)
    return config


class Race:
    """What both sides run on: the dataset, the network's first weights, the batches and the rates of a seed."""

    def __init__(self, config):
        from alexnet_jax.commands import factories, training_plan

        self._rooms = factories
        self.config, self.data = config, factories.open_or_prepare_dataset(config, '')
        self.arch = factories.make_architecture(config, self.data)
        self.mesh = factories.make_device_mesh(config, self.arch)
        self.layers = tuple(self.arch.parameter_counts())
        self.plan = training_plan.make_loop_schedule(
            config, factories.make_train_pipeline(config, self.data, self.arch, self.mesh), self.layers
        )

    def begin(self, seed: int, compute: str):
        """The network with that seed's first weights, and its stream of batches."""
        import jax

        self.config.seed, self.config.model.compute_dtype = seed, compute
        network = self._rooms.network_of(self.config, self.arch, key=jax.random.key(seed))
        return network, self._rooms.training_of(self.config, self.data, self.arch, self.mesh)

    def scoring(self):
        """The test images, each once."""
        return self._rooms.scoring_of(self.config, self.data, 'test', self.mesh)

    def evaluator(self, network):
        """The package's own, by the center view."""
        return self._rooms.make_evaluator(self.config, self.data, network, self.mesh, num_views=1)


def ours(race: Race, seed: int, compute: str) -> dict:
    """Error, losses and seconds of the package's own step."""
    import jax
    import numpy as np

    from alexnet_jax.data import prefetch
    from alexnet_jax.distributed.sharding import batch_sharding
    from alexnet_jax.train import optimizer, train_step

    network, stream = race.begin(seed, compute)
    train = race.config.train
    rule = optimizer.paper_sgd(race.layers, momentum=train.momentum, weight_decay=train.weight_decay)
    dropout = jax.random.fold_in(jax.random.key(seed), 1)
    one = train_step.make_train_step(network, rule, race.mesh, mean=race.data.mean, key=dropout)
    state, losses, began = train_step.init_train_state(network, rule, race.mesh), [], time.perf_counter()
    with prefetch.prefetch_to_device(stream.batches(0, race.plan.num_steps), batch_sharding(race.mesh)) as batches:
        for number in range(race.plan.num_steps):
            state, sums = one(state, next(batches), race.plan.learning_rates(number), np.uint32(number))
            losses.append(sums['loss'] / sums['images'])
    losses = [float(each) for each in jax.device_get(losses)]
    seconds = time.perf_counter() - began
    rates = race.evaluator(network).evaluate(state.params, race.scoring())
    return result(rates['top1_error'], losses, seconds)


def theirs(race: Race, seed: int, threads: int) -> dict:
    """Error, losses and seconds of PyTorch, on the batches as the package's step finishes them."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))
    import jax
    import numpy as np
    import torch
    import twin

    from alexnet_jax.data.normalize import normalize_batch
    from alexnet_jax.models.alexnet import get_parameters

    network, stream = race.begin(seed, 'float32')
    torch.manual_seed(seed)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    other = twin.TWINS['miniature'](race.arch.num_classes)
    twin.load_parameters(other, twin.to_torch_parameters(get_parameters(network), race.arch.activation_shapes()['pool5'][-1]))
    other.keep_prob = next(layer.keep_prob for layer in race.arch.layers if layer.name == 'drop6')
    rule = twin.PaperSGD(other, momentum=race.config.train.momentum, weight_decay=race.config.train.weight_decay)
    finish, losses, began = jax.jit(normalize_batch, static_argnames='static'), [], time.perf_counter()
    for number, batch in enumerate(stream.batches(0, race.plan.num_steps)):
        images = np.asarray(finish(batch, race.data.mean, static=False))
        losses.append(twin.train_step(other, rule, images, batch['label'], rate_of(race, number)))
    seconds = time.perf_counter() - began
    other.eval()
    return result(error_of(other, race), losses, seconds)


def rate_of(race: Race, number: int) -> Callable[[str], float]:
    """The rate of each of PyTorch's parameters at that step."""
    import numpy as np

    table = dict(zip(race.layers, np.asarray(race.plan.learning_rates(number)).tolist(), strict=True))
    return lambda name: table[name.partition('.')[0]][name.endswith('.bias')]


def error_of(other, race: Race) -> float:
    """Top-1 error of PyTorch's network on the test images, by the center view."""
    import numpy as np
    import torch

    edge = (race.data.image_size - race.arch.crop_size) // 2
    inside = slice(edge, edge + race.arch.crop_size)
    wrong = images = 0
    with torch.no_grad():
        for batch in race.scoring().batches():
            seen = (batch['image'].astype(np.float32) - race.data.mean)[:, inside, inside]
            logits = other(torch.from_numpy(np.ascontiguousarray(seen.transpose(0, 3, 1, 2)))).numpy()
            wrong += int(np.sum((logits.argmax(1) != batch['label'])[batch['valid']]))
            images += int(batch['valid'].sum())
    return wrong / images


def result(error: float, losses: list[float], seconds: float) -> dict:
    """What a line of the results file says of a run; losses as means over ten steps, thinned out."""
    every = max(1, len(losses) // 20)
    means = [
        round(statistics.fmean(losses[max(0, at - 10) : at]), 4)
        for at in range(every, len(losses) + 1, every)
    ]
    return {'error': error, 'losses': means, 'seconds': round(seconds, 1)}


def figure(rows: list[dict], sides: list[str]) -> str:
    """The last line: mean and range of each side's errors, and whether each mean lies within the others' range."""
    errors = {side: sorted(row['error'] for row in rows if row['side'] == side) for side in sides}
    errors = {side: each for side, each in errors.items() if each}
    parts = [
        f'{side} {statistics.fmean(each):.1%} ({each[0]:.1%} to {each[-1]:.1%}, {len(each)} seeds)'
        for side, each in errors.items()
    ]
    within = [
        f'{one} {"within" if low <= statistics.fmean(errors[one]) <= high else "outside"} {other}'
        for one, other in itertools.permutations(errors, 2)
        for low, high in [(errors[other][0], errors[other][-1])]
    ]
    return f'test error: {"; ".join(parts)}; means against ranges: {", ".join(within)}'


def run() -> None:
    """All runs that are missing."""
    given = arguments()
    config, race = config_of(given), None
    wanted = {
        'data': given.prepared and Path(given.prepared).name,
        'steps': given.steps,
        'rate': given.rate,
        'batch': given.batch,
        'images': given.images,
    }
    rows = [
        row
        for row in results_file.known(given.results)
        if wanted.items() <= row.items() and row['seed'] < given.seeds
    ]
    done = {(row['side'], row['seed']) for row in rows}
    sides = given.sides.split(',')
    for seed, side in itertools.product(range(given.seeds), sides):
        if (side, seed) in done:
            continue
        if race is None:
            race = Race(config)
            packages = ('jax', 'jaxlib', 'flax', 'numpy', *(('torch',) if 'torch' in sides else ()))
            results_file.write(given.results, results_file.about(packages))
        found = theirs(race, seed, given.threads) if side == 'torch' else ours(race, seed, side)
        row = {'side': side, 'seed': seed, **wanted, **found}
        results_file.write(given.results, row)
        rows.append(row)
        print(f'{side}, seed {seed}: test error {row["error"]:.1%}, loss {row["losses"][-1]}', flush=True)
    print(f'{figure(rows, sides)}; {given.steps} steps of {given.batch}')


if __name__ == '__main__':
    run()
