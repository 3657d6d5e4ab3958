"""Mode benchmark: where the time and the memory of a training step go, on this machine and for the config at hand."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.commands import factories, prepare
from alexnet_jax.config import validate
from alexnet_jax.data import dataset, pipeline, prefetch
from alexnet_jax.distributed.mesh import batch_sharding, compiler_options, is_primary
from alexnet_jax.models import presets
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.report import benchmark_report, layer_benchmark, memory
from alexnet_jax.report.plots import layer_time
from alexnet_jax.runtime import atomic_io
from alexnet_jax.train import optimizer, schedule, train_step

FILE, PICTURE = 'benchmark.json', 'benchmark.png'
BATCHES = (32, 128, 256, 1024)  # of the table of memory
RATE = 1e-6  # nothing diverges, whatever the images

log = logging.getLogger(__name__)


def benchmark(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Measures, says it as a table, and writes benchmark.json and benchmark.png; the content of the former."""
    data = prepared(config, workdir)
    shape = architecture_of(config, data)
    mesh = factories.mesh_of(config, shape)
    Path(workdir).mkdir(parents=True, exist_ok=True)
    for line in factories.describe(shape, mesh):
        log.info('%s', line)
    itemsize, batch = jnp.dtype(config.model.compute_dtype).itemsize, config.train.batch_size
    base = memory.most()['process']
    stream = factories.training_of(config, data, shape, mesh) if data else None
    found = whole(config, shape, mesh, data, stream)
    most = memory.most()
    with jax.default_matmul_precision(config.model.matmul_precision):
        limits = layer_benchmark.machine(config.model.compute_dtype, rounds=config.benchmark.rounds)
    seconds = found['step']['median']
    on_cpu = mesh.devices.flat[0].platform == 'cpu'  # whose devices share the cores and the memory
    flop = batch * layer_benchmark.training_flop(shape)
    report = {
        'network': shape.name,
        'batch': batch,
        'compute': config.model.compute_dtype,
        'mesh': dict(mesh.shape),
        'device': jax.devices()[0].device_kind,
        'machine': {'products': limits.products, 'bytes_per_second': limits.bytes_per_second},
        **found,
        'images_per_second': batch / seconds,
        'flop': flop,
        'flop_per_second': flop / seconds,
        'share': flop / seconds / (limits.rate * (1 if on_cpu else mesh.size)),
        'input': input_of(config, stream, seconds) if stream else None,
        'exchanged': memory.exchanged(shape, batch, dict(mesh.shape), itemsize),
        'memory': found['memory']
        | {
            'predicted': memory.predicted(
                shape, batch, accumulate=config.train.grad_accumulation, itemsize=itemsize, **mesh.shape
            ),
            'base': base,
            'itemsize': itemsize,
            'sharing': mesh.size if on_cpu else 1,  # devices of one memory
            'most': most,
        },
        'presets': table_of_memory(shape.classes, itemsize),
    }
    with jax.default_matmul_precision(config.model.matmul_precision):
        each = layer_benchmark.layers(
            shape,
            limits,
            batch=batch // mesh.shape['data'],
            compute=config.model.compute_dtype,
            plain=config.model.use_reference_ops,
            compiler_options=compiler_options(config.machine.ynnpack_dots_only),
            rounds=config.benchmark.rounds,
        )
    report['layers'] = [vars(layer) for layer in each]
    log.info('%s', '\n'.join(benchmark_report.lines(report, shape)))
    if is_primary():
        atomic_io.write_json(Path(workdir) / FILE, report)
        layer_time.by_layer(
            each,
            Path(workdir) / PICTURE,
            title=f'{shape.name}, {batch} images on {report["device"]}',
            subtitle=f'each layer alone, all columns on one device; the whole step: {benchmark_report.milliseconds(seconds)}',
        )
    log.info('Figures and picture: %s, %s', Path(workdir) / FILE, Path(workdir) / PICTURE)
    return report


def prepared(config: ConfigDict, workdir: str) -> dataset.Dataset | None:
    """The dataset that the config trains on, where it is there or quickly made; else None, with a line."""
    directory = prepare.locate_dataset(config, workdir)
    if (directory / dataset.MANIFEST_FILE).exists() or config.prepare.source == 'cutouts':
        return factories.open_dataset(config, workdir)
    log.info('No dataset in %s yet: noise takes its place, and the input is not measured.', directory)
    return None


