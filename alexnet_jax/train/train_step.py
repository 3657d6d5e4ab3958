"""One training step: a pure function of the state, a batch, the learning rates and the step number.

`TrainState` is what a checkpoint must hold; the dropout masks follow from the step number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.train.optimizer import Optimizer, OptState

Batch = Mapping[str, jax.Array]


class TrainState(NamedTuple):
    """Parameters {layer: {'kernel', 'bias'}} and the optimizer's trees of the same shapes, the column as first axis."""

    params: Parameters
    opt_state: OptState

    def state_dict(self) -> dict[str, Parameters]:
        """Return the state under the keys that checkpoints have: 'parameters', and the optimizer's own."""
        return {'parameters': self.params, **self.opt_state}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Parameters]) -> TrainState:
        """Return the state that `state_dict` was called on."""
        return cls(state['parameters'], {name: tree for name, tree in state.items() if name != 'parameters'})


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """The mean to subtract (augment.MEANS), the microbatches of a step, and options for XLA."""

    mean_kind: str = 'image'
    grad_accumulation: int = 1
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A jitted step with the arrays that stay the same for the whole run."""

    function: Any
    constants: tuple[jax.Array, ...]

    def __call__(self, *arguments: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        """Run one step: (state, batch, learning_rates, step) to (state, sums)."""
        return self.function(*arguments, *self.constants)

    def lower(self, *arguments: Any) -> Any:
        """Return the step's program for arguments of these shapes."""
        return self.function.lower(*arguments, *self.constants)


def init_train_state(model: AlexNet, optimizer: Optimizer, mesh: Mesh) -> TrainState:
    """Return the state before the first step, laid out on `mesh`; the model's parameters are copied."""
    # Through NumPy: a device_put of device arrays may alias them, and the donating step would delete the model's own.
    params = jax.tree.map(np.asarray, parameters_of(model))
    sharding = column_parallel.weights_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]),
        TrainState(params, optimizer.init(params)),
    )


