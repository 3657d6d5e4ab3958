"""Test-time views of an image: the center or the paper's ten crops, and the average of the network's answers to them.

The order is the 2012 source's: four corners with the center third, row by row, then the mirror image of each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alexnet_jax.data.augment import mirror_images, require_crop_fits
from alexnet_jax.data.normalize import crop_images
from alexnet_jax.errors import UserError

VIEW_COUNTS = (1, 10)  # the center alone; the paper's


class View(NamedTuple):
    """One crop: its upper left corner in pixels, and whether it is mirrored; or, as arrays, several of them."""

    top: int | jax.Array
    left: int | jax.Array
    mirror: bool | jax.Array


def make_views(num_views: int, image_size: int, crop_size: int) -> tuple[View, ...]:
    """Return the center view (1) or the paper's ten (section 4.1) of images of `image_size` pixels.

    Raises UserError for another number of views and for a crop that does not fit.
    """
    if num_views not in VIEW_COUNTS:
        raise UserError(
            f'The number of views must be 1 (center) or 10 (corners, center, their mirror images), not {num_views}.'
        )
    require_crop_fits(crop_size, image_size)
    far, middle = image_size - crop_size, (image_size - crop_size) // 2
    if num_views == 1:
        return (View(middle, middle, False),)
    corners = ((0, 0), (0, far), (middle, middle), (far, 0), (far, far))
    return tuple(View(top, left, mirror) for mirror in (False, True) for top, left in corners)


def crop_view(images: jax.Array, view: View, crop_size: int) -> jax.Array:
    """Return the same view of every image: (B, side, side, 3) to (B, crop, crop, 3), any dtype. The view may be traced.

    A mean image is cropped and mirrored as the images are by the same function, as mean[None].
    """
    crops = crop_images(jnp.asarray(images), view.top, view.left, crop_size)
    return mirror_images(crops, jnp.asarray(view.mirror))


def average_views(logits: jax.Array) -> jax.Array:
    """Return the logarithms of the probabilities averaged over V views: logits (V, B, K) to (B, K).

    The paper averages the softmax outputs (section 4.1), the 2012 source takes the loss of that average too. In
    logarithms no small probability becomes zero, which would tie with others.
    """
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - math.log(len(logits))
