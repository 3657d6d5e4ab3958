"""Mode compile: compile the config's training step for a machine that is not at hand, and say what the program does.

From shapes alone: no dataset, and no device but the CPU. Nothing is run; times are estimates from published rates.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.commands import benchmark, factories
from alexnet_jax.config import build
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.distributed import targets
from alexnet_jax.distributed.mesh import describe_neighbors
from alexnet_jax.distributed.sharding import DATA_AXIS, batch_sharding, replicated_sharding
from alexnet_jax.errors import UserError, first_line
from alexnet_jax.evaluate.view_places import count_views
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.report import compile_report, compiled_program, layer_benchmark, memory
from alexnet_jax.report.plots import layer_bytes
from alexnet_jax.runtime import atomic_io
from alexnet_jax.train.train_step import abstract_train_state

REPORT_FILE, PLOT_FILE = 'compile.json', 'compile.png'
# Parts of the step that are no layers, as train_step and alexnet name them.
OTHER_SCOPES = ('input', 'masks', 'weights', 'loss', 'update')

log = logging.getLogger(__name__)


def compile_step(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Compile, log one screen and return its numbers; with a workdir also write compile.json and compile.png.

    Raises UserError if the target is unknown, cannot be compiled for here, or has too little memory.
    """
    if config.compile.target == 'list':
        log.info('%s', '\n'.join(targets.format_targets()))
        return {'targets': list(targets.EXAMPLES)}
    target = targets.parse_target(config.compile.target)
    devices = targets.make_devices(target)
    arch = build.preset_architecture(config)
    mesh = factories.make_device_mesh(config, arch, devices=devices)
    report = {
        'target': str(target),
        'device': devices[0].device_kind,
        'network': arch.name,
        'classes': arch.num_classes,
        'batch': config.train.batch_size,
        'compute': config.model.compute_dtype,
        'precision': config.model.matmul_precision,
        'mesh': dict(mesh.shape),
        'hosts': len({device.process_index for device in devices}),
        'placement': describe_neighbors(mesh),
        'versions': {'jax': jax.__version__, 'jaxlib': jaxlib.__version__} | targets.extra_versions(target.platform),
        'training': compile_training(config, arch, mesh, target),
    }
    if config.compile.evaluation:
        report['evaluation'] = compile_evaluation(config, arch, mesh, target)
    log.info('%s', '\n'.join(compile_report.format_report(report)))
    if workdir:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        atomic_io.write_json(Path(workdir) / REPORT_FILE, report)
        layer_bytes.plot_layer_bytes(
            report['training']['bytes_by_layer'],
            Path(workdir) / PLOT_FILE,
            title=f'{arch.name}, {config.train.batch_size:,} images on {target}',
            subtitle='bytes that the compiled training step reads and writes on one device',
        )
        log.info('Report and plot: %s, %s', Path(workdir) / REPORT_FILE, Path(workdir) / PLOT_FILE)
    return report


def compile_training(
    config: ConfigDict, arch: Architecture, mesh: Mesh, target: targets.CompileTarget
) -> dict[str, Any]:
    """Compile the training step; return what `_describe_program` does, and the largest batch that fits."""
    images = config.train.batch_size // mesh.shape[DATA_AXIS]
    lowered, state = lower_training(config, arch, mesh)
    compiled, seconds = _compile_lowered(lowered, target, config.train.batch_size)
    found = _describe_program(config, arch, mesh, target, compiled, images)
    # The update's gradients are float32; all else beside the state and cached images grows with the batch.
    state_bytes = compile_report.bytes_on_device(state)
    fixed = state_bytes + state_bytes // 2 + compile_report.bytes_on_device(_cached_images(config, arch, mesh))
    if target.rates and found['memory']:
        per_image = max(1.0, (found['memory']['all'] - fixed) / images)
        found['largest_batch'] = max(0, int((target.rates.memory - fixed) / per_image)) * mesh.shape[DATA_AXIS]
    return {'seconds': seconds, **found}


def compile_evaluation(
    config: ConfigDict, arch: Architecture, mesh: Mesh, target: targets.CompileTarget
) -> dict[str, Any]:
    """Compile the evaluation of a batch with the views of config.evaluate; return what `_describe_program` does."""
    images = config.evaluate.batch_size // mesh.shape[DATA_AXIS]
    evaluator = factories.make_evaluator(
        config,
        _gray_info(config, arch),
        factories.make_model(config, arch),
        mesh,
        views=build.report_views(config),
        num_images=config.evaluate.batch_size,
    )
    state = abstract_train_state(arch, factories.make_optimizer(config, arch), mesh)
    side = _image_size(config, arch)
    batch = abstract_batch(arch, config.evaluate.batch_size, mesh, image_size=side)
    batch = {name: batch[name] for name in ('id', 'image', 'label', 'valid')}
    lowered = evaluator.lower(state.params, batch)
    compiled, seconds = _compile_lowered(lowered, target, config.evaluate.batch_size)
    return {'seconds': seconds, **_describe_program(config, arch, mesh, target, compiled, images, passes=1)}