def abstract_train_state(arch: Architecture, optimizer: Optimizer, mesh: Mesh) -> TrainState:
    """Return the shapes, dtypes and layout on `mesh` of the state that trains `arch`, without its arrays."""
    sharding = column_parallel.weights_sharding(mesh)

    def leaf(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((arch.columns, *sizes), np.float32, sharding=sharding)

    params = {
        name: {'kernel': leaf(*sizes), 'bias': leaf(sizes[-1])} for name, sizes in arch.kernel_shapes().items()
    }
    opt_state = jax.tree.map(lambda x: leaf(*x.shape[1:]), jax.eval_shape(optimizer.init, params))
    return TrainState(params, opt_state)


def normalize_batch(batch: Batch, mean: jax.Array, *, static: bool = False) -> jax.Array:
    """Return the network's input: uint8 crops (B, crop, crop, 3) plus the lighting shift, minus the mean, flipped.

    `mean` (side, side, 3) is cropped and flipped as each image is (paper, section 2: per-pixel mean); if `static` it is
    (crop, crop, 3) and the same for all.
    """
    crop = batch['image'].shape[1]
    images = batch['image'].astype(jnp.float32) + batch['lighting'][:, None, None, :]
    if static:
        return flip_selected(images, batch['mirror']) - mean[None]

    def crop_mean(top: jax.Array, left: jax.Array) -> jax.Array:
        return lax.dynamic_slice(mean, (top, left, jnp.zeros_like(top)), (crop, crop, mean.shape[-1]))

    return flip_selected(images - jax.vmap(crop_mean)(batch['top'], batch['left']), batch['mirror'])


def flip_selected(images: jax.Array, selected: jax.Array) -> jax.Array:
    """Flip those images (B, H, W, C) left to right for which `selected` (B,) is true."""
    return jnp.where(selected[:, None, None, None], images[:, :, ::-1], images)


def make_train_step(
    model: AlexNet,
    optimizer: Optimizer,
    mesh: Mesh,
    *,
    mean: np.ndarray,
    key: jax.Array,
    options: StepOptions = StepOptions(),  # noqa: B008, frozen
    cached_images: jax.Array | None = None,
) -> CompiledStep:
    """Return `train_step(state, batch, learning_rates, step) -> (state, sums)`, jitted with its state donated.

    `batch` as data.pipeline delivers it, split over `data`; `learning_rates` float32 (layers, 2); `step`, the number of
    steps done before, alone decides the dropout masks (with `key`). `sums` are those of metrics.score plus
    'gradient_norm'. The gradient is that of the mean loss over the batch, as in the paper. `mean` is the mean image
    (side, side, 3). With `grad_accumulation` the batch goes through in so many parts, each with a share of every
    device's images: the same numbers but for the order of sums, in less memory. With `cached_images`
    (data.device_cache) a batch comes without its own images, which are cropped out of those.
    """
    arch, num_microbatches = model.architecture, options.grad_accumulation
    static_mean = augment.still_mean(mean, options.mean_kind, arch.crop)
    static = static_mean is not None
    mean_on_devices = jax.device_put(static_mean if static else mean, NamedSharding(mesh, PartitionSpec()))

    def train_step(state, batch, learning_rates, step, mean, key, *cached_images):
        masks = lax.with_sharding_constraint(
            dropout_masks(arch, jax.random.fold_in(key, step), len(batch['label'])),
            column_parallel.masks_sharding(mesh),
        )
        num_valid = jnp.sum(batch['real'])

        def loss(params, batch, masks):
            if cached_images:
                positions = (batch[name] for name in ('id', 'top', 'left'))
                batch = {**batch, 'image': device_cache.cut(*cached_images, *positions, crop=arch.crop)}
            images = normalize_batch(batch, mean, static=static)
            logits, _ = with_parameters(model, params)(images, masks, mesh)
            sums = metrics.score(logits, batch['label'], batch['real'])
            return sums['loss'] / num_valid, sums

        gradients_and_sums = jax.grad(loss, has_aux=True)
        if num_microbatches > 1:
            gradients_and_sums = accumulate_gradients(gradients_and_sums, num_microbatches, mesh)
        gradients, sums = gradients_and_sums(state.params, batch, masks)
        params, opt_state = optimizer.update(gradients, state.opt_state, state.params, learning_rates)
        return TrainState(params, opt_state), {**sums, 'gradient_norm': optax.tree.norm(gradients)}

    constants = (mean_on_devices, key) if cached_images is None else (mean_on_devices, key, cached_images)
    compiler_options = dict(options.compiler_options)
    return CompiledStep(
        jax.jit(train_step, donate_argnums=0, compiler_options=compiler_options), constants
    )


def accumulate_gradients(
    function: Callable[..., Any], num_microbatches: int, mesh: Mesh
) -> Callable[..., Any]:
    """Return `function(params, batch, masks)`, whose result is a sum over images, summed over equal parts in turn."""

    def accumulated(params: Parameters, batch: Batch, masks: Masks) -> Any:
        split = (
            {
                name: _split_batch(array, 0, num_microbatches, mesh, column_parallel.IMAGES)
                for name, array in batch.items()
            },
            {
                name: _split_batch(array, 1, num_microbatches, mesh, column_parallel.MASKS)
                for name, array in masks.items()
            },
        )

        def add(total: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, function(params, *part)), None

        result = jax.eval_shape(function, params, *jax.tree.map(lambda array: array[0], split))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), result)
        return lax.scan(add, zeros, split)[0]

    return accumulated


def _split_batch(array: jax.Array, axis: int, num_parts: int, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Return the array with its batch axis cut into parts, which come first; no image leaves its device."""
    devices = mesh.shape[column_parallel.DATA]
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    images = array.shape[axis] // (devices * num_parts)
    parts = jnp.moveaxis(array.reshape(*before, devices, num_parts, images, *after), axis + 1, 0)
    joined = parts.reshape(num_parts, *before, devices * images, *after)
    return lax.with_sharding_constraint(joined, NamedSharding(mesh, PartitionSpec(None, *spec)))
