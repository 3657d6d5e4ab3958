"""Images: bytes to pixels, pixels to squares, squares to JPEG. No chance in here, no files, no datasets.

An image is a uint8 array (height, width, 3), RGB. The only file that knows the decoders: simplejpeg, which frees
the GIL and is twice as fast, for JPEG; Pillow for PNG, WebP and the JPEGs that simplejpeg refuses.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from alexnet_jax.mistakes import Mistake

ENDINGS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.webp',
)  # what sources take for an image; decode goes by content alone
LARGEST_FILE = 64 * 2**20  # bytes
LARGEST_IMAGE = (
    64 * 10**6
)  # pixels: 192 MB decoded, beyond any camera's and far below what exhausts a machine
ORIENTATION = 0x0112  # the EXIF tag


class Unreadable(Mistake):
    """Bytes that are no image we can read; the sentence names it and says why."""


def decode(data: bytes, *, name: str = 'image', upright: bool = False) -> np.ndarray:
    """The pixels of a JPEG, PNG or WebP, recognised by its content: uint8 (height, width, 3).

    Grey and CMYK become RGB, transparent pixels lie on white, of an animation the first picture is taken.
    `upright` turns the image as its EXIF orientation asks: for a person's own photographs; ImageNet's are used as
    they are stored. Raises Unreadable, with `name`, for anything else: another format, a truncated or damaged
    file, more than 64 MiB, or a header that announces more than 64 million pixels (refused before decoding).
    """
    if len(data) > LARGEST_FILE:
        raise Unreadable(
            f'{name}: {len(data):,} bytes, more than the {LARGEST_FILE:,} that an image may have.'
        )
    form = _form(data)
    if form is None:
        raise Unreadable(
            f'{name}: neither JPEG, PNG nor WebP ({_beginning(data)}); convert it to one of them.'
        )
    try:
        image = _with_simplejpeg(data, name) if form == 'JPEG' else None
        if image is None:
            image = _with_pillow(data, form, name)
        return _turned(image, _orientation(data, form)) if upright else image
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable(f'{name}: a {form} whose header cannot be read; replace or remove it.') from None
    except Exception as error:  # Pillow answers damaged files with nearly every kind of exception there is
        raise Unreadable(f'{name}: a damaged or truncated {form} ({error}); replace or remove it.') from error


def _form(data: bytes) -> str | None:
    """The format's name as Pillow calls it, from the first bytes."""
    if data[:3] == b'\xff\xd8\xff':
        return 'JPEG'
    if data[:8] == b'\x89PNG\r\n\x1a\n':
        return 'PNG'
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'WEBP'
    return None


def _beginning(data: bytes) -> str:
    return f'it begins with {bytes(data[:8])!r}' if data else 'it is empty'


def _refuse_giants(height: int, width: int, name: str) -> None:
    if height * width > LARGEST_IMAGE:
        raise Unreadable(
            f'{name}: {width} x {height} pixels, more than the {LARGEST_IMAGE:,} that an image may have.'
        )


def _with_simplejpeg(data: bytes, name: str) -> np.ndarray | None:
    """None where Pillow should have a try: CMYK, whose inks Adobe stores inverted, and odd files."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _refuse_giants(height, width, name)
    if space in ('CMYK', 'YCCK'):
        return None
    try:
        return simplejpeg.decode_jpeg(data, colorspace='RGB')
    except ValueError:
        return None


def _with_pillow(data: bytes, form: str, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=[form]) as image:  # reads the header alone
        _refuse_giants(image.height, image.width, name)
        if image.mode.startswith('I'):  # 16-bit grey, which convert would clip at 255
            grey = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            coloured = image.convert('RGBA')
            image = Image.alpha_composite(Image.new('RGBA', coloured.size, 'white'), coloured)
        return np.array(image.convert('RGB'))


def _orientation(data: bytes, form: str) -> int:
    """EXIF orientation, 1 to 8; 1 (as stored) where there is none or it makes no sense."""
    with Image.open(io.BytesIO(data), formats=[form]) as image:
        found = image.getexif().get(ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as the camera was held, by the table of TIFF 6.0 (tag 274)."""
    if orientation >= 5:  # the stored rows are the picture's columns
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def resize_and_crop(image: np.ndarray, side: int) -> np.ndarray:
    """The centre square, its side resized to `side` pixels: uint8 (side, side, 3).

    The paper (section 2): rescale so that the shorter side has length 256, take the central 256 x 256. By Pillow's
    bicubic filter, which widens as it shrinks, so that nothing aliases; it sees beyond the square's edge.
    """
    height, width, _ = image.shape
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    if shorter == side:
        return np.ascontiguousarray(crop(image, top, left, side))
    box = (left, top, left + shorter, top + shorter)
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=box))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The whole image in another size, by the same filter: uint8 (height, width, 3)."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """JPEG of a uint8 image (height, width, 3); 4:2:0, a third smaller and faster to decode than 4:4:4."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, 'RGB', '420')


def crop(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """A square of `size` pixels out of (..., height, width, channels); a view."""
    return image[..., top : top + size, left : left + size, :]


def centre(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of (..., height, width, channels); a view."""
    height, width = image.shape[-3:-1]
    return crop(image, (height - size) // 2, (width - size) // 2, size)


def mirror(image: np.ndarray) -> np.ndarray:
    """Left and right exchanged, (..., height, width, channels); a view."""
    return image[..., ::-1, :]
