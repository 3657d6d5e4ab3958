"""Train the miniature on cut-outs in this package and in PyTorch with equal budgets, and compare the test errors.

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


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('twin_cutouts.jsonl'))
    parser.add_argument('--dataset', default=os.path.join(tempfile.gettempdir(), 'twin_cutouts'))
    parser.add_argument('--sides', default=','.join(SIDES))
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument('--rate', type=float, default=0.08, help="the quickstart's, which it falls from by a cosine")
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--images', default='20000,1000,1000', help='to train on, validate on and test')
    parser.add_argument('--prepared', default='', help='the folder of a prepared dataset of ten classes, for cut-outs')
    parser.add_argument('--threads', type=int, default=0, help="of PyTorch's; 0: one for each core")
    return parser.parse_args()


def make_config(args: argparse.Namespace):
    """Return the quickstart's config, shorter."""
    config = quickstart.get_config()
    config.data.directory = args.prepared or f'{args.dataset}_{args.images.replace(",", "_")}'
    config.prepare.num_cutouts = args.images
    config.train.batch_size, config.train.learning_rate = args.batch, args.rate
    config.train.num_epochs = args.steps * args.batch / int(args.images.partition(',')[0])
    config.train.warmup_epochs = min(config.train.warmup_epochs, 0.1 * config.train.num_epochs)
    # As PyTorch has it: one process, all cores.
    config.machine.cpu_devices = 1
    # Before anything imports jax.
    environment.configure_environment(**{name: config.machine[name] for name in environment.SETTINGS})
    validate.validate_config(config)
    return config


class Comparison:
    """The dataset, and by seed the first weights, the batches and the learning rates that all sides share."""

    def __init__(self, config):
        from alexnet_jax.commands import factories, training_plan

        self._factories = factories
        self.config, self.data = config, factories.open_or_prepare_dataset(config, '')
        self.arch = factories.make_architecture(config, self.data)
        self.mesh = factories.make_device_mesh(config, self.arch)
        self.layers = tuple(self.arch.parameter_counts())
        self.plan = training_plan.make_loop_schedule(
            config, factories.make_train_pipeline(config, self.data, self.arch, self.mesh), self.layers
        )

    def begin(self, seed: int, compute: str):
        """Return the model with that seed's first weights, and its batches."""
        import jax

        self.config.seed, self.config.model.compute_dtype = seed, compute
        model = self._factories.make_model(self.config, self.arch, key=jax.random.key(seed))
        return model, self._factories.make_train_pipeline(self.config, self.data, self.arch, self.mesh)

    def test_data(self):
        """Return the test images, each once."""
        return self._factories.make_eval_pipeline(self.config, self.data, 'test', self.mesh)

    def evaluator(self, model):
        """Return the package's evaluator by the center view."""
        return self._factories.make_evaluator(self.config, self.data, model, self.mesh, views=1, num_images=0)


def train_ours(shared: Comparison, seed: int, compute: str) -> dict:
    """Return error, losses and seconds of the package's own step."""
    import jax
    import numpy as np

    from alexnet_jax.data import prefetch
    from alexnet_jax.distributed.sharding import batch_sharding
    from alexnet_jax.train import optimizer, train_step

    model, train_data = shared.begin(seed, compute)
    train = shared.config.train
    rule = optimizer.paper_sgd(shared.layers, momentum=train.momentum, weight_decay=train.weight_decay)
    dropout = jax.random.fold_in(jax.random.key(seed), 1)
    one = train_step.make_train_step(model, rule, shared.mesh, mean=shared.data.mean, key=dropout)
    state, losses, began = train_step.init_train_state(model, rule, shared.mesh), [], time.perf_counter()
    with prefetch.prefetch_to_device(
        train_data.batches(0, shared.plan.num_steps), batch_sharding(shared.mesh)
    ) as batches:
        for number in range(shared.plan.num_steps):
            state, sums = one(state, next(batches), shared.plan.learning_rates(number), np.uint32(number))
            losses.append(sums['loss'] / sums['images'])
    losses = [float(each) for each in jax.device_get(losses)]
    seconds = time.perf_counter() - began
    rates = shared.evaluator(model).evaluate(state.params, shared.test_data())
    return make_row(rates['top1_error'], losses, seconds)