def architecture_of(config: ConfigDict, data: dataset.Dataset | None) -> Architecture:
    """The preset, for the dataset's classes or, without one, its own."""
    if data:
        return factories.architecture_of(config, data)
    classes = config.model.num_classes or None
    return presets.get(config.model.preset, classes=classes, **validate.variations(config))


def whole(
    config: ConfigDict,
    shape: Architecture,
    mesh: Mesh,
    data: dataset.Dataset | None,
    stream: pipeline.TrainPipeline | None,
) -> dict[str, Any]:
    """The training step: its compilation, its time alone, the memory of its program, its time behind the input."""
    layers, steps = tuple(shape.parameters()), config.benchmark.steps
    side = data.side if data else shape.crop
    held = factories.cache_of(config, data, mesh) if data else None
    if stream and held:
        stream = stream.without_pixels(held.labels)
    one = train_step.make_train_step(
        factories.network_of(config, shape),
        optimizer.paper_sgd(layers, momentum=config.train.momentum, decay=config.train.weight_decay),
        mesh,
        mean=data.mean if data else np.full((side, side, shape.channels), 125, np.float32),
        mean_kind=config.augment.mean,
        key=jax.random.key(config.seed),
        accumulate=config.train.grad_accumulation,
        images=held.images if held else None,
        compiler_options=compiler_options(config.machine.ynnpack_dots_only),
    )
    sharding, rates = batch_sharding(mesh), schedule.layer_learning_rates(layers, RATE)
    given = stream.batch(0) if stream else noise(shape, config.train.batch_size)
    placed = jax.make_array_from_process_local_data(sharding, given)
    state = train_step.init_train_state(factories.network_of(config, shape, key=jax.random.key(config.seed)), mesh)
    began = time.perf_counter()
    compiled = one.lower(state, placed, rates, np.uint32(0)).compile()
    found: dict[str, Any] = {'compile': time.perf_counter() - began}
    process = memory.most()['process']

    def run(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        nonlocal state
        state, sums = compiled(state, batch, rates, np.uint32(0), *one.constants)
        return sums

    found['step'] = layer_benchmark.spread(layer_benchmark.timed(lambda: run(placed), steps))
    found['memory'] = {'program': memory.of_program(compiled), 'compiled': process}
    if stream:
        with prefetch.prefetch_to_device(stream.batches(0, steps + 1), sharding, ahead=config.data.prefetch) as batches:
            jax.block_until_ready(run(next(batches)))
            began, before = time.perf_counter(), batches.waited
            for _ in range(steps):
                sums = run(next(batches))
            jax.block_until_ready(sums)
            seconds = time.perf_counter() - began
            found['whole'] = {'step': seconds / steps, 'waiting': (batches.waited - before) / seconds}
    return found


def noise(shape: Architecture, batch: int) -> pipeline.Batch:
    """This host's share of a batch of made-up images."""
    share = batch // jax.process_count()
    rng = np.random.default_rng(0)
    whole = {name: np.zeros(share, np.int32) for name in ('id', 'top', 'left')}
    return whole | {
        'image': rng.integers(0, 256, (share, shape.crop, shape.crop, shape.channels), np.uint8),
        'label': rng.integers(0, shape.classes, share, np.int32),
        'mirror': np.zeros(share, bool),
        'lighting': np.zeros((share, 3), np.float32),
        'real': np.ones(share, bool),
    }


def input_of(config: ConfigDict, stream: pipeline.TrainPipeline, seconds: float) -> dict[str, float]:
    """The input alone: images a second, and its time for a batch over that of a step."""
    steps, batches = config.benchmark.steps, stream.batches(0, config.benchmark.steps + 1)
    next(batches)
    began = time.perf_counter()
    for _ in batches:
        pass
    each = (time.perf_counter() - began) / steps
    return {'images_per_second': config.train.batch_size / each, 'share': each / seconds}


def table_of_memory(classes: int, itemsize: int) -> dict[str, dict[str, int]]:
    """Predicted bytes of a step by preset and batch."""
    return {
        name: {
            str(batch): memory.predicted(presets.get(name, classes=classes), batch, itemsize=itemsize)['all']
            for batch in BATCHES
        }
        for name in presets.PRESETS
    }
