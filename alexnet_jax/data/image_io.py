"""Images: decoding, resizing and cropping, and JPEG encoding.

An image is a uint8 array (height, width, 3), RGB. The only file that calls the decoders: simplejpeg, which frees the
GIL and is twice as fast, for JPEG; Pillow for PNG, WebP and the JPEGs that simplejpeg refuses.
"""

import dataclasses
import io
import warnings
import zlib

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from alexnet_jax.data import exif, file_format
from alexnet_jax.errors import UserError

# Of the files that sources take for images; decoding goes by content alone.
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.jif', '.jfi', '.png', '.webp')
FORMATS = ('JPEG', 'PNG', 'WEBP')
MAX_FILE_BYTES = 64 * 2**20
# 192 MB decoded, far below what exhausts a machine.
MAX_PIXELS = 64 * 10**6
# Of a JPEG that is decoded at a half or less, beyond any camera's. A progressive one takes up to 6 bytes for each.
MAX_JPEG_PIXELS = 4 * MAX_PIXELS
GZIP_MAGIC = b'\x1f\x8b'
PNG_BIT_DEPTH = 24  # offset of the byte that has it
# A JPEG is decoded at a reduced scale if that leaves this many times the pixels needed along each side.
MIN_OVERSAMPLING = 3


class UnreadableImage(UserError):
    """Bytes that cannot be decoded as an image; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """An image, and what is unusual about its file."""

    pixels: np.ndarray  # uint8 (height, width, 3)
    downscale: int  # 1, or 2, 4 or 8: the file's own pixels are this many times more along each side
    format: str  # JPEG, PNG or WEBP
    anomalies: tuple[str, ...]  # keys of ANOMALIES


NEARLY_BLACK = 'nearly black 16-bit'
# What can be unusual about a file, and what decoding does about it. The keys are in the reports of datasets.
ANOMALIES = {
    'grey': 'copied to all three channels',
    'CMYK': 'converted to RGB',
    '16-bit': 'reduced to the upper eight bits',
    NEARLY_BLACK: (
        'left nearly black: no value reaches a sixteenth of white; if they have 12 bits, multiply them by 16'
    ),
    'palette': 'converted to RGB',
    'transparent': 'composited on white',
    'animated': 'only the first frame used',
    'gzip-compressed': 'decompressed first',
    'extra bytes': 'ignored',
    'faulty but readable': 'decoded as far as the decoder can',
    'broken EXIF': 'ignored',
    'orientation applied': 'rotated as EXIF says',
    'orientation ignored': 'left as stored, whatever EXIF says',
}


def decode_image(data: bytes, *, name: str = 'image', upright: bool = False) -> np.ndarray:
    """Return the pixels of a JPEG, PNG or WebP, recognized by its content, as `decode_with_info` does."""
    return decode_with_info(data, name=name, upright=upright).pixels


def decode_square_jpeg(
    data: bytes, image_size: int, *, name: str = 'image', buffer: np.ndarray | None = None
) -> np.ndarray:
    """Decode a JPEG that should be `image_size` pixels square, a tenth faster than `decode_image`.

    The result lies in `buffer`, uint8 (image_size, image_size, 3), if there is one. Other data is decoded, or refused,
    as by `decode_image`: check the shape of the result.
    """
    if buffer is None:
        buffer = np.empty((image_size, image_size, 3), np.uint8)
    try:
        return simplejpeg.decode_jpeg(data, buffer=buffer)
    except ValueError:
        return decode_image(data, name=name)


def decode_with_info(data: bytes, *, name: str = 'image', upright: bool = False, image_size: int = 0) -> DecodedImage:
    """Decode a JPEG, PNG or WebP, recognized by its content, gzip-compressed or not.

    Gray and CMYK become RGB, transparent pixels are composited on white, of an animation the first frame is taken.
    `upright` applies the EXIF orientation: for a person's own photographs; ImageNet's are used as they are stored.
    With an `image_size` the image may come at a reduced scale, which JPEG decodes faster, yet MIN_OVERSAMPLING times
    larger than a square of that size needs. Raises UnreadableImage, with `name`, for another format, a truncated or
    damaged file, more than MAX_FILE_BYTES, or a header that announces more than MAX_PIXELS, at a reduced scale
    MAX_JPEG_PIXELS (before decoding).
    """
    anomalies = []
    if data[:2] == GZIP_MAGIC:
        data, anomalies = _decompress_gzip(data, name), ['gzip-compressed']
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableImage(f'{name}: {len(data):,} bytes exceed the limit of {MAX_FILE_BYTES:,}; save it smaller.')
    format = file_format.detect_format(data)
    if format not in FORMATS:
        raise UnreadableImage(f'{name}: not a JPEG, PNG or WebP {file_format.describe_non_image(data)}.')
    try:
        decoded = _decode_with_simplejpeg(data, name, image_size, anomalies) if format == 'JPEG' else None
        pixels, downscale, block = decoded or _decode_with_pillow(data, format, name, anomalies)
        orientation, intact = exif.parse_orientation(block) if block else (1, True)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:  # Pillow's own check comes first
        raise UnreadableImage(f'{name}: more pixels than the limit of {MAX_PIXELS:,}; save it smaller.') from None
    except UnidentifiedImageError:
        raise UnreadableImage(f'{name}: a {format} with an unreadable header; replace or remove it.') from None
    except Exception as error:  # Pillow raises nearly every kind of exception for damaged files
        raise UnreadableImage(f'{name}: a damaged or truncated {format} ({error}); replace or remove it.') from error
    if not intact:
        anomalies.append('broken EXIF')
    if orientation != 1:
        anomalies.append('orientation applied' if upright else 'orientation ignored')
    if orientation != 1 and upright:
        pixels = _apply_orientation(pixels, orientation)
    return DecodedImage(pixels, downscale, format, tuple(anomalies))


def _decompress_gzip(data: bytes, name: str) -> bytes:
    """Return the content of a gzip file, at most one byte more than an image may have."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise UnreadableImage(f'{name}: a damaged gzip file ({error}); replace or remove it.') from error


