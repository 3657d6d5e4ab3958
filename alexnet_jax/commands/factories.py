"""Objects from a config, for several modes: dataset, model, mesh, pipelines, train step, evaluator."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.commands import prepare
from alexnet_jax.config import build, parse
from alexnet_jax.data import dataset, device_cache, pipeline
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.distributed.mesh import describe_mesh, make_mesh, per_device_batch, process_batch_slice
from alexnet_jax.distributed.sharding import COLUMN_AXIS, replicated_sharding
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
from alexnet_jax.evaluate.view_places import Views, count_views
from alexnet_jax.models.alexnet import AlexNet, with_parameters
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.models.custom_vjp import onednn_conv
from alexnet_jax.prepare import sources
from alexnet_jax.runtime.xla_options import compiler_options
from alexnet_jax.train import train_step
from alexnet_jax.train.optimizer import Optimizer, layerwise_adaptive_sgd, paper_sgd

# Some 50 s of two cores, of which oneDNN's convolutions save a tenth.
ONEDNN_MIN_FLOPS = 1e13

log = logging.getLogger(__name__)


def open_or_prepare_dataset(config: ConfigDict, workdir: str) -> dataset.Dataset:
    """Open the prepared dataset of a run, after copying it from its object store or preparing it if necessary.

    Raises UserError if there is none and the config does not say from which images to make it.
    """
    directory = prepare.locate_dataset(config, workdir)
    if not prepare.ensure_local(config, directory):
        source = sources.SOURCES[config.prepare.source]
        if source.needs_path and not config.prepare.path:
            raise UserError(
                f'{directory} has no prepared dataset, and config.prepare.path is empty. Set '
                f'--config.prepare.path=... to prepare one; the source {source.name!r} needs {source.path_help}.'
            )
        prepare.prepare(config, workdir)
    return dataset.open_dataset(directory)


def open_prepared_dataset(config: ConfigDict, workdir: str) -> dataset.Dataset:
    """Open the prepared dataset of a run, after copying it from its object store. Raises UserError if there is none."""
    directory = prepare.locate_dataset(config, workdir)
    prepare.ensure_local(config, directory)
    return dataset.open_dataset(directory)


def make_architecture(config: ConfigDict, data: dataset.Dataset) -> Architecture:
    """Return the config's architecture for the dataset's classes. Raises UserError if it does not fit the dataset."""
    num_classes = len(data.class_names)
    prepare.check_num_classes(config, num_classes, f'the dataset in {data.directory}')
    arch = build.preset_architecture(config, num_classes)
    if arch.crop_size > data.image_size:
        raise UserError(
            f'{arch.name} needs crops of {arch.crop_size} pixels, but the images in {data.directory} have '
            f'{data.image_size}. Prepare them again with --config.prepare.image_size={arch.crop_size} or more.'
        )
    return arch


def make_model(config: ConfigDict, arch: Architecture, *, key: jax.Array | None = None) -> AlexNet:
    """Return the model with first weights drawn from `key`, or without a key one that has shapes only."""

    def make() -> AlexNet:
        return AlexNet(
            arch,
            key=jax.random.key(0) if key is None else key,
            initialization=config.model.initialization,
            use_reference_ops=config.model.use_reference_ops,
            compute_dtype=config.model.compute_dtype,
            matmul_precision=config.model.matmul_precision,
            exchange_dtype=config.model.exchange_dtype,
        )

    return nnx.eval_shape(make) if key is None else make()


def make_device_mesh(
    config: ConfigDict, arch: Architecture, *, for_training: bool = True, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Return the config's mesh for the columns of that architecture, over `devices` or over those that there are.

    Raises UserError if it cannot share out the batches of evaluation, or those of training if it is `for_training`.
    """
    mesh = make_mesh(
        parse.mesh_shape(config.mesh),
        columns=arch.columns,
        batch_size=config.train.batch_size if for_training else None,
        microbatches=config.train.grad_accumulation,
        devices=devices,
    )
    per_device_batch(config.evaluate.batch_size, mesh, field='config.evaluate.batch_size')
    return mesh


def make_optimizer(config: ConfigDict, arch: Architecture) -> Optimizer:
    """Return the config's update rule for the layers of that architecture."""
    layers, train = tuple(arch.parameter_counts()), config.train
    common = {'momentum': train.momentum, 'weight_decay': train.weight_decay, 'decay_biases': train.decay_biases}
    if train.optimizer == 'lars':
        return layerwise_adaptive_sgd(layers, trust_coefficient=train.trust_coefficient, **common)
    return paper_sgd(layers, **common)


def make_step(
    config: ConfigDict,
    model: AlexNet,
    mesh: Mesh,
    info: DatasetInfo,
    *,
    key: jax.Array,
    num_steps: int | None = None,
    cached_images: jax.Array | None = None,
) -> train_step.CompiledStep:
    """Return the config's training step, for training and for the benchmark.

    `info` has the mean that is subtracted and what divides the colors, `key` decides the dropout masks, `num_steps` are
    those of the whole run (None: many), and `cached_images` are the training images if the devices hold them.
    """
    forward_passes = None if num_steps is None else 3 * num_steps * config.train.batch_size
    options = train_step.StepOptions(
        mean_kind=config.augment.mean,
        std=info.rgb_std,
        grad_accumulation=config.train.grad_accumulation,
        compiler_options=compiler_options(config.machine.ynnpack_dots_only, mesh.devices.flat[0].platform),
        use_onednn=pays_onednn(config, model.arch, forward_passes),
    )
    return train_step.make_train_step(
        model,
        make_optimizer(config, model.arch),
        mesh,
        mean=info.mean,
        key=key,
        options=options,
        cached_images=cached_images,
    )