def train_torch(shared: Comparison, seed: int, threads: int) -> dict:
    """Return error, losses and seconds of PyTorch, on the batches as the package's step normalizes them."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))
    import jax
    import numpy as np
    import torch
    import twin

    from alexnet_jax.data.normalize import normalize_batch
    from alexnet_jax.models.alexnet import get_parameters

    model, train_data = shared.begin(seed, 'float32')
    torch.manual_seed(seed)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    other = twin.TWINS['miniature'](shared.arch.num_classes)
    twin.load_parameters(
        other, twin.to_torch_parameters(get_parameters(model), shared.arch.activation_shapes()['pool5'][-1])
    )
    other.keep_prob = next(layer.keep_prob for layer in shared.arch.layers if layer.name == 'drop6')
    rule = twin.PaperSGD(other, momentum=shared.config.train.momentum, weight_decay=shared.config.train.weight_decay)
    finish, losses, began = jax.jit(normalize_batch, static_argnames='static'), [], time.perf_counter()
    for number, batch in enumerate(train_data.batches(0, shared.plan.num_steps)):
        images = np.asarray(finish(batch, shared.data.mean, static=False))
        losses.append(twin.train_step(other, rule, images, batch['label'], learning_rates_by_name(shared, number)))
    seconds = time.perf_counter() - began
    other.eval()
    return make_row(torch_test_error(other, shared), losses, seconds)


def learning_rates_by_name(shared: Comparison, number: int) -> Callable[[str], float]:
    """Return the learning rate of each of PyTorch's parameters at that step."""
    import numpy as np

    table = dict(zip(shared.layers, np.asarray(shared.plan.learning_rates(number)).tolist(), strict=True))
    return lambda name: table[name.partition('.')[0]][name.endswith('.bias')]


def torch_test_error(other, shared: Comparison) -> float:
    """Return the top-1 error of PyTorch's network on the test images, by the center view."""
    import numpy as np
    import torch

    edge = (shared.data.image_size - shared.arch.crop_size) // 2
    inside = slice(edge, edge + shared.arch.crop_size)
    wrong = images = 0
    with torch.no_grad():
        for batch in shared.test_data().batches():
            seen = (batch['image'].astype(np.float32) - shared.data.mean)[:, inside, inside]
            logits = other(torch.from_numpy(np.ascontiguousarray(seen.transpose(0, 3, 1, 2)))).numpy()
            wrong += int(np.sum((logits.argmax(1) != batch['label'])[batch['valid']]))
            images += int(batch['valid'].sum())
    return wrong / images


def make_row(error: float, losses: list[float], seconds: float) -> dict:
    """Return a run as a line of the results file; losses are means over ten steps, thinned out."""
    every = max(1, len(losses) // 20)
    means = [round(statistics.fmean(losses[max(0, at - 10) : at]), 4) for at in range(every, len(losses) + 1, every)]
    return {'error': error, 'losses': means, 'seconds': round(seconds, 1)}


def format_figure(rows: list[dict], sides: list[str]) -> str:
    """Return the last line: mean and range of each side's errors, and if each mean is within the others' range."""
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


def main() -> None:
    """Make the runs that are missing and print the figure."""
    args = parse_args()
    config, shared = make_config(args), None
    wanted = {
        'data': args.prepared and Path(args.prepared).name,
        'steps': args.steps,
        'rate': args.rate,
        'batch': args.batch,
        'images': args.images,
    }
    rows = [
        row
        for row in results_file.read_rows(args.results)
        if wanted.items() <= row.items() and row['seed'] < args.seeds
    ]
    done = {(row['side'], row['seed']) for row in rows}
    sides = args.sides.split(',')
    for seed, side in itertools.product(range(args.seeds), sides):
        if (side, seed) in done:
            continue
        if shared is None:
            shared = Comparison(config)
            packages = ('jax', 'jaxlib', 'flax', 'numpy', *(('torch',) if 'torch' in sides else ()))
            results_file.append_row(args.results, results_file.describe_environment(packages))
        found = train_torch(shared, seed, args.threads) if side == 'torch' else train_ours(shared, seed, side)
        row = {'side': side, 'seed': seed, **wanted, **found}
        results_file.append_row(args.results, row)
        rows.append(row)
        print(f'{side}, seed {seed}: test error {row["error"]:.1%}, loss {row["losses"][-1]}', flush=True)
    print(f'{format_figure(rows, sides)}; {args.steps} steps of {args.batch}')


if __name__ == '__main__':
    main()
