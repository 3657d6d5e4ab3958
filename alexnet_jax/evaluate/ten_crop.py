"""Crops of the test-time views of images, and the average of the network's answers to them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from alexnet_jax.data.augment import mirror_images, require_crop_fits
from alexnet_jax.data.normalize import crop_images
from alexnet_jax.evaluate.view_places import View, Views, place_views


def make_views(views: Views, image_size: int, crop_size: int) -> tuple[View, ...]:
    """Return the center view (1), the paper's ten (section 4.1) or those of a list, of images of `image_size` pixels.

    Raises UserError for views and crops that do not fit.
    """
    require_crop_fits(crop_size, image_size)
    return place_views(views, image_size, crop_size)


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
