"""Images as a program has them, prepared for a network batch by batch: paths, PIL images, arrays of pixels or of input.

N images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.find_images import find_image_files

if TYPE_CHECKING:
    from PIL.Image import Image

# One image, or several of one kind.
Images = Any


class ImageBatches:
    """Images in any of the forms that Network takes, one batch after another as an array."""

    def __init__(self, images: Images, crop_size: int, image_size: int, batch_size: int):
        """Look at the images without reading them. Raises UserError for what is no image."""
        self._image_size, self._batch_size = image_size, batch_size
        self._images = _list_images(images)
        self.prepared = isinstance(self._images, np.ndarray) and self._images.dtype.kind == 'f'
        if self.prepared and self._images.shape[1:] != (crop_size, crop_size, 3):
            raise UserError(
                f'The images are {self._images.dtype} {self._images.shape}; floating-point ones are the input of the '
                f'network as it is and must be (N, {crop_size}, {crop_size}, 3). Give uint8 pixels for other sizes.'
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 (n, image_size, image_size, 3), or the prepared arrays as float32."""
        for first in range(0, len(self._images), self._batch_size):
            batch = self._images[first : first + self._batch_size]
            if self.prepared:
                yield np.asarray(batch, np.float32)
            else:
                yield np.stack([load_square(image, self._image_size) for image in batch])


def load_square(image: Any, image_size: int) -> np.ndarray:
    """Return an image as uint8 (image_size, image_size, 3), prepared as a dataset is.

    `image` is a path, a PIL image, or a uint8 array (height, width, 3). The EXIF orientation of files and PIL images is
    applied. Raises UserError for anything else and for a file that cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        try:
            with open(image, 'rb') as file:
                data = file.read(image_io.MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UserError(f'{image} cannot be read ({error.strerror}).') from error
        return image_io.decode_center_square(data, image_size, name=str(image), upright=True)[0]
    if _is_pil_image(image):
        image = _pil_pixels(image)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f'An image is {pixels.dtype} {pixels.shape}; it must be uint8 (height, width, 3), RGB.')
    return image_io.resize_and_crop(np.ascontiguousarray(pixels), image_size)


def _list_images(images: Images) -> Sequence[Any] | np.ndarray:
    """Return the images as a sequence, paths of folders as those of their images."""
    if isinstance(images, str | os.PathLike):
        return find_image_files([os.fspath(images)]).files
    if _is_pil_image(images):
        return [images]
    if not isinstance(images, list | tuple):
        array = np.asarray(images)
        array = array[None] if array.ndim == 3 else array
        if array.ndim != 4 or array.dtype.kind not in 'uf' or not len(array):
            raise UserError(
                f'The images are {array.dtype} {array.shape}; give paths, PIL images or an array (N, height, width, 3).'
            )
        return array
    if not images:
        raise UserError('No images were given.')
    if all(isinstance(image, str | os.PathLike) for image in images):
        return find_image_files([os.fspath(image) for image in images]).files
    if getattr(images[0], 'dtype', np.dtype(np.uint8)).kind == 'f':
        return np.stack([np.asarray(image) for image in images])
    return images


def _is_pil_image(image: Any) -> bool:
    return type(image).__module__.partition('.')[0] == 'PIL'


def _pil_pixels(image: Image) -> np.ndarray:
    """Return the pixels of a PIL image, upright, with what is transparent on white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.asarray(image.convert('RGB'))
