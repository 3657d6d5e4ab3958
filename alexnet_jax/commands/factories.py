"""What several modes need from the rooms, made from a config: dataset, network, mesh, pipelines, checkpoints."""

from __future__ import annotations

import logging
import time
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.commands import prepare
from alexnet_jax.config import validate
from alexnet_jax.data import dataset, device_cache, pipeline, statistics
from alexnet_jax.distributed.mesh import (
    compiler_options,
    describe_mesh,
    make_mesh,
    per_device_batch,
    process_batch_slice,
    replicated_sharding,
)
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator
from alexnet_jax.models import architecture, column_parallel, presets
from alexnet_jax.models.alexnet import AlexNet, with_parameters
from alexnet_jax.prepare import sources

log = logging.getLogger(__name__)


def open_dataset(config: ConfigDict, workdir: str) -> dataset.Dataset:
    """The prepared dataset of a run; where there is none yet and the config says from what, it is prepared first.

    One in an object store is copied first.
    """
    directory = prepare.locate_dataset(config, workdir)
    if not prepare.ensure_local(config, directory):
        source = config.prepare.source
        if source not in sources.WITHOUT_PATH and not config.prepare.path:
            raise UserError(
                f'There is no prepared dataset in {directory}, and nothing says from which images to make it; give '
                f'--config.prepare.path=..., for the source {source!r} {sources.PATHS[source]}.'
            )
        prepare.prepare(config, workdir)
    return dataset.open_dataset(directory)


def outline(config: ConfigDict) -> architecture.Architecture:
    """The network as far as it is known without the dataset: all but the number of classes."""
    classes = config.model.num_classes or 2
    return presets.get(config.model.preset, classes=classes, **validate.variations(config))


def architecture_of(config: ConfigDict, data: dataset.Dataset) -> architecture.Architecture:
    """The preset, for as many classes as the dataset has; what does not fit the dataset is refused."""
    prepare.check_num_classes(config, len(data.classes), f'the dataset in {data.directory}')
    shape = presets.get(config.model.preset, classes=len(data.classes), **validate.variations(config))
    if shape.crop > data.side:
        raise UserError(
            f'{shape.name} sees {shape.crop} pixels and the images in {data.directory} have {data.side}; prepare them '
            f'again with --config.prepare.image_size={shape.crop} or more.'
        )
    return shape


def network_of(
    config: ConfigDict, shape: architecture.Architecture, *, key: jax.Array | None = None
) -> AlexNet:
    """The network with its first weights drawn by `key`; without one only their shapes are there."""

    def make() -> AlexNet:
        first = jax.random.key(0) if key is None else key
        return AlexNet(
            shape,
            key=first,
            initialization=config.model.initialization,
            plain=config.model.use_reference_ops,
            compute=config.model.compute_dtype,
            precision=config.model.matmul_precision,
        )

    return nnx.eval_shape(make) if key is None else make()


def mesh_of(config: ConfigDict, shape: architecture.Architecture, *, trains: bool = True) -> Mesh:
    """The mesh the config asks for, on the devices there are; it shares the batches out, those of training where it
    `trains`.
    """
    mesh = make_mesh(
        validate.mesh_shape(config),
        columns=shape.columns,
        batch=config.train.batch_size if trains else None,
        parts=config.train.grad_accumulation,
    )
    per_device_batch(config.evaluate.batch_size, mesh, field='config.evaluate.batch_size')
    return mesh


def abstract_state(shape: architecture.Architecture, mesh: Mesh) -> dict[str, Any]:
    """What a checkpoint of that architecture holds, as shapes on `mesh`."""
    sharding = column_parallel.weights_sharding(mesh)

    def leaf(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((shape.columns, *sizes), np.float32, sharding=sharding)

    layers = {
        name: {'kernel': leaf(*sizes), 'bias': leaf(sizes[-1])}
        for name, sizes in shape.kernel_shapes().items()
    }
    return {'parameters': layers, 'velocity': layers}


def training_of(
    config: ConfigDict, data: dataset.Dataset, shape: architecture.Architecture, mesh: Mesh
) -> pipeline.TrainPipeline:
    """The stream of training batches, this host's share."""
    share, shares = process_batch_slice(mesh)
    eigenvalues, eigenvectors = statistics.select_pca_basis(
        config.augment.pca_basis, data.eigenvalues, data.eigenvectors
    )
    return pipeline.TrainPipeline(
        data.split('train'),
        seed=config.seed,
        batch=config.train.batch_size,
        crop=shape.crop,
        mirror=config.augment.horizontal_flip,
        lighting=config.augment.lighting,
        deviation=config.augment.lighting_std,
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
        process_index=share,
        process_count=shares,
        threads=config.data.num_threads,
    )


def check_cache(config: ConfigDict, data: dataset.Dataset, mesh: Mesh) -> None:
    """Raises UserError where the config wants the training images on the devices and they do not fit."""
    if config.data.device_cache:
        shape = (data.counts['train'], data.side, data.side, 3)
        device_cache.require_device_memory(shape, replicated_sharding(mesh))


def cache_of(config: ConfigDict, data: dataset.Dataset, mesh: Mesh) -> device_cache.DeviceCache | None:
    """The training images on every device, where the config asks for it."""
    if not config.data.device_cache:
        return None
    began = time.perf_counter()
    held = device_cache.load_to_devices(data.split('train'), replicated_sharding(mesh), threads=config.data.num_threads)
    log.info(
        'data.device_cache: %s images, %.2f GiB, on each device after %.1f s.',
        f'{len(held.labels):,}',
        held.images.nbytes / device_cache.GIB,
        time.perf_counter() - began,
    )
    return held


def scoring_of(config: ConfigDict, data: dataset.Dataset, split: str, mesh: Mesh) -> pipeline.EvalPipeline:
    """Every image of a split once, this host's share."""
    share, shares = process_batch_slice(mesh)
    return pipeline.EvalPipeline(
        data.split(split),
        batch=config.evaluate.batch_size,
        process_index=share,
        process_count=shares,
        threads=config.data.num_threads,
    )


def evaluator_of(
    config: ConfigDict, data: dataset.Dataset, network: AlexNet, mesh: Mesh, *, views: int
) -> Evaluator:
    """Scores splits with that network's forward pass, by the center view or by ten."""

    def forward(parameters, images):
        return with_parameters(network, parameters)(images, mesh=mesh)[0]

    return Evaluator(
        forward,
        data.mean,
        mean_kind=config.augment.mean,
        crop=network.architecture.crop,
        views=views,
        batch=config.evaluate.batch_size,
        mesh=mesh,
        compiler_options=compiler_options(config.machine.ynnpack_dots_only),
    )


def describe(shape: architecture.Architecture, mesh: Mesh) -> list[str]:
    """Where each column lives, and what crosses between them: two lines."""
    lines = [describe_mesh(mesh, columns=shape.columns)]
    crossing = shape.exchanged()
    if crossing:
        each = ', '.join(f'{name} {numbers:,}' for name, numbers in crossing.items())
        moved = (
            'cross between devices'
            if mesh.shape['column'] > 1
            else 'would cross, both columns being on one device'
        )
        lines.append(f'{sum(crossing.values()):,} numbers per image and direction {moved}: {each}')
    return lines
