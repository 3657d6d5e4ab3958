"""One GPU, one call, under ten minutes: steps from the device cache, their roofline, PyTorch, and the input.

    python benchmarks/gpu.py --out=/tmp/gpu
    python benchmarks/gpu.py --out=/tmp/gpu --preset=miniature --batches=16 --images=64 --steps=2  # a try on a CPU

For every batch size: the network in bfloat16 with XLA's own gradients, with the CPU's for pooling, for normalization
and for both, and with those for GPUs, in turn; the last also in float32; and PyTorch compiled, channels last, bfloat16,
if it is installed with CUDA. The roofline is the multiply-adds of a step at the measured rate of matrix products of the
same type. Then steps with their input: from the device cache, and from JPEG records decoded by all cores. Each case is
written as soon as it is measured; --seconds ends the run in time. The last line is the figure.
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

from alexnet_jax.runtime import environment
from configs import default

machine = default.get_config().machine
environment.configure_environment(**{name: machine[name] for name in environment.SETTINGS})
os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.5')  # PyTorch wants some of the card as well

import jax
import numpy as np
import steps

from alexnet_jax import commands
from alexnet_jax.data import augment, dataset, device_cache, pipeline, prefetch
from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.distributed.sharding import batch_sharding, replicated_sharding
from alexnet_jax.models import custom_vjp, presets
from alexnet_jax.report import layer_benchmark

OWN = custom_vjp.FAST_OPS['cpu']
FORMULATIONS = {
    'XLA': {},
    'own pooling': {'max_pooling': OWN['max_pooling']},
    'own normalization': {'response_normalization': OWN['response_normalization']},
    'both': dict(OWN),
    'for GPUs': dict(custom_vjp.FAST_OPS['gpu']),
}
ROUNDS = 5


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        help='gets results.jsonl, a trace of three steps for jax.profiler, and the records',
    )
    parser.add_argument('--preset', default='paper')
    parser.add_argument('--batches', default='128,256,1024,4096')
    parser.add_argument('--images', type=int, default=8192, help='in the device cache')
    parser.add_argument('--steps', type=int, default=20, help='in each round; fewer of large batches')
    parser.add_argument('--size', type=int, default=8192, help='of the matrices whose product sets the roofline')
    parser.add_argument('--trace', type=int, default=1024, help='the batch whose steps are traced')
    parser.add_argument('--records', type=int, default=4096, help='JPEG records for the input; 0: none')
    parser.add_argument('--threads', type=int, default=16)
    parser.add_argument('--seconds', type=float, default=540.0, help='start no case after this time')
    return parser.parse_args()


def time_call(call: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextlib.contextmanager
def use_formulation(name: str) -> Iterator[None]:
    """Trace steps inside the context with those operations."""
    table = dict(custom_vjp.REFERENCE_OPS) | FORMULATIONS[name]
    with mock.patch.object(custom_vjp, 'select_ops', lambda *_: table):
        yield


def time_batch_size(args: argparse.Namespace, batch: int, images: np.ndarray) -> list[dict]:
    """Time every formulation at that batch size, in turn; return rows with the seconds of a step."""
    timers: dict[str, Callable[[int], float]] = {}
    rows = []
    for compute, name in [('bfloat16', each) for each in FORMULATIONS] + [('float32', 'for GPUs')]:
        time_steps = steps.make_step_timer(args.preset, batch, compute_dtype=compute, images=images)
        with use_formulation(name):
            compile_seconds = time_call(lambda time_steps=time_steps: time_steps(1))
        time_steps(2)
        timers[f'{compute} {name}'] = time_steps
        rows.append({'batch': batch, 'name': f'{compute} {name}', 'compile_seconds': compile_seconds, 'seconds': []})
    count = max(2, args.steps * 128 // max(batch, 128))
    for _ in range(ROUNDS):
        for row in rows:
            row['seconds'].append(timers[row['name']](count))
    if batch == args.trace:
        with jax.profiler.trace(str(args.out / 'trace')):
            timers['bfloat16 for GPUs'](3)
    return rows


def time_pytorch(args: argparse.Namespace, batch: int) -> dict | None:
    """Time the same network in PyTorch: compiled, channels last, bfloat16 by autocast; None without CUDA for it."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available() or args.preset not in ('paper', 'miniature'):
        return None
    from compare_pytorch import with_twin

    arch = presets.get_architecture(args.preset)
    network = with_twin().PaperByHand(arch.num_classes, miniature=args.preset == 'miniature').cuda()
    network = network.to(memory_format=torch.channels_last)
    network.keep_prob = 0.5
    compiled = torch.compile(network)
    pixels = torch.randn(batch, 3, arch.crop_size, arch.crop_size, device='cuda').contiguous(
        memory_format=torch.channels_last
    )
    truth = torch.randint(0, arch.num_classes, (batch,), device='cuda')
    rule = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True)

    def time_steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            rule.zero_grad(set_to_none=True)
            with torch.autocast('cuda', torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(compiled(pixels).float(), truth)
            loss.backward()
            rule.step()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / count

    compile_seconds = time_call(lambda: time_steps(1))
    time_steps(2)
    count = max(2, args.steps * 128 // max(batch, 128))
    return {
        'batch': batch,
        'name': 'torch compiled channels_last bfloat16',
        'compile_seconds': compile_seconds,
        'seconds': [time_steps(count) for _ in range(ROUNDS)],
    }


def prepare_records(args: argparse.Namespace) -> dataset.Dataset:
    """Prepare JPEG records of the network's size, if they are not there; return the dataset."""
    arch = presets.get_architecture(args.preset)
    config = default.get_config()
    config.prepare.source, config.prepare.num_cutouts = 'cutouts', f'{args.records},20,20'
    config.prepare.image_size = arch.crop_size * 8 // 7
    config.prepare.num_workers = args.threads
    config.data.directory = str(args.out / 'records')
    if not (args.out / 'records' / dataset.MANIFEST_FILE).exists():
        commands.run('prepare', config)
    return dataset.open_dataset(config.data.directory)


def time_with_input(args: argparse.Namespace, data: dataset.Dataset, batch: int, *, cached: bool) -> dict:
    """Time steps with input from the device cache or from JPEG records: images per second, share of waiting."""
    arch, count = presets.get_architecture(args.preset), max(4, args.steps * 256 // max(batch, 256))
    train_data = pipeline.TrainPipeline(
        data.split('train'),
        augment.Augmentation(arch.crop_size, True, 'eigenvalues', 0.1, data.pca_basis),
        seed=0,
        batch_size=batch,
        threads=args.threads,
    )
    mesh = make_mesh((1, 1), columns=arch.columns)
    images = None
    if cached:
        cache = device_cache.load_to_devices(data.split('train'), replicated_sharding(mesh), threads=args.threads)
        train_data, images = train_data.metadata_only(cache.labels), cache.images
    with use_formulation('for GPUs'):
        step = steps.make_step(args.preset, mesh, images, compute_dtype='bfloat16')
        with prefetch.prefetch_to_device(train_data.batches(0, count + 3), batch_sharding(mesh), depth=4) as batches:
            for number in range(3):
                jax.block_until_ready(step(next(batches), number))
            waited, began = batches.wait_seconds, time.perf_counter()
            for number in range(3, count + 3):
                done = step(next(batches), number)
            jax.block_until_ready(done)
            seconds, waited = time.perf_counter() - began, batches.wait_seconds - waited
    source = 'device cache' if cached else f'JPEG records, {args.threads} threads'
    row = {'batch': batch, 'name': f'whole, {source}', 'images_per_second': count * batch / seconds}
    return row | {'waiting': waited / seconds}


def main() -> None:
    args = parse_args()
    began = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    results = open(args.out / 'results.jsonl', 'a')

    def write(row: dict) -> None:
        results.write(json.dumps(row) + '\n')
        results.flush()
        print(format_row(row), flush=True)

    device = jax.devices()[0]
    peaks = {
        dtype: layer_benchmark.measure_peak(dtype, matrix_size=args.size, rounds=10)
        for dtype in ('bfloat16', 'float32')
    }
    write(
        {
            'device': device.device_kind,
            'jax': jax.__version__,
            'products': {dtype: peak.flops for dtype, peak in peaks.items()},
            'copy': peaks['float32'].bytes_per_second,
        }
    )
    arch = presets.get_architecture(args.preset)
    flops, image_size = layer_benchmark.training_flops(arch), arch.crop_size * 8 // 7
    images = np.random.default_rng(0).integers(0, 256, (args.images, image_size, image_size, 3), np.uint8)
    best: dict[int, float] = {}
    pytorch: dict[int, float] = {}

    def is_late() -> bool:
        return time.perf_counter() - began > args.seconds

    for batch in map(int, args.batches.split(',')):
        if is_late():
            break
        for row in time_batch_size(args, batch, images):
            rate = batch / statistics.median(row['seconds'])
            share = rate * flops / peaks[row['name'].partition(' ')[0]].flops
            write(row | {'images_per_second': rate, 'share_of_products': share})
            best[batch] = max(best.get(batch, 0.0), rate)
        if not is_late() and (row := time_pytorch(args, batch)):
            pytorch[batch] = batch / statistics.median(row['seconds'])
            write(row | {'images_per_second': pytorch[batch]})
    if args.records and not is_late():
        data = prepare_records(args)
        for batch, cached in [(batch, cached) for batch in best for cached in (True, False)]:
            if not is_late() and batch <= args.records:
                write(time_with_input(args, data, batch, cached=cached))
    parts = [f'{rate:,.0f} images/s at {batch}' for batch, rate in best.items()]
    parts += [f'{best[batch] / rate:.2f} times PyTorch at {batch}' for batch, rate in pytorch.items()]
    print('; '.join(parts))


def format_row(row: dict) -> str:
    """Return a row as a line."""
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