def _check_dimensions(height: int, width: int, name: str, *, downscale: int = 1) -> None:
    limit = MAX_PIXELS if downscale == 1 else MAX_JPEG_PIXELS
    if height * width > limit:
        raise UnreadableImage(
            f'{name}: {width} x {height} pixels exceed the limit of {limit:,} pixels; save it smaller.'
        )


# Pixels, downscale and EXIF block.
Decoded = tuple[np.ndarray, int, bytes | None]


def _decode_with_simplejpeg(data: bytes, name: str, image_size: int, anomalies: list[str]) -> Decoded | None:
    """Return None if Pillow should try: CMYK, whose inks Adobe stores inverted, and unusual files."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if space in ('CMYK', 'YCCK'):
        return None
    downscale = 1
    while image_size and downscale < 8 and _can_downscale(height, width, 2 * downscale, image_size):
        downscale *= 2
    _check_dimensions(height, width, name, downscale=downscale)
    try:
        smallest = {'min_height': height // downscale, 'min_width': width // downscale}
        pixels = simplejpeg.decode_jpeg(data, colorspace='RGB', **smallest)
    except ValueError as error:
        anomalies.append('extra bytes' if 'extraneous' in str(error) else 'faulty but readable')
        return None
    if space == 'Gray':
        anomalies.append('grey')
    if data[-2:] != b'\xff\xd9':
        anomalies.append('extra bytes')
    return pixels, downscale, exif.find_exif(data)


def _can_downscale(height: int, width: int, downscale: int, image_size: int) -> bool:
    """Return whether a reduced image is large enough; dimensions that leave a part of a pixel would shift it.

    Where the whole image has too many pixels, a shift by less than a pixel is taken.
    """
    large = min(height, width) >= MIN_OVERSAMPLING * image_size * downscale
    exact = not height % downscale and not width % downscale
    return large and (exact or height * width > MAX_PIXELS)


def _decode_with_pillow(data: bytes, format: str, name: str, anomalies: list[str]) -> Decoded:
    with warnings.catch_warnings():  # of many pixels: the check below has a sentence for them
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        opened = Image.open(io.BytesIO(data), formats=[format])  # reads the header alone
    with opened as image:
        _check_dimensions(image.height, image.width, name)
        checks = {
            'grey': image.mode[0] in '1LI',
            'CMYK': image.mode == 'CMYK',
            '16-bit': image.mode.startswith('I') or (format == 'PNG' and data[PNG_BIT_DEPTH] == 16),
            'palette': image.mode.startswith('P'),
            'animated': getattr(image, 'is_animated', False),
        }
        anomalies += [anomaly for anomaly, present in checks.items() if present]
        if image.mode.startswith('I'):  # which convert would clip at 255
            gray = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
            pixels = np.repeat(gray[:, :, None], 3, axis=2)
        elif image.has_transparency_data:
            rgba = image.convert('RGBA')
            if rgba.getchannel('A').getextrema()[0] < 255:
                anomalies.append('transparent')
            flat = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
            pixels = np.array(flat.convert('RGB'))
        else:
            pixels = np.array(image.convert('RGB'))
        if checks['16-bit'] and pixels.max() < 16:  # of 255
            anomalies.append(NEARLY_BLACK)
        # PNG may have its EXIF after the pixels.
        block = exif.find_exif(data) if format == 'JPEG' else image.info.get('exif')
    return pixels, 1, block


def _apply_orientation(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return the image as the camera was held, by the table of TIFF 6.0 (tag 274)."""
    if orientation >= 5:  # the stored rows are the picture's columns
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def decode_center_square(
    data: bytes, image_size: int, *, name: str = 'image', upright: bool = False
) -> tuple[np.ndarray, DecodedImage]:
    """Return an image's center square as `resize_and_crop` makes it, and the decoded file.

    Photographs so large that a JPEG can be decoded at a reduced scale differ from `resize_and_crop` of the whole one,
    but only by about a tenth of what storing the square as JPEG changes (docs/data.md has the figures).
    """
    decoded = decode_with_info(data, name=name, upright=upright, image_size=image_size)
    return resize_and_crop(decoded.pixels, image_size, downscale=decoded.downscale), decoded


def resize_and_crop(image: np.ndarray, image_size: int, *, downscale: int = 1) -> np.ndarray:
    """Return the center square, its side resized to `image_size` pixels: uint8 (image_size, image_size, 3).

    The paper (section 2): rescale so that the shorter side has length 256, take the central 256 x 256. By Pillow's
    bicubic filter, which widens as it shrinks, so that nothing aliases; it sees beyond the square's edge. An image that
    was decoded with a `downscale` has the square of the whole one.
    """
    height, width, _ = image.shape
    shorter = min(height, width)
    top, left = downscale * (height - shorter) // 2, downscale * (width - shorter) // 2
    if shorter == image_size and downscale == 1:
        return np.ascontiguousarray(crop_image(image, top, left, image_size))
    top, left = top / downscale, left / downscale
    box = (left, top, left + shorter, top + shorter)
    return np.array(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BICUBIC, box=box))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the whole image in another size, by the same filter: uint8 (height, width, 3)."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def crop_image(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """Return a square of `size` pixels out of (..., height, width, channels); a view."""
    return image[..., top : top + size, left : left + size, :]


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return the JPEG of a uint8 image (height, width, 3); 4:2:0, a third smaller and faster to decode than 4:4:4."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, 'RGB', '420')