def lower_training(config: ConfigDict, arch: Architecture, mesh: Mesh) -> tuple[Any, Any]:
    """Return the training step, lowered from shapes alone, and the shapes of its state."""
    cached = _cached_images(config, arch, mesh)
    step = factories.make_step(
        config,
        factories.make_model(config, arch),
        mesh,
        _gray_info(config, arch),
        key=jax.random.key(config.seed, impl='threefry2x32'),
        cached_images=cached,
    )
    state = abstract_train_state(arch, factories.make_optimizer(config, arch), mesh)
    batch = abstract_batch(arch, config.train.batch_size, mesh)
    if cached is not None:
        del batch['image']
    rates = np.zeros((len(arch.parameter_counts()), 2), np.float32)
    return step.lower(state, batch, rates, np.uint32(0)), state


def _cached_images(config: ConfigDict, arch: Architecture, mesh: Mesh) -> jax.ShapeDtypeStruct | None:
    """Return the shape of the images that every device keeps; None without data.device_cache."""
    if not config.data.device_cache:
        return None
    side = _image_size(config, arch)
    shape = (config.compile.num_images, side, side, arch.channels)
    return jax.ShapeDtypeStruct(shape, np.uint8, sharding=replicated_sharding(mesh))


def abstract_batch(arch: Architecture, batch_size: int, mesh: Mesh, *, image_size: int = 0) -> dict[str, Any]:
    """Return the shapes of a batch on a mesh, its images of `image_size` pixels (0: the network's crops)."""
    one = benchmark.random_batch(arch, jax.process_count())
    shapes = {name: array.shape[1:] for name, array in one.items()}
    if image_size:
        shapes['image'] = (image_size, image_size, arch.channels)
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), one[name].dtype, sharding=batch_sharding(mesh))
        for name, shape in shapes.items()
    }


def _image_size(config: ConfigDict, arch: Architecture) -> int:
    return max(config.prepare.image_size, arch.crop_size)


def _gray_info(config: ConfigDict, arch: Architecture) -> DatasetInfo:
    side = _image_size(config, arch)
    return DatasetInfo('none', (), (), side, np.full((side, side, arch.channels), 125, np.float32), checksum='')


def _compile_lowered(lowered: Any, target: targets.CompileTarget, batch_size: int) -> tuple[Any, float]:
    """Return the compiled program and the seconds it took. Raises UserError if the target's memory does not do."""
    start = time.perf_counter()
    try:
        compiled = lowered.compile(compiler_options=targets.compile_options(target))
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        raise UserError(
            f'A batch of {batch_size:,} images does not fit {target}: {first_line(error)}. Lower the batch, raise '
            'config.train.grad_accumulation, or choose a larger target.'
        ) from error
    return compiled, time.perf_counter() - start


def _describe_program(
    config: ConfigDict,
    arch: Architecture,
    mesh: Mesh,
    target: targets.CompileTarget,
    compiled: Any,
    images: int,
    *,
    passes: int = 3,
) -> dict[str, Any]:
    """Return what one device does in a step of `images`: memory, kernels, flops, bytes, collectives, estimate."""
    scopes = {layer.name for layer in arch.layers} | set(OTHER_SCOPES)
    program = compiled_program.read_program(compiled.as_text(), mesh.devices.shape, scopes)
    costs = compiled.cost_analysis() or {}
    views = count_views(build.report_views(config)) if passes == 1 else 1
    expected = layer_benchmark.training_flops(arch) * passes / 3 * views * images / mesh.devices.shape[1]
    # XLA's own count for TPU and CPU, which takes every loop for one turn; for GPUs it has none, and cuDNN's
    # convolutions are counted by their shapes.
    weighted = arch.kernel_shapes()
    loops = any(kernel.times > 1 and weighted.keys() & kernel.layer.split('+') for kernel in program.kernels)
    flops = float(program.flops if 'flops' not in costs else expected if loops else costs['flops'])
    report = {
        'images': images,
        'memory': memory.compiled_memory(compiled),
        'kernels': sum(kernel.times for kernel in program.kernels),
        'flops': flops,
        'expected_flops': expected,
        'bytes': program.bytes,
        'bytes_by_layer': program.bytes_by_layer(),
        'collectives': [vars(each) for each in program.collectives],
        'largest_kernels': [
            vars(kernel) for kernel in sorted(program.kernels, key=lambda each: -each.bytes * each.times)[:10]
        ],
    }
    if target.rates:
        rates = target.rates
        report['memory_limit'] = rates.memory
        report['estimate'] = compile_report.estimate_step(
            program,
            flops,
            rates,
            rates.flops(config.model.compute_dtype, config.model.matmul_precision),
            crosses_hosts=len({device.process_index for device in mesh.devices.flat}) > 1,
        )
    return report
