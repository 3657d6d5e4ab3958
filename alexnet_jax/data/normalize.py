"""Crops on the devices, and the network's input made of them: lighting added, mean subtracted, flipped, divided."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.data.augment import add_lighting, mirror_images

# What red, green and blue are divided by after the mean, in gray levels.
Std = tuple[float, float, float]
NO_STD: Std = (1.0, 1.0, 1.0)


def crop_images(
    images: jax.Array, top: jax.Array, left: jax.Array, size: int, *, index: jax.Array | None = None
) -> jax.Array:
    """Return the squares (..., size, size, C) at (top, left), which may be traced, out of images (..., H, W, C).

    With an `index`, `images` is (N, H, W, C) and the square (size, size, C) of that one image is returned.
    """
    zero = jnp.zeros_like(top)
    leading = images.shape[:-3] if index is None else (1,)
    starts = (zero if index is None else index,) * len(leading)
    squares = lax.dynamic_slice(images, (*starts, top, left, zero), (*leading, size, size, images.shape[-1]))
    return squares if index is None else squares[0]


def normalize_batch(batch: Mapping[str, jax.Array], mean: jax.Array, *, static: bool) -> jax.Array:
    """Return the network's input: uint8 crops (B, crop, crop, 3) plus the lighting shift, minus the mean, flipped.

    `mean` and `static` as augment.select_mean returns them: a `static` mean is the same for all crops, the other one
    (side, side, 3) is cropped and flipped as each image is (paper, section 2: per-pixel mean). Where the batch has a
    'scale' (B,), the result is multiplied by it (2012 source: 1 / 1.1 while there is lighting).
    """
    normalized = _subtract_mean(batch, mean, static=static)
    return normalized * batch['scale'].reshape(-1, 1, 1, 1) if 'scale' in batch else normalized


def _subtract_mean(batch: Mapping[str, jax.Array], mean: jax.Array, *, static: bool) -> jax.Array:
    images = add_lighting(batch['image'], batch['lighting'])
    if static:
        return mirror_images(images, batch['mirror']) - mean[None]
    size = images.shape[1]
    means = jax.vmap(lambda top, left: crop_images(mean, top, left, size))(batch['top'], batch['left'])
    return mirror_images(images - means, batch['mirror'])


def divide_by_std(images: jax.Array, std: Std) -> jax.Array:
    """Return images (..., 3) divided by `std`; ones change nothing, not even the program."""
    return images if std == NO_STD else images / jnp.asarray(std, images.dtype).reshape((1,) * (images.ndim - 1) + (3,))
