"""Mode benchmark: measure the time and the memory of the config's training step on this machine."""

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
from alexnet_jax.config import build
from alexnet_jax.data import dataset, pipeline, prefetch
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.distributed.sharding import DATA_AXIS, batch_sharding
from alexnet_jax.models import custom_vjp
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.report import benchmark_report, layer_benchmark, memory
from alexnet_jax.report.plots import layer_time
from alexnet_jax.runtime import atomic_io
from alexnet_jax.runtime.xla_options import compiler_options
from alexnet_jax.train import schedule

REPORT_FILE, PLOT_FILE = 'benchmark.json', 'benchmark.png'
MEMORY_TABLE_BATCH_SIZES = (32, 128, 256, 1024)
# So small that nothing diverges, whatever the images.
LEARNING_RATE = 1e-6

log = logging.getLogger(__name__)


def benchmark(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Measure, log a table, write benchmark.json and benchmark.png, and return the content of the former."""
    data = open_benchmark_dataset(config, workdir)
    arch = factories.make_architecture(config, data) if data else build.preset_architecture(config)
    mesh = factories.make_device_mesh(config, arch)
    Path(workdir).mkdir(parents=True, exist_ok=True)
    for line in factories.describe_placement(arch, mesh):
        log.info('%s', line)
    base = memory.peak_memory()['process']
    train_data = factories.make_train_pipeline(config, data, arch, mesh) if data else None
    measured = time_train_step(config, arch, mesh, data, train_data)
    measured['memory']['most'] = memory.peak_memory()
    seconds = measured['step']['median']
    with jax.default_matmul_precision(config.model.matmul_precision):
        peak = layer_benchmark.measure_peak(config.model.compute_dtype, rounds=config.benchmark.rounds)
        layers = layer_benchmark.time_layers(
            arch,
            peak,
            custom_vjp.select_ops(
                jax.default_backend(), config.model.use_reference_ops, factories.pays_onednn(config, arch, None)
            ),
            batch_size=config.train.batch_size // mesh.shape[DATA_AXIS],
            compute_dtype=config.model.compute_dtype,
            compiler_options=compiler_options(config.machine.ynnpack_dots_only),
            rounds=config.benchmark.rounds,
        )
    report = {
        **_describe_setup(config, arch, mesh, peak),
        **measured,
        **_measure_throughput(config, arch, mesh, peak, seconds),
        'input': time_input(config, train_data, seconds) if train_data else None,
        **_estimate_costs(config, arch, mesh),
        'layers': [vars(layer) for layer in layers],
    }
    report['memory'] = {**measured['memory'], **report['memory'], 'base': base}
    log.info('%s', '\n'.join(benchmark_report.format_report(report, arch)))
    if is_primary():
        atomic_io.write_json(Path(workdir) / REPORT_FILE, report)
        layer_time.plot_layer_times(
            layers,
            Path(workdir) / PLOT_FILE,
            title=f'{arch.name}, {config.train.batch_size} images on {report["device"]}',
            subtitle='each layer alone, all columns on one device; the whole step: '
            f'{benchmark_report.format_milliseconds(seconds)}',
        )
    log.info('Report and plot: %s, %s', Path(workdir) / REPORT_FILE, Path(workdir) / PLOT_FILE)
    return report


def _describe_setup(
    config: ConfigDict, arch: Architecture, mesh: Mesh, peak: layer_benchmark.MachinePeak
) -> dict[str, Any]:
    return {
        'network': arch.name,
        'batch': config.train.batch_size,
        'compute': config.model.compute_dtype,
        'mesh': dict(mesh.shape),
        'device': jax.devices()[0].device_kind,
        'machine': {'products': peak.matmul_flops, 'bytes_per_second': peak.bytes_per_second},
    }


def _measure_throughput(
    config: ConfigDict, arch: Architecture, mesh: Mesh, peak: layer_benchmark.MachinePeak, seconds: float
) -> dict[str, float]:
    """Return the images and the arithmetic of a step per second, and the share of the machine's peak."""
    flop = config.train.batch_size * layer_benchmark.training_flops(arch)
    # CPU devices share the cores, whose peak was measured together.
    devices = 1 if _on_cpu(mesh) else mesh.size
    return {
        'images_per_second': config.train.batch_size / seconds,
        'flop': flop,
        'flop_per_second': flop / seconds,
        'share': flop / seconds / (peak.flops * devices),
    }


def _estimate_costs(config: ConfigDict, arch: Architecture, mesh: Mesh) -> dict[str, Any]:
    """Return the bytes sent and kept by arithmetic, for this network and for all presets."""
    itemsize, batch_size = jnp.dtype(config.model.compute_dtype).itemsize, config.train.batch_size
    sizes = dict(mesh.shape)
    step = memory.estimate_step_memory(
        arch, batch_size, mesh=sizes, grad_accumulation=config.train.grad_accumulation, itemsize=itemsize
    )
    return {
        'exchanged': memory.bytes_communicated(arch, batch_size, sizes, itemsize),
        # CPU devices share one memory.
        'memory': {'predicted': step, 'itemsize': itemsize, 'sharing': mesh.size if _on_cpu(mesh) else 1},
        'presets': estimate_memory_table(arch.num_classes, itemsize),
    }


def _on_cpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == 'cpu'


def open_benchmark_dataset(config: ConfigDict, workdir: str) -> dataset.Dataset | None:
    """Return the config's dataset if it exists or is quickly made; else log a line and return None."""
    directory = prepare.locate_dataset(config, workdir)
    if (directory / dataset.MANIFEST_FILE).exists() or config.prepare.source == 'cutouts':
        return factories.open_or_prepare_dataset(config, workdir)
    log.info('%s has no dataset yet: random images are used instead, and input is not measured.', directory)
    return None


def time_train_step(
    config: ConfigDict,
    arch: Architecture,
    mesh: Mesh,
    data: dataset.Dataset | None,
    train_data: pipeline.TrainPipeline | None,
) -> dict[str, Any]:
    """Measure the training step: its compilation, its time alone, its memory, and its time behind the input."""
    num_steps, image_size = config.benchmark.steps, data.image_size if data else arch.crop_size
    cache = factories.make_device_cache(config, data, mesh) if data else None
    if train_data and cache:
        train_data = train_data.metadata_only(cache.labels)
    key = jax.random.key(config.seed, impl='threefry2x32')
    gray = np.full((image_size, image_size, arch.channels), 125, np.float32)
    step = factories.make_step(
        config,
        factories.make_model(config, arch),
        mesh,
        data or DatasetInfo('random images', (), (), image_size, gray, checksum=''),
        key=key,
        cached_images=cache.images if cache else None,
    )
    state = factories.init_state(config, factories.make_model(config, arch, key=key), mesh)
    learning_rates = schedule.layer_learning_rates(tuple(arch.parameter_counts()), LEARNING_RATE)
    host_batch = train_data.batch(0) if train_data else random_batch(arch, config.train.batch_size)
    batch = jax.make_array_from_process_local_data(batch_sharding(mesh), host_batch)
    start = time.perf_counter()
    compiled = step.lower(state, batch, learning_rates, np.uint32(0)).compile()
    measured: dict[str, Any] = {'compile': time.perf_counter() - start}
    process = memory.peak_memory()['process']

    def run(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        nonlocal state
        state, sums = compiled(state, batch, learning_rates, np.uint32(0), *step.constants)
        return sums

    measured['step'] = layer_benchmark.summary_stats(layer_benchmark.time_calls(lambda: run(batch), num_steps))
    measured['memory'] = {'program': memory.compiled_memory(compiled), 'compiled': process}
    if train_data:
        with prefetch.prefetch_to_device(
            train_data.batches(0, num_steps + 1), batch_sharding(mesh), depth=config.data.prefetch
        ) as batches:
            jax.block_until_ready(run(next(batches)))
            start, waited = time.perf_counter(), batches.wait_seconds
            for _ in range(num_steps):
                sums = run(next(batches))
            jax.block_until_ready(sums)
            seconds = time.perf_counter() - start
            measured['whole'] = {'step': seconds / num_steps, 'waiting': (batches.wait_seconds - waited) / seconds}
    return measured


def random_batch(arch: Architecture, batch_size: int) -> pipeline.Batch:
    """Return this process's share of a batch of random images."""
    share = batch_size // jax.process_count()
    rng = np.random.default_rng(0)
    zeros = {name: np.zeros(share, np.int32) for name in ('id', 'top', 'left')}
    return zeros | {
        'image': rng.integers(0, 256, (share, arch.crop_size, arch.crop_size, arch.channels), np.uint8),
        'label': rng.integers(0, arch.num_classes, share, np.int32),
        'mirror': np.zeros(share, bool),
        'lighting': np.zeros((share, 3), np.float32),
        'valid': np.ones(share, bool),
    }


def time_input(config: ConfigDict, train_data: pipeline.TrainPipeline, step_seconds: float) -> dict[str, float]:
    """Measure the input alone: images per second, and its time for a batch as a share of a step's."""
    num_steps = config.benchmark.steps
    batches = train_data.batches(0, num_steps + 1)
    next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    seconds = (time.perf_counter() - start) / num_steps
    return {'images_per_second': config.train.batch_size / seconds, 'share': seconds / step_seconds}


def estimate_memory_table(num_classes: int, itemsize: int) -> dict[str, dict[str, int]]:
    """Return the estimated bytes of a step by preset and batch size."""
    return {
        name: {
            str(batch_size): memory.estimate_step_memory(
                get_architecture(name, num_classes=num_classes), batch_size, itemsize=itemsize
            )['all']
            for batch_size in MEMORY_TABLE_BATCH_SIZES
        }
        for name in PRESETS
    }