def init_state(config: ConfigDict, model: AlexNet, mesh: Mesh) -> train_step.TrainState:
    """Return the state before the first step, with the parameters of the model."""
    return train_step.init_train_state(model, make_optimizer(config, model.arch), mesh)


def abstract_checkpoint(config: ConfigDict, arch: Architecture, mesh: Mesh) -> dict[str, Any]:
    """Return the arrays of a checkpoint of that architecture as shapes on `mesh`."""
    return train_step.abstract_train_state(arch, make_optimizer(config, arch), mesh).state_dict()


def make_train_pipeline(
    config: ConfigDict, data: dataset.Dataset, arch: Architecture, mesh: Mesh
) -> pipeline.TrainPipeline:
    """Return the stream of training batches, this process's share."""
    process_index, process_count = process_batch_slice(mesh)
    return pipeline.TrainPipeline(
        data.split('train'),
        build.augmentation(config, data.pca_basis, arch.crop_size),
        seed=config.seed,
        batch_size=config.train.batch_size,
        process_index=process_index,
        process_count=process_count,
        threads=config.data.num_threads,
    )


def require_cache_fits(config: ConfigDict, data: dataset.Dataset, mesh: Mesh) -> None:
    """Raise UserError if the config wants the training images on the devices and they do not fit."""
    if config.data.device_cache:
        shape = (data.counts['train'], data.image_size, data.image_size, 3)
        device_cache.require_device_memory(shape, replicated_sharding(mesh))


def make_device_cache(config: ConfigDict, data: dataset.Dataset, mesh: Mesh) -> device_cache.DeviceCache | None:
    """Copy the training images to every device and return them, or None if the config does not ask for it."""
    if not config.data.device_cache:
        return None
    start = time.perf_counter()
    cache = device_cache.load_to_devices(
        data.split('train'), replicated_sharding(mesh), threads=config.data.num_threads
    )
    log.info(
        'data.device_cache: %s images, %.2f GiB, on each device after %.1f s.',
        f'{len(cache.labels):,}',
        cache.images.nbytes / device_cache.GIB,
        time.perf_counter() - start,
    )
    return cache


def make_eval_pipeline(config: ConfigDict, data: dataset.Dataset, split: str, mesh: Mesh) -> pipeline.EvalPipeline:
    """Return the batches of a split, every image once, this process's share."""
    process_index, process_count = process_batch_slice(mesh)
    return pipeline.EvalPipeline(
        data.split(split),
        batch_size=config.evaluate.batch_size,
        process_index=process_index,
        process_count=process_count,
        threads=config.data.num_threads,
    )


def pays_onednn(config: ConfigDict, arch: Architecture, forward_passes: int | None) -> bool:
    """Return whether oneDNN's convolutions save more than a start loses by them; `forward_passes` None: very many.

    jax's cache on disk cannot hold their program, so every start compiles it again, which takes 4 to 6 s.
    """
    if not config.machine.onednn or not onednn_conv.is_supported():
        return False
    return forward_passes is None or 2 * sum(arch.macs().values()) * forward_passes > ONEDNN_MIN_FLOPS


def make_evaluator(
    config: ConfigDict, info: DatasetInfo, model: AlexNet, mesh: Mesh, *, views: Views, num_images: int
) -> Evaluator:
    """Return the evaluator of that model, trained on the dataset of `info`, by those views.

    `num_images` is how many it will be asked for at a time.
    """
    use_onednn = pays_onednn(config, model.arch, count_views(views) * num_images)

    def forward(parameters, images):
        return with_parameters(model, parameters)(images, mesh=mesh, use_onednn=use_onednn)[0]

    return Evaluator(
        forward,
        info.mean,
        ViewOptions(model.arch.crop_size, views, config.augment.mean, info.rgb_std),
        batch_size=config.evaluate.batch_size,
        mesh=mesh,
        compiler_options=compiler_options(config.machine.ynnpack_dots_only, mesh.devices.flat[0].platform),
    )


def describe_placement(arch: Architecture, mesh: Mesh) -> list[str]:
    """Return a line on the devices of each column, and one on the numbers that cross between columns."""
    lines = [describe_mesh(mesh, columns=arch.columns)]
    exchanged = arch.numbers_exchanged()
    if exchanged:
        by_layer = ', '.join(f'{name} {numbers:,}' for name, numbers in exchanged.items())
        verb = 'cross between devices' if mesh.shape[COLUMN_AXIS] > 1 else 'stay on one device with both columns'
        lines.append(f'{sum(exchanged.values()):,} numbers per image and direction {verb}: {by_layer}')
    return lines
