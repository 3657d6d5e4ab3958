"""Gradients with respect to the image: what a class depends on, and an image that is made to excite a map.

N images, M maps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.analysis.center_view import CenterView
from alexnet_jax.models.alexnet import AlexNet, Parameters, with_parameters
from alexnet_jax.weights.model_weights import NumpyParameters

# Gray levels: of the noise that an optimized image begins with, and of its first and its last change.
START_NOISE, FIRST_CHANGE, LAST_CHANGE = 8.0, 6.0, 1.0


@dataclasses.dataclass(frozen=True)
class AscentOptions:
    """The ascent of an optimized image; `seed` decides its first noise and its shifts."""

    steps: int = 256
    seed: int = 0
    # 0: the gradient as it is; 1: divided by its frequency.
    smoothness: float = 1.0
    # Pixels.
    max_shift: int = 4


def class_gradients(
    model: AlexNet, parameters: Parameters | NumpyParameters, inputs: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the gradient of each image's logit of its label, float32 (N, crop, crop, 3), as `inputs`.

    `inputs` are prepared images (CenterView). Simonyan, Vedaldi and Zisserman (2014), section 3: the logit, as the
    probability of a class also rises where others fall.
    """

    @jax.jit
    def gradients(parameters: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        def chosen_logits(images: jax.Array) -> jax.Array:
            logits, _ = with_parameters(model, parameters)(images)
            return jnp.take_along_axis(logits, labels[:, None], axis=1).sum()

        return jax.grad(chosen_logits)(inputs)

    return np.asarray(gradients(dict(parameters), np.asarray(inputs, np.float32), np.asarray(labels, np.int32)))


def saliency_maps(gradients: np.ndarray) -> np.ndarray:
    """Return the largest absolute gradient over the colors (N, crop, crop), as Simonyan et al. draw it."""
    return np.abs(gradients).max(axis=-1)


def optimize_images(
    model: AlexNet,
    parameters: Parameters | NumpyParameters,
    view: CenterView,
    layer: str,
    maps: Sequence[int],
    options: AscentOptions | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return images that excite each of the maps, float32 (M, crop, crop, 3) in 0..255, and its activation by step.

    Gradient ascent from the mean image with noise on the mean of the map over its places (of a dense layer, on the
    number), (steps + 1, M). The gradient is divided by its frequency to the power of `smoothness`, since most of a
    network's gradient is noise of high frequency (Olah, Mordvintsev and Schubert 2017). It is taken of the image
    shifted at random by up to `max_shift` pixels, so that no pattern depends on its place on the strides' grid. All
    images change by the same number of gray levels in a step.
    """
    options = options or AscentOptions()
    steps, shift_range = options.steps, (-options.max_shift, options.max_shift + 1)
    channels = jnp.asarray(list(maps), jnp.int32)
    filters = _frequency_filter(view.crop_size, options.smoothness)[None, :, :, None]

    def excitations(parameters: Any, images: jax.Array) -> jax.Array:
        _, activations = with_parameters(model, parameters)(view.normalize(images))
        values = activations[layer].astype(jnp.float32)
        values = values.mean(axis=(1, 2)) if values.ndim == 4 else values
        return jnp.take_along_axis(values, channels[:, None], axis=1)[:, 0]

    @jax.jit
    def ascend(parameters: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def take_step(images: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
            shift = jax.random.randint(jax.random.fold_in(key, number), (2,), *shift_range)

            def total(images: jax.Array) -> tuple[jax.Array, jax.Array]:
                values = excitations(parameters, jnp.roll(images, shift, axis=(1, 2)))
                return values.sum(), values

            gradients, values = jax.grad(total, has_aux=True)(images)
            smooth = jnp.fft.ifft2(jnp.fft.fft2(gradients, axes=(1, 2)) * filters, axes=(1, 2)).real
            scale = jnp.sqrt(jnp.mean(smooth**2, axis=(1, 2, 3), keepdims=True))
            change = FIRST_CHANGE + (LAST_CHANGE - FIRST_CHANGE) * number / steps
            return jnp.clip(images + change * smooth / jnp.maximum(scale, 1e-20), 0, 255), values

        noise = START_NOISE * jax.random.normal(jax.random.fold_in(key, steps), (len(maps), *view.mean.shape))
        images, history = jax.lax.scan(take_step, jnp.clip(view.mean[None] + noise, 0, 255), jnp.arange(steps))
        return images, jnp.concatenate([history, excitations(parameters, images)[None]])

    images, history = ascend(dict(parameters), jax.random.key(options.seed))
    return np.asarray(images), np.asarray(history)


def _frequency_filter(size: int, smoothness: float) -> np.ndarray:
    """Return 1 / frequency ** smoothness for each coefficient (size, size) of a Fourier transform.

    Frequencies are in periods per pixel; the mean counts as the lowest of the others.
    """
    rows, columns = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing='ij')
    return np.asarray(1 / np.maximum(np.hypot(rows, columns), 1 / size) ** smoothness, np.float32)
