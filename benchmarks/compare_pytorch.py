"""Compare training steps, center view and ten views in this package and in PyTorch on the same machine.

    pip install -r requirements-torch.txt
    python benchmarks/compare_pytorch.py --results=benchmarks/results/compare_pytorch.jsonl

The same two groups, response normalization, dropout and SGD with momentum and decay, float32, the same first weights
and images. PyTorch runs as its users write it (`library`: F.local_response_norm) and with the normalization written by
hand from shifted sums (`hand`), in both memory formats (`nchw`, `last`), `eager` and `compiled`, its SGD fused; the
package runs as configs/default.py has it and with model.use_reference_ops. All take turns of several calls in one
process, forward in one round and backward in the next, under the same allocator setting (machine.keep_memory, printed
first). A turn during which other processes took more than a tenth of a core does not count. A figure is the median over
the rounds of the time of one over the package's of the same round, with the lowest and the highest. Each case (train,
center or ten, at a batch) is a line of the results file and is not measured again; the last line printed is the
training ratio.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.runtime import environment
from benchmarks import quiet, results_file
from configs import default

CASES = ('train:32', 'train:128', 'center:32', 'center:128', 'ten:32')
# Rounds, and calls a turn: single steps flatter what suffers less from the runner before it.
ROUNDS, CALLS = {32: 7, 128: 5}, {32: 5, 128: 2}
FORMATS, NORMALIZATIONS, WAYS = ('nchw', 'last'), ('library', 'hand'), ('eager', 'compiled')
OURS, REFERENCE = 'ours', 'reference'
# So small that no number leaves the range in which the time of a product does not depend on it.
LEARNING_RATE = 1e-4


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('compare_pytorch.jsonl'))
    parser.add_argument('--cases', default=','.join(CASES), help='what:batch, of train, center and ten')
    parser.add_argument('--rounds', type=int, default=0, help='0: seven, and five of 128 images and more')
    parser.add_argument('--calls', type=int, default=0, help='in a turn; 0: five, and two of 128 images and more')
    parser.add_argument('--preset', default='paper', help='paper or miniature')
    parser.add_argument('--skip', default='', help='what is left out: a word such as compiled, or a whole name')
    return parser.parse_args()


def make_config(preset: str):
    """Return the paper's config, or the miniature's, and set up the process as main.py does."""
    config = default.get_config()
    config.model.preset = preset
    config.model.initialization = 'source2012'
    settings = {name: config.machine[name] for name in environment.SETTINGS}
    return config, environment.configure_environment(**settings)


def make_images(batch: int, side: int, classes: int):
    """Return smooth noise as uint8 (B, side, side, 3), and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    coarse = rng.normal(125, 50, (batch, -(-side // 8), -(-side // 8), 3)).repeat(8, 1).repeat(8, 2)
    images = coarse[:, :side, :side] + rng.normal(0, 10, (batch, side, side, 3))
    return np.clip(images, 0, 255).astype(np.uint8), rng.integers(0, classes, batch).astype(np.int32)


def make_jax_runner(config, what: str, batch: int, use_reference_ops: bool) -> Callable[[], None]:
    """Return a call that does the package's work once and waits for it."""
    import jax
    import numpy as np

    from alexnet_jax.commands import factories
    from alexnet_jax.distributed.mesh import make_mesh
    from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
    from alexnet_jax.models import presets
    from alexnet_jax.models.alexnet import with_parameters
    from alexnet_jax.runtime.xla_options import compiler_options
    from alexnet_jax.train import optimizer, schedule, train_step

    arch = presets.get_architecture(config.model.preset)
    side = arch.crop_size * 8 // 7
    config.model.use_reference_ops = use_reference_ops
    network = factories.make_model(config, arch, key=jax.random.key(0))
    mesh = make_mesh((1, 1), columns=arch.columns)
    options = compiler_options(config.machine.ynnpack_dots_only)
    use_onednn = factories.pays_onednn(config, arch, None)
    images, labels = make_images(batch, side, arch.num_classes)
    mean = np.full((side, side, 3), 125, np.float32)
    layers = tuple(arch.parameter_counts())
    rule = optimizer.paper_sgd(layers, momentum=config.train.momentum, weight_decay=config.train.weight_decay)
    state = train_step.init_train_state(network, rule, mesh)
    if what != 'train':

        def forward(parameters, images):
            return with_parameters(network, parameters)(images, mesh=mesh, use_onednn=use_onednn)[0]

        views = {'center': 1, 'ten': 10}[what]
        evaluator = Evaluator(
            forward, mean, ViewOptions(arch.crop_size, views), batch_size=batch, mesh=mesh, compiler_options=options
        )
        return lambda: evaluator.probabilities(state.params, images)

    one = train_step.make_train_step(
        network,
        rule,
        mesh,
        mean=mean,
        key=jax.random.key(1),
        options=train_step.StepOptions(compiler_options=options, use_onednn=use_onednn),
    )
    zeros = {name: np.zeros(batch, np.int32) for name in ('id', 'top', 'left')}
    flags = {'mirror': np.zeros(batch, bool), 'valid': np.ones(batch, bool)}
    lighting = {'lighting': np.zeros((batch, 3), np.float32)}
    crops = np.ascontiguousarray(images[:, : arch.crop_size, : arch.crop_size])
    batches = jax.device_put({'image': crops, 'label': labels, **zeros, **flags, **lighting})
    rates = schedule.layer_learning_rates(layers, LEARNING_RATE)
    held = [state]

    def run() -> None:
        held[0], sums = one(held[0], batches, rates, np.uint32(0))
        jax.block_until_ready((held[0], sums))

    return run


def make_torch_runner(config, what: str, batch: int, memory: str, normalization: str, way: str) -> Callable[[], None]:
    """Return a call that does PyTorch's work once."""
    import jax
    import numpy as np
    import torch

    from alexnet_jax.commands import factories
    from alexnet_jax.models import presets
    from alexnet_jax.models.alexnet import get_parameters

    twin = import_twin()
    arch = presets.get_architecture(config.model.preset)
    first = factories.make_model(config, arch, key=jax.random.key(0))
    network = {'library': twin.Paper, 'hand': twin.PaperByHand}[normalization](
        arch.num_classes, miniature=config.model.preset == 'miniature'
    )
    twin.load_parameters(
        network, twin.to_torch_parameters(get_parameters(first), arch.activation_shapes()['pool5'][-1])
    )
    network.keep_prob = 0.5
    memory_format = {'nchw': torch.contiguous_format, 'last': torch.channels_last}[memory]
    network = network.to(memory_format=memory_format)
    side, crop = arch.crop_size * 8 // 7, arch.crop_size
    images, labels = make_images(batch, side, arch.num_classes)
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    compiled = torch.compile(network) if way == 'compiled' else network
    if what == 'train':
        given = (pixels[:, :, :crop, :crop].float() - 125).contiguous(memory_format=memory_format)
        truth = torch.from_numpy(labels.astype(np.int64))
        rule = torch.optim.SGD(
            network.parameters(),
            lr=LEARNING_RATE,
            momentum=config.train.momentum,
            weight_decay=config.train.weight_decay,
            fused=True,
        )

        def run() -> None:
            rule.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(compiled(given), truth).backward()
            rule.step()

        return run

    network.eval()
    edge, far = (side - crop) // 2, side - crop
    places = [(edge, edge)] if what == 'center' else [(0, 0), (0, far), (edge, edge), (far, 0), (far, far)]

    def infer() -> None:
        with torch.inference_mode():
            total = 0
            for (top, left), mirror in itertools.product(places, (False,) if what == 'center' else (False, True)):
                view = pixels[:, :, top : top + crop, left : left + crop].float() - 125
                view = (view.flip(3) if mirror else view).contiguous(memory_format=memory_format)
                total = total + compiled(view).softmax(1)

    return infer


def import_twin():
    """Import tests/twin.py, which is not on the path of a script."""
    folder = str(Path(__file__).resolve().parent.parent / 'tests')
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import twin

    return twin


def time_ratios(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return by runner the median over the rounds of its time over the package's."""
    names = dict.fromkeys(name for each in rounds for name in each)
    return {name: quiet.compare_rounds(rounds, name, OURS)[0] for name in names}


def fastest_torch(found: dict[str, float], *words: str) -> tuple[str, float]:
    """Return PyTorch's fastest runner with all of these words in its name."""
    fitting = {name: each for name, each in found.items() if {'torch', *words} <= set(name.split())}
    return min(fitting.items(), key=lambda pair: pair[1]) if fitting else ('none', float('nan'))


def measure_case(preset: str, what: str, batch: int, skip: list[str], rounds: int, calls: int) -> dict[str, Any]:
    """Return a case's rounds, seconds by runner, and how many turns were thrown away."""
    config, _ = make_config(preset)
    runners = {OURS: make_jax_runner(config, what, batch, use_reference_ops=False)}
    if REFERENCE not in skip:
        runners[REFERENCE] = make_jax_runner(config, what, batch, use_reference_ops=True)
    for way, normalization, memory in itertools.product(WAYS, NORMALIZATIONS, FORMATS):
        name = f'torch {way} {normalization} {memory}'
        if not {way, normalization, memory, name} & set(skip):
            runners[name] = make_torch_runner(config, what, batch, memory, normalization, way)
    for name, run in runners.items():
        began = time.perf_counter()
        run()
        run()
        print(f'  {name}: ready after {time.perf_counter() - began:.1f} s', flush=True)
    measured, discarded = quiet.time_in_turn(runners, rounds, calls)
    return {'rounds': measured, 'calls': calls, 'discarded': discarded}


def format_case(row: dict) -> list[str]:
    """Return the lines of a case: median and fastest time, images per second, multiple of the package's with spread."""
    rounds, views = row['rounds'], ' (ten views each)' if row['what'] == 'ten' else ''
    lines = [
        f'{row["what"]}, {row["batch"]} images{views}: {len(rounds)} rounds of {row["calls"]} calls a turn; '
        f'{row["discarded"]} turns thrown away, in which other processes took over {quiet.MAX_OTHERS} of a core'
    ]
    for name in time_ratios(rounds):
        seconds = quiet.seconds_of(rounds, name)
        middle, (ratio, low, high) = statistics.median(seconds), quiet.compare_rounds(rounds, name, OURS)
        lines.append(
            f'  {name:28} {middle:7.3f} s (fastest {min(seconds):.3f})  {row["batch"] / middle:7.1f} images/s  '
            f'{ratio:5.2f} times ours ({low:.2f} to {high:.2f}, {len(seconds)} rounds)'
        )
    return lines


def format_figure(rows: list[dict]) -> str:
    """Return the last line: the package against PyTorch in training, as its users write it and at its best."""
    parts = []
    for row in rows:
        if row['what'] == 'train':
            found = time_ratios(row['rounds'])
            usual, _ = fastest_torch(found, 'library', 'eager')
            fastest, _ = fastest_torch(found)
            parts.append(
                f'training at batch {row["batch"]}: {found.get(usual, float("nan")):.2f} times the rate of PyTorch as '
                f'its users write it ({usual}), {found.get(fastest, float("nan")):.2f} times its best ({fastest})'
            )
    return '; '.join(parts)


def main() -> None:
    """Measure the cases that are missing and print the table and the figure."""
    given = parse_args()
    _, settings = make_config(given.preset)
    print(*(line for line in settings if 'keep_memory' in line))
    rows = [row for row in results_file.read_rows(given.results) if row.get('preset') == given.preset]
    cases = [(what, int(batch)) for what, _, batch in (each.partition(':') for each in given.cases.split(','))]
    missing = [each for each in cases if each not in {(row['what'], row['batch']) for row in rows}]
    if missing:
        results_file.append_row(
            given.results,
            results_file.describe_environment(('jax', 'jaxlib', 'flax', 'torch', 'numpy')) | {'process': settings},
        )
    for what, batch in missing:
        rounds, calls = given.rounds or ROUNDS.get(batch, 5), given.calls or CALLS.get(batch, 2)
        measured = measure_case(given.preset, what, batch, given.skip.split(','), rounds, calls)
        rows.append({'what': what, 'batch': batch, 'preset': given.preset, **measured})
        results_file.append_row(given.results, rows[-1])
    for row in rows:
        print('\n'.join(format_case(row)))
    print(format_figure([row for row in rows if (row['what'], row['batch']) in cases]))


if __name__ == '__main__':
    main()
