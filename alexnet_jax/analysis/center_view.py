"""The center view of an evaluation as a function that jax can trace: from uint8 images to the network's input.

B batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.data import augment, normalize
from alexnet_jax.evaluate import ten_crop
from alexnet_jax.weights.model_weights import Preprocessing


class CenterView:
    """The center crop, its mean and its standard deviation. `mean` is what is subtracted, float32 (crop, crop, 3)."""

    def __init__(self, preprocessing: Preprocessing, crop_size: int):
        """Raises UserError if the crop does not fit the images."""
        self.crop_size, self.image_size = crop_size, preprocessing.image_size
        (self._view,) = ten_crop.make_views(1, self.image_size, crop_size)
        # In the center view the mean image is cropped as for a static mean.
        kind = 'center' if preprocessing.mean_kind == 'image' else preprocessing.mean_kind
        self.mean, _ = augment.select_mean(preprocessing.mean_image(), kind, crop_size)
        red, green, blue = map(float, preprocessing.std)
        self._std = red, green, blue

    def crop(self, images: np.ndarray) -> np.ndarray:
        """Return the pixels that the network sees: (B, image_size, image_size, 3) to (B, crop, crop, 3)."""
        top, left = int(self._view.top), int(self._view.left)
        return images[:, top : top + self.crop_size, left : left + self.crop_size]

    def prepare(self, images: jax.Array) -> jax.Array:
        """Return the network's input of uint8 images (B, image_size, image_size, 3)."""
        return self.normalize(ten_crop.crop_view(images, self._view, self.crop_size).astype(jnp.float32))

    def normalize(self, crops: jax.Array) -> jax.Array:
        """Return the network's input of crops (B, crop, crop, 3), float32 in 0..255."""
        return normalize.divide_by_std(crops - self.mean[None], self._std)
