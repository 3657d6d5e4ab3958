"""Views: which crops of an image are shown to the network when it is tested. Pixels in, pixels out, no chance.

The order is the 2012 source's: four corners with the center third, row by row, then the mirror image of each.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.errors import UserError

NUMBERS = (1, 10)  # the center alone; the paper's


class View(NamedTuple):
    """One crop: its upper left corner in pixels, and whether it is mirrored; or, as arrays, several of them."""

    top: int | jax.Array
    left: int | jax.Array
    mirror: bool | jax.Array


def views(number: int, side: int, crop: int) -> tuple[View, ...]:
    """The center view (1) or the paper's ten (section 4.1) of images of `side` pixels, seen through `crop` pixels."""
    if number not in NUMBERS:
        raise UserError(
            f'There are 1 view (the center) or 10 (the corners, the center and their mirrors), not {number}.'
        )
    if not 0 < crop <= side:
        raise UserError(
            f'A view of {crop} pixels does not fit into images of {side} pixels; give 1 to {side}.'
        )
    far, middle = side - crop, (side - crop) // 2
    if number == 1:
        return (View(middle, middle, False),)
    corners = ((0, 0), (0, far), (middle, middle), (far, 0), (far, far))
    return tuple(View(top, left, mirror) for mirror in (False, True) for top, left in corners)


def cut(images: jax.Array, view: View, crop: int) -> jax.Array:
    """That view of every image: (B, side, side, 3) to (B, crop, crop, 3), of any dtype. The view may be traced.

    The mean image is cut by the same function, as mean[None]: it is cropped and mirrored as the images are.
    """
    batch, _, _, colors = images.shape
    window = lax.dynamic_slice(images, (0, view.top, view.left, 0), (batch, crop, crop, colors))
    return jnp.where(view.mirror, window[:, :, ::-1], window)
