"""One GPU, one call, under ten minutes: steps from the device cache, their floor, PyTorch beside, and the input.

    python benchmarks/gpu.py --out=/tmp/gpu
    python benchmarks/gpu.py --out=/tmp/gpu --preset=miniature --batches=16 --images=64 --steps=2  # a try on a CPU

For every batch: the network in bfloat16 with XLA's own gradients, with this package's for pooling, for normalization
and for both, in turn; the last also in float32; and PyTorch compiled, channels last, bfloat16, where it is installed
with CUDA. The floor is the multiply-adds of a step at this machine's own rate of matrix products in the same type,
measured first. Then the whole of it: draws on the host, pixels from the cache, and JPEG records decoded by all cores.
Each case is written down as soon as it is measured; --seconds ends the run in time. The last line is the figure.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from alexnet_jax.runtime.environment import configure_environment
from configs import default

configure_environment(default.get_config().machine)
os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.5')  # PyTorch wants some of the card as well

import jax
import jax.numpy as jnp
import numpy as np
import steps

from alexnet_jax import commands
from alexnet_jax.data import augment, dataset, device_cache, pipeline, prefetch
from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.distributed.sharding import batch_sharding, replicated_sharding
from alexnet_jax.models import custom_vjp, presets

OWN = custom_vjp.FAST_OPS['cpu']
FORMULATIONS = {
    'XLA': {},
    'own pooling': {'max_pooling': OWN['max_pooling']},
    'own normalization': {'response_normalization': OWN['response_normalization']},
    'both': dict(OWN),
}
ROUNDS = 5


def parse_args() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        help='gets results.jsonl, a trace of three steps for jax.profiler, and the records',
    )
    parser.add_argument('--preset', default='paper')
    parser.add_argument('--batches', default='128,256,1024,4096')
    parser.add_argument('--images', type=int, default=8192, help='in the device cache')
    parser.add_argument('--steps', type=int, default=20, help='in each turn; fewer of large batches')
    parser.add_argument('--size', type=int, default=8192, help='of the matrices whose product sets the floor')
    parser.add_argument('--trace', type=int, default=1024, help='the batch whose steps are traced')
    parser.add_argument('--records', type=int, default=4096, help='JPEG records for the input; 0: none')
    parser.add_argument('--threads', type=int, default=16)
    parser.add_argument('--seconds', type=float, default=540.0, help='no case is begun after these')
    return parser.parse_args()


def measure_matmul_flops(size: int, dtype: str) -> float:
    """FLOP a second of size x size matrix products, the fastest of ten."""
    a = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    fastest = min(time_call(lambda: product(a).block_until_ready()) for _ in range(10))
    return 2 * size**3 / fastest


def measure_bandwidth(size: int) -> float:
    """Bytes a second read and written, of a float32 array of size^2 numbers."""
    a = jnp.ones((size, size), jnp.float32)
    add = jax.jit(lambda a: a + 1)
    add(a).block_until_ready()
    return 8 * size**2 / min(time_call(lambda: add(a).block_until_ready()) for _ in range(10))


def time_call(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextlib.contextmanager
def use_formulation(name: str) -> Iterator[None]:
    """Within it a step is traced with those layers."""
    table = dict(custom_vjp.REFERENCE_OPS) | FORMULATIONS[name]
    with mock.patch.object(custom_vjp, 'select_ops', lambda *_: table):
        yield


def training_flops(preset: str) -> float:
    """Of a training step for an image: forward, both gradients, and none to the image."""
    adds = presets.get_architecture(preset).macs()
    return 2 * (3 * sum(adds.values()) - adds['conv1'])


def time_batch_size(given: argparse.Namespace, batch: int, images: np.ndarray) -> list[dict]:
    """Every formulation at that batch, in turn; rows of seconds a step."""
    turns: dict[str, Callable[[int], float]] = {}
    rows = []
    for compute, name in [('bfloat16', each) for each in FORMULATIONS] + [('float32', 'both')]:
        turn = steps.make_step_timer(given.preset, batch, compute=compute, images=images)
        with use_formulation(name):
            compiling = time_call(lambda turn=turn: turn(1))
        turn(2)
        turns[f'{compute} {name}'] = turn
        rows.append(
            {'batch': batch, 'name': f'{compute} {name}', 'compile_seconds': compiling, 'seconds': []}
        )
    count = max(2, given.steps * 128 // max(batch, 128))
    for _ in range(ROUNDS):
        for row in rows:
            row['seconds'].append(turns[row['name']](count))
    if batch == given.trace:
        with jax.profiler.trace(str(given.out / 'trace')):
            turns['bfloat16 both'](3)
    return rows


def time_pytorch(given: argparse.Namespace, batch: int) -> dict | None:
    """The same network in PyTorch: compiled, channels last, bfloat16 by autocast; None without it or its CUDA."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available() or given.preset not in ('paper', 'miniature'):
        return None
    from compare_pytorch import with_twin

    arch = presets.get_architecture(given.preset)
    network = with_twin().PaperByHand(arch.num_classes, miniature=given.preset == 'miniature').cuda()
    network = network.to(memory_format=torch.channels_last)
    network.keep_prob = 0.5
    compiled = torch.compile(network)
    pixels = torch.randn(batch, 3, arch.crop_size, arch.crop_size, device='cuda').contiguous(
        memory_format=torch.channels_last
    )
    truth = torch.randint(0, arch.num_classes, (batch,), device='cuda')
    rule = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True)

    def turn(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            rule.zero_grad(set_to_none=True)
            with torch.autocast('cuda', torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(compiled(pixels).float(), truth)
            loss.backward()
            rule.step()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / count

    compiling = time_call(lambda: turn(1))
    turn(2)
    count = max(2, given.steps * 128 // max(batch, 128))
    return {
        'batch': batch,
        'name': 'torch compiled channels_last bfloat16',
        'compile_seconds': compiling,
        'seconds': [turn(count) for _ in range(ROUNDS)],
    }


def prepare_records(given: argparse.Namespace) -> dataset.Dataset:
    """JPEG records of the network's size, prepared once."""
    arch = presets.get_architecture(given.preset)
    config = default.get_config()
    config.prepare.source, config.prepare.num_cutouts = 'cutouts', f'{given.records},20,20'
    config.prepare.image_size = arch.crop_size * 8 // 7
    config.prepare.num_workers = given.threads
    config.data.directory = str(given.out / 'records')
    if not (given.out / 'records' / dataset.MANIFEST_FILE).exists():
        commands.run('prepare', config)
    return dataset.open_dataset(config.data.directory)


def time_with_input(given: argparse.Namespace, data: dataset.Dataset, batch: int, *, held: bool) -> dict:
    """Steps as a run makes them, from the device cache or from JPEG records: images a second, share of waiting."""
    arch, count = presets.get_architecture(given.preset), max(4, given.steps * 256 // max(batch, 256))
    stream = pipeline.TrainPipeline(
        data.split('train'),
        augment.Augmentation(arch.crop_size, True, 'eigenvalues', 0.1, data.pca_basis),
        seed=0,
        batch_size=batch,
        threads=given.threads,
    )
    mesh = make_mesh((1, 1), columns=arch.columns)
    images = None
    if held:
        placed = device_cache.load_to_devices(data.split('train'), replicated_sharding(mesh), threads=given.threads)
        stream, images = stream.metadata_only(placed.labels), placed.images
    with use_formulation('both'):
        one = steps.make_step(given.preset, mesh, images, compute='bfloat16')
        with prefetch.prefetch_to_device(stream.batches(0, count + 3), batch_sharding(mesh), depth=4) as batches:
            for number in range(3):
                jax.block_until_ready(one(next(batches), number))
            waited, began = batches.wait_seconds, time.perf_counter()
            for number in range(3, count + 3):
                done = one(next(batches), number)
            jax.block_until_ready(done)
            seconds, waited = time.perf_counter() - began, batches.wait_seconds - waited
    source = 'device cache' if held else f'JPEG records, {given.threads} threads'
    row = {'batch': batch, 'name': f'whole, {source}', 'images_per_second': count * batch / seconds}
    return row | {'waiting': waited / seconds}


def main() -> None:
    given = parse_args()
    began = time.perf_counter()
    given.out.mkdir(parents=True, exist_ok=True)
    results = open(given.out / 'results.jsonl', 'a')

    def write(row: dict) -> None:
        results.write(json.dumps(row) + '\n')
        results.flush()
        print(format_row(row), flush=True)

    device = jax.devices()[0]
    rates = {dtype: measure_matmul_flops(given.size, dtype) for dtype in ('bfloat16', 'float32')}
    write(
        {
            'device': device.device_kind,
            'jax': jax.__version__,
            'products': rates,
            'copy': measure_bandwidth(given.size),
        }
    )
    side = presets.get_architecture(given.preset).crop_size * 8 // 7
    images = np.random.default_rng(0).integers(0, 256, (given.images, side, side, 3), np.uint8)
    best: dict[int, float] = {}
    theirs: dict[int, float] = {}

    def late() -> bool:
        return time.perf_counter() - began > given.seconds

    for batch in map(int, given.batches.split(',')):
        if late():
            break
        for row in time_batch_size(given, batch, images):
            rate = batch / statistics.median(row['seconds'])
            share = rate * training_flops(given.preset) / rates[row['name'].partition(' ')[0]]
            write(row | {'images_per_second': rate, 'share_of_products': share})
            best[batch] = max(best.get(batch, 0.0), rate)
        if not late() and (row := time_pytorch(given, batch)):
            theirs[batch] = batch / statistics.median(row['seconds'])
            write(row | {'images_per_second': theirs[batch]})
    if given.records and not late():
        data = prepare_records(given)
        for batch, held in [(batch, held) for batch in best for held in (True, False)]:
            if not late() and batch <= given.records:
                write(time_with_input(given, data, batch, held=held))
    parts = [f'{rate:,.0f} images/s at {batch}' for batch, rate in best.items()]
    parts += [f'{best[batch] / rate:.2f} times PyTorch at {batch}' for batch, rate in theirs.items()]
    print('; '.join(parts))


def format_row(row: dict) -> str:
    """A row as a line."""
    if 'device' in row:
        rates = ', '.join(f'{name} {rate / 1e12:.1f} TFLOP/s' for name, rate in row['products'].items())
        return f'{row["device"]}, jax {row["jax"]}: products {rates}; copy {row["copy"] / 1e12:.2f} TB/s'
    line = f'batch {row["batch"]:5}  {row["name"]:40} {row["images_per_second"]:9,.0f} images/s'
    if 'share_of_products' in row:
        line += f'  {row["share_of_products"]:4.0%} of the rate of products'
    if 'waiting' in row:
        line += f'  waiting {row["waiting"]:.0%}'
    if 'compile_seconds' in row:
        line += f'  (compiled in {row["compile_seconds"]:.0f} s)'
    return line


if __name__ == '__main__':
    main()
