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

from alexnet_jax.data.augment import select_mean
from alexnet_jax.data.device_cache import gather_crops
from alexnet_jax.data.normalize import NO_STD, Std, divide_by_std, normalize_batch
from alexnet_jax.distributed.sharding import (
    BATCH_SPEC,
    DATA_AXIS,
    MASK_SPEC,
    mask_sharding,
    param_sharding,
    place_array,
    replicated_sharding,
)
from alexnet_jax.evaluate import metrics
from alexnet_jax.models.alexnet import (
    AlexNet,
    DropoutMasks,
    Parameters,
    get_parameters,
    sample_dropout_masks,
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
    """The mean to subtract (augment.MEAN_KINDS) and what to divide by, the microbatches of a step, options for XLA."""

    mean_kind: str = 'image'
    std: Std = NO_STD
    grad_accumulation: int = 1
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    use_onednn: bool = False


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
    params = jax.tree.map(np.asarray, get_parameters(model))
    sharding = param_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]),
        TrainState(params, optimizer.init(params)),
    )


def abstract_train_state(arch: Architecture, optimizer: Optimizer, mesh: Mesh) -> TrainState:
    """Return the shapes, dtypes and layout on `mesh` of the state that trains `arch`, without its arrays."""
    sharding = param_sharding(mesh)

    def leaf(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((arch.columns, *sizes), np.float32, sharding=sharding)

    params = {name: {'kernel': leaf(*sizes), 'bias': leaf(sizes[-1])} for name, sizes in arch.kernel_shapes().items()}
    opt_state = jax.tree.map(lambda x: leaf(*x.shape[1:]), jax.eval_shape(optimizer.init, params))
    return TrainState(params, opt_state)


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
    steps done before, alone decides the dropout masks (with `key`). `sums` are those of metrics.sum_metrics plus
    'gradient_norm'. The gradient is that of the mean loss over the batch, as in the paper. `mean` is the mean image
    (side, side, 3). With `grad_accumulation` the batch goes through in so many parts, each with a share of every
    device's images: the same numbers but for the order of sums, in less memory. With `cached_images`
    (data.device_cache) a batch comes without its own images, which are cropped out of those.
    """
    arch, num_microbatches = model.arch, options.grad_accumulation
    selected_mean, static = select_mean(mean, options.mean_kind, arch.crop_size)
    mean_on_devices = place_array(selected_mean, replicated_sharding(mesh))

    def train_step(state, batch, learning_rates, step, mean, key, *cached_images):
        with jax.named_scope('masks'):
            masks = lax.with_sharding_constraint(
                sample_dropout_masks(arch, jax.random.fold_in(key, step), len(batch['label'])), mask_sharding(mesh)
            )
        num_valid = jnp.sum(batch['valid'])

        def loss(params, batch, masks):
            if cached_images:
                positions = (batch[name] for name in ('id', 'top', 'left'))
                batch = {**batch, 'image': gather_crops(*cached_images, *positions, crop_size=arch.crop_size)}
            with jax.named_scope('input'):
                images = divide_by_std(normalize_batch(batch, mean, static=static), options.std)
            logits, _ = with_parameters(model, params)(images, masks, mesh, use_onednn=options.use_onednn)
            with jax.named_scope('loss'):
                sums = metrics.sum_metrics(logits, batch['label'], batch['valid'])
            return sums['loss'] / num_valid, sums

        gradients_and_sums = jax.grad(loss, has_aux=True)
        if num_microbatches > 1:
            gradients_and_sums = accumulate_gradients(gradients_and_sums, num_microbatches, mesh)
        gradients, sums = gradients_and_sums(state.params, batch, masks)
        with jax.named_scope('update'):
            params, opt_state = optimizer.update(gradients, state.opt_state, state.params, learning_rates)
            return TrainState(params, opt_state), {**sums, 'gradient_norm': optax.tree.norm(gradients)}

    constants = (mean_on_devices, key) if cached_images is None else (mean_on_devices, key, cached_images)
    compiler_options = dict(options.compiler_options)
    return CompiledStep(jax.jit(train_step, donate_argnums=0, compiler_options=compiler_options), constants)


def accumulate_gradients(function: Callable[..., Any], num_microbatches: int, mesh: Mesh) -> Callable[..., Any]:
    """Return `function(params, batch, masks)`, whose result is a sum over images, summed over equal parts in turn."""

    def accumulated(params: Parameters, batch: Batch, masks: DropoutMasks) -> Any:
        split = (
            {name: _split_batch(array, 0, num_microbatches, mesh, BATCH_SPEC) for name, array in batch.items()},
            {name: _split_batch(array, 1, num_microbatches, mesh, MASK_SPEC) for name, array in masks.items()},
        )

        def add(total: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, function(params, *part)), None

        result = jax.eval_shape(function, params, *jax.tree.map(lambda array: array[0], split))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), result)
        return lax.scan(add, zeros, split)[0]

    return accumulated


def _split_batch(array: jax.Array, axis: int, num_parts: int, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Return the array with its batch axis cut into parts, which come first; no image leaves its device."""
    devices = mesh.shape[DATA_AXIS]
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    images = array.shape[axis] // (devices * num_parts)
    parts = jnp.moveaxis(array.reshape(*before, devices, num_parts, images, *after), axis + 1, 0)
    joined = parts.reshape(num_parts, *before, devices * images, *after)
    return lax.with_sharding_constraint(joined, NamedSharding(mesh, PartitionSpec(None, *spec)))
