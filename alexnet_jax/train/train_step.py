"""One training step: a pure function, jitted with its state donated. No input, no output, no clock.

State is {'parameters', 'velocity'}, each {layer: {'kernel', 'bias'}} with the column as first axis of every array: the
two things that a checkpoint must hold. All else that a step needs follows from its number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.data import augment, device_cache
from alexnet_jax.evaluate import metrics
from alexnet_jax.models import column_parallel
from alexnet_jax.models.alexnet import (
    AlexNet,
    Masks,
    Parameters,
    dropout_masks,
    parameters_of,
    with_parameters,
)
from alexnet_jax.train import optimizer

TrainState = dict[str, Parameters]
Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A jitted step with the arrays that stay the same for the whole run; `lower` is for who reads the program."""

    function: Any
    constants: tuple[jax.Array, ...]

    def __call__(self, *arguments: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step: (state, batch, rates, number) to (state, sums)."""
        return self.function(*arguments, *self.constants)

    def lower(self, *arguments: Any) -> Any:
        """The step's program for arguments of these shapes."""
        return self.function.lower(*arguments, *self.constants)


def init_train_state(network: AlexNet, mesh: Mesh) -> TrainState:
    """The state before the first step, laid out on `mesh`: the network's parameters, copied, and no velocity."""
    parameters = parameters_of(network)
    state = {
        'parameters': jax.tree.map(np.asarray, parameters),
        'velocity': jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), parameters),
    }
    # Through NumPy: a device_put of device arrays may alias them, and the donating step would delete the network's own.
    sharding = column_parallel.weights_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), state
    )


def normalize_batch(batch: Batch, mean: jax.Array, *, still: bool = False) -> jax.Array:
    """Crops uint8 (B, crop, crop, 3) to what the network sees: plus the lighting shift, minus the mean image, mirrored.

    `mean` (side, side, 3) is cropped and mirrored as each image is (paper, section 2: per-pixel mean); where it is
    `still` it is (crop, crop, 3) and the same for all.
    """
    crop = batch['image'].shape[1]
    lit = batch['image'].astype(jnp.float32) + batch['lighting'][:, None, None, :]
    if still:
        return flip_selected(lit, batch['mirror']) - mean[None]

    def cropped(top: jax.Array, left: jax.Array) -> jax.Array:
        return lax.dynamic_slice(mean, (top, left, jnp.zeros_like(top)), (crop, crop, mean.shape[-1]))

    return flip_selected(lit - jax.vmap(cropped)(batch['top'], batch['left']), batch['mirror'])


def flip_selected(images: jax.Array, which: jax.Array) -> jax.Array:
    """Those images (B, H, W, C) turned left to right that `which` (B,) says."""
    return jnp.where(which[:, None, None, None], images[:, :, ::-1], images)


def make_train_step(
    network: AlexNet,
    chain: optax.GradientTransformationExtraArgs,
    mesh: Mesh,
    *,
    mean: np.ndarray,
    mean_kind: str = 'image',
    key: jax.Array,
    accumulate: int = 1,
    images: jax.Array | None = None,
    compiler_options: Mapping[str, Any] | None = None,
) -> CompiledStep:
    """`step(state, batch, rates, number) -> (state, sums)` for that network, optimizer chain and mesh.

    `batch` as data.pipeline delivers it, split over `data`; `rates` float32 (layers, 2); `number` counts the steps done
    before and alone decides the dropout masks (with `key`). `sums` are those of scores.score plus 'gradient_norm'.
    The gradient is that of the mean loss over the batch, as in the paper. Of the mean image `mean` (side, side, 3) that
    is subtracted which `mean_kind` (augment.MEANS) says. The batch goes through in `accumulate` parts, one after
    another and each with a share of every device's images: the same numbers but for the order of sums, in less memory.
    Where the devices hold all `images` (data.cache), a batch comes without its own, which are cut out of those.
    """
    architecture = network.architecture
    background = augment.still_mean(mean, mean_kind, architecture.crop)
    still = background is not None
    mean = jax.device_put(
        mean if background is None else background,
        NamedSharding(mesh, PartitionSpec()),
    )

    def step(state, batch, rates, number, mean, key, *held_images):
        drawn = dropout_masks(architecture, jax.random.fold_in(key, number), len(batch['label']))
        masks = lax.with_sharding_constraint(drawn, column_parallel.masks_sharding(mesh))
        real = jnp.sum(batch['real'])

        def loss(parameters, batch, masks):
            if held_images:
                where = (batch[name] for name in ('id', 'top', 'left'))
                batch = {**batch, 'image': device_cache.cut(*held_images, *where, crop=architecture.crop)}
            images = normalize_batch(batch, mean, still=still)
            logits, _ = with_parameters(network, parameters)(images, masks, mesh)
            sums = metrics.score(logits, batch['label'], batch['real'])
            return sums['loss'] / real, sums

        gradients_and_sums = jax.grad(loss, has_aux=True)
        if accumulate > 1:
            gradients_and_sums = accumulate_gradients(gradients_and_sums, accumulate, mesh)
        gradients, sums = gradients_and_sums(state['parameters'], batch, masks)
        held = optimizer.with_velocity(chain.init(state['parameters']), state['velocity'])
        updates, held = chain.update(gradients, held, state['parameters'], rates=rates)
        parameters = optax.apply_updates(state['parameters'], updates)
        sums = {**sums, 'gradient_norm': optax.tree.norm(gradients)}
        return {'parameters': parameters, 'velocity': optimizer.velocity(held)}, sums

    constants = (mean, key) if images is None else (mean, key, images)
    return CompiledStep(jax.jit(step, donate_argnums=0, compiler_options=dict(compiler_options or {})), constants)


def accumulate_gradients(function: Callable[..., Any], parts: int, mesh: Mesh) -> Callable[..., Any]:
    """`function(parameters, batch, masks)`, whose result is a sum over images, summed over equal parts in turn."""

    def in_turn(parameters: Parameters, batch: Batch, masks: Masks) -> Any:
        shares = (
            {name: _split_batch(array, 0, parts, mesh, column_parallel.IMAGES) for name, array in batch.items()},
            {name: _split_batch(array, 1, parts, mesh, column_parallel.MASKS) for name, array in masks.items()},
        )

        def add(total: Any, share: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, function(parameters, *share)), None

        first = jax.eval_shape(function, parameters, *jax.tree.map(lambda array: array[0], shares))
        nothing = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), first)
        return lax.scan(add, nothing, shares)[0]

    return in_turn


def _split_batch(array: jax.Array, axis: int, parts: int, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """The batch axis cut into parts, which come first; each part takes its share from every device, so none moves."""
    devices = mesh.shape[column_parallel.DATA]
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    images = array.shape[axis] // (devices * parts)
    apart = jnp.moveaxis(array.reshape(*before, devices, parts, images, *after), axis + 1, 0)
    joined = apart.reshape(parts, *before, devices * images, *after)
    return lax.with_sharding_constraint(joined, NamedSharding(mesh, PartitionSpec(None, *spec)))
