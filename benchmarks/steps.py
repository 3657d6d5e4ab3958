"""Training steps that several benchmarks time; a script makes the process's settings before it imports this."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from alexnet_jax.commands.benchmark import random_batch
from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.distributed.sharding import batch_sharding, replicated_sharding
from alexnet_jax.models import presets
from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.runtime.xla_options import compiler_options
from alexnet_jax.train import optimizer, train_step


def make_step_timer(
    preset: str,
    batch_size: int,
    *,
    mesh_shape: tuple[int, int] = (1, 1),
    dots_only: bool = True,
    compute_dtype: str = 'float32',
    images: np.ndarray | None = None,
) -> Callable[[int], float]:
    """Return a function that makes `count` steps and returns the seconds of each; it is not yet traced.

    With `images` uint8 (N, side, side, 3) these are held by the devices, which crop each batch out of them.
    """
    arch = presets.get_architecture(preset)
    mesh = make_mesh(mesh_shape, columns=arch.columns, batch_size=batch_size)
    cached = None if images is None else jax.device_put(images, replicated_sharding(mesh))
    step = make_step(preset, mesh, cached, dots_only=dots_only, compute_dtype=compute_dtype)
    host_batch = random_batch(arch, batch_size)
    if images is not None:
        host_batch['id'] = np.arange(batch_size, dtype=np.int32) % len(images)
        del host_batch['image']
    batch = jax.device_put(host_batch, batch_sharding(mesh))

    def time_steps(count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            done = step(batch, number)
        jax.block_until_ready(done)
        return (time.perf_counter() - began) / count

    return time_steps


def make_step(
    preset: str,
    mesh: jax.sharding.Mesh,
    cached_images: jax.Array | None = None,
    *,
    dots_only: bool = True,
    compute_dtype: str = 'float32',
) -> Callable[[dict[str, jax.Array], int], Any]:
    """Return a function that makes step `number` on a batch, each from where the last one ended.

    It returns the state and the sums, to be waited for. `cached_images` are those of the device cache.
    """
    arch = presets.get_architecture(preset)
    layers = tuple(arch.parameter_counts())
    model = AlexNet(arch, key=jax.random.key(0), initialization='he', compute_dtype=compute_dtype)
    image_size = arch.crop_size if cached_images is None else cached_images.shape[1]
    rule = optimizer.paper_sgd(layers, momentum=0.9, weight_decay=5e-4)
    step = train_step.make_train_step(
        model,
        rule,
        mesh,
        mean=np.zeros((image_size, image_size, 3), np.float32),
        key=jax.random.key(1),
        options=train_step.StepOptions(compiler_options=compiler_options(dots_only)),
        cached_images=cached_images,
    )
    learning_rates = np.full((len(layers), 2), 1e-9, np.float32)
    state = train_step.init_train_state(model, rule, mesh)

    def next_step(batch: dict[str, jax.Array], number: int) -> Any:
        nonlocal state
        state, sums = step(state, batch, learning_rates, np.uint32(number))
        return state, sums

    return next_step
