"""Training steps to be timed: what several benchmarks measure. The process's settings are the script's own business."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from alexnet_jax.distributed.mesh import compiler_options, make_mesh
from alexnet_jax.distributed.sharding import batch_sharding, replicated_sharding
from alexnet_jax.models import presets
from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.train import optimizer, train_step


def stepper(
    preset: str,
    batch: int,
    *,
    mesh: tuple[int, int] = (1, 1),
    dots_only: bool = True,
    compute: str = 'float32',
    images: np.ndarray | None = None,
) -> Callable[[int], float]:
    """A function that makes so many steps and says the seconds of each; not yet traced.

    With `images` uint8 (N, side, side, 3) these lie on the devices, which cut each batch out of them.
    """
    arch = presets.get_architecture(preset)
    over = make_mesh(mesh, columns=arch.columns, batch_size=batch)
    held = None if images is None else jax.device_put(images, replicated_sharding(over))
    one = compiled(preset, over, held, dots_only=dots_only, compute=compute)
    drawn = noise(arch, batch)
    if images is not None:
        drawn['id'] = np.arange(batch, dtype=np.int32) % len(images)
        del drawn['image']
    placed = jax.device_put(drawn, batch_sharding(over))

    def steps(count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            done = one(placed, number)
        jax.block_until_ready(done)
        return (time.perf_counter() - began) / count

    return steps


def compiled(
    preset: str,
    mesh: jax.sharding.Mesh,
    images: jax.Array | None = None,
    *,
    dots_only: bool = True,
    compute: str = 'float32',
) -> Callable[[dict[str, jax.Array], int], Any]:
    """A function that makes step `number` on a batch and goes on from there; its state and sums, to be waited for.

    `images` are those of the device cache, where there is one.
    """
    arch = presets.get_architecture(preset)
    names = tuple(arch.parameter_counts())
    network = AlexNet(arch, key=jax.random.key(0), initialization='he', compute_dtype=compute)
    side = arch.crop_size if images is None else images.shape[1]
    rule = optimizer.paper_sgd(names, momentum=0.9, weight_decay=5e-4)
    one = train_step.make_train_step(
        network,
        rule,
        mesh,
        mean=np.zeros((side, side, 3), np.float32),
        key=jax.random.key(1),
        options=train_step.StepOptions(compiler_options=compiler_options(dots_only)),
        cached_images=images,
    )
    rates = np.full((len(names), 2), 1e-9, np.float32)
    state = train_step.init_train_state(network, rule, mesh)

    def made(batch: dict[str, jax.Array], number: int) -> Any:
        nonlocal state
        state, sums = one(state, batch, rates, np.uint32(number))
        return state, sums

    return made


def noise(arch: Architecture, batch: int) -> dict[str, np.ndarray]:
    """A batch of random pixels, as data.pipeline delivers one."""
    rng = np.random.default_rng(0)
    nothing = np.zeros(batch, np.int32)
    return {
        'image': rng.integers(0, 256, (batch, arch.crop_size, arch.crop_size, 3), np.uint8),
        'label': rng.integers(0, arch.num_classes, batch).astype(np.int32),
        'id': nothing,
        'top': nothing,
        'left': nothing,
        'mirror': nothing.astype(bool),
        'lighting': np.zeros((batch, 3), np.float32),
        'valid': np.ones(batch, bool),
    }
