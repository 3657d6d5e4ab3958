"""Images: bytes to pixels, pixels to squares, squares to JPEG. No chance in here, no files, no datasets.

An image is a uint8 array (height, width, 3), RGB. The only file that knows the decoders: simplejpeg, which frees
the GIL and is twice as fast, for JPEG; Pillow for PNG, WebP and the JPEGs that simplejpeg refuses.
"""

import dataclasses
import io
import zlib

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from alexnet_jax.data import exif
from alexnet_jax.errors import UserError

IMAGE_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.webp',
)  # what sources take for an image; decode goes by content alone
MAX_FILE_BYTES = 64 * 2**20  # bytes
MAX_PIXELS = (
    64 * 10**6
)  # pixels: 192 MB decoded, beyond any camera's and far below what exhausts a machine
GZIP_MAGIC = b'\x1f\x8b'  # a gzipped file begins so
MIN_OVERSAMPLING = 3  # a JPEG is decoded at a reduced scale where that leaves so many times the pixels needed along each side


class UnreadableImage(UserError):
    """Bytes that are no image we can read; the sentence names it and says why."""


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """An image, and what was remarkable about its file."""

    pixels: np.ndarray  # uint8 (height, width, 3)
    reduced: int  # 1, or 2, 4 or 8: so many times smaller than the file's own pixels
    form: str  # JPEG, PNG or WEBP
    odd: tuple[str, ...]  # words of ODD


ANOMALIES = {
    'grey': 'made gray in all three channels',
    'CMYK': 'converted to RGB',
    '16-bit': 'the upper eight bits taken',
    'palette': 'its colors looked up',
    'transparent': 'laid on white',
    'animated': 'its first picture taken',
    'gzip-compressed': 'decompressed first',
    'extra bytes': 'passed over',
    'faulty but readable': 'decoded as far as the decoder forgives',
    'broken EXIF': 'passed over',
    'orientation applied': 'turned as its EXIF asks',
    'orientation ignored': 'left as it is stored, whatever its EXIF asks',
}


def decode_image(data: bytes, *, name: str = 'image', upright: bool = False) -> np.ndarray:
    """The pixels of a JPEG, PNG or WebP, recognized by its content: uint8 (height, width, 3). As `open_image`."""
    return decode_with_info(data, name=name, upright=upright).pixels


def decode_square_jpeg(data: bytes, side: int, *, name: str = 'image') -> np.ndarray:
    """A JPEG that should be `side` pixels square, decoded without asking first what it is: a tenth faster.

    What it is not, however small or damaged, is as `decode` has it, Unreadable included: the caller looks at the shape.
    """
    try:
        return simplejpeg.decode_jpeg(data, buffer=np.empty((side, side, 3), np.uint8))
    except ValueError:
        return decode_image(data, name=name)


def decode_with_info(data: bytes, *, name: str = 'image', upright: bool = False, side: int = 0) -> DecodedImage:
    """A JPEG, PNG or WebP, recognized by its content, decoded; gzipped ones too.

    Gray and CMYK become RGB, transparent pixels lie on white, of an animation the first picture is taken.
    `upright` turns the image as its EXIF orientation asks: for a person's own photographs; ImageNet's are used as
    they are stored. With a `side` the image may come at a reduced scale, which JPEG decodes faster, yet SPARE times
    larger than a square of that side needs. Raises Unreadable, with `name`, for anything else: another format, a
    truncated or damaged file, more than 64 MiB, or a header that announces more than 64 million pixels (refused
    before decoding).
    """
    odd = []
    if data[:2] == GZIP_MAGIC:
        data, odd = _decompress_gzip(data, name), ['gzip-compressed']
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableImage(
            f'{name}: {len(data):,} bytes, more than the {MAX_FILE_BYTES:,} that an image may have.'
        )
    form = _sniff_format(data)
    if form is None:
        raise UnreadableImage(
            f'{name}: neither JPEG, PNG nor WebP ({_beginning(data)}); convert it to one of them.'
        )
    try:
        opened = _decode_with_simplejpeg(data, name, side, odd) if form == 'JPEG' else None
        pixels, reduced, block = opened or _decode_with_pillow(data, form, name, odd)
        turned, sound = exif.parse_orientation(block) if block else (1, True)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:  # Pillow is quicker than we are
        raise UnreadableImage(f'{name}: more than the {MAX_PIXELS:,} pixels that an image may have.') from None
    except UnidentifiedImageError:
        raise UnreadableImage(f'{name}: a {form} whose header cannot be read; replace or remove it.') from None
    except Exception as error:  # Pillow answers damaged files with nearly every kind of exception there is
        raise UnreadableImage(f'{name}: a damaged or truncated {form} ({error}); replace or remove it.') from error
    if not sound:
        odd.append('broken EXIF')
    if turned != 1:
        odd.append('orientation applied' if upright else 'orientation ignored')
    if turned != 1 and upright:
        pixels = _apply_orientation(pixels, turned)
    return DecodedImage(pixels, reduced, form, tuple(odd))


def _decompress_gzip(data: bytes, name: str) -> bytes:
    """What a gzipped file holds, and no more of it than an image may have and one byte."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise UnreadableImage(f'{name}: a damaged gzip file ({error}); replace or remove it.') from error


def _sniff_format(data: bytes) -> str | None:
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


def _check_dimensions(height: int, width: int, name: str) -> None:
    if height * width > MAX_PIXELS:
        raise UnreadableImage(
            f'{name}: {width} x {height} pixels, more than the {MAX_PIXELS:,} that an image may have.'
        )


Raw = tuple[np.ndarray, int, bytes | None]  # pixels, how many times smaller they are, EXIF block


def _decode_with_simplejpeg(data: bytes, name: str, side: int, odd: list[str]) -> Raw | None:
    """None where Pillow should have a try: CMYK, whose inks Adobe stores inverted, and odd files."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _check_dimensions(height, width, name)
    if space in ('CMYK', 'YCCK'):
        return None
    reduced = 1
    while side and reduced < 8 and _can_downscale(height, width, 2 * reduced, side):
        reduced *= 2
    try:
        smallest = {'min_height': height // reduced, 'min_width': width // reduced}
        pixels = simplejpeg.decode_jpeg(data, colorspace='RGB', **smallest)
    except ValueError as error:
        odd.append('extra bytes' if 'extraneous' in str(error) else 'faulty but readable')
        return None
    if space == 'Gray':
        odd.append('grey')
    if data[-2:] != b'\xff\xd9':
        odd.append('extra bytes')
    return pixels, reduced, exif.find_exif(data)


def _can_downscale(height: int, width: int, reduced: int, side: int) -> bool:
    """Whether an image so many times smaller serves as well; sizes that leave a part of a pixel would shift it."""
    return min(height, width) >= MIN_OVERSAMPLING * side * reduced and not height % reduced and not width % reduced


def _decode_with_pillow(data: bytes, form: str, name: str, odd: list[str]) -> Raw:
    with Image.open(io.BytesIO(data), formats=[form]) as image:  # reads the header alone
        _check_dimensions(image.height, image.width, name)
        kinds = {
            'grey': image.mode[0] in '1LI',
            'CMYK': image.mode == 'CMYK',
            '16-bit': image.mode.startswith('I'),
            'palette': image.mode.startswith('P'),
            'animated': getattr(image, 'is_animated', False),
        }
        odd += [kind for kind, it_is in kinds.items() if it_is]
        if kinds['16-bit']:  # which convert would clip at 255
            gray = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
            pixels = np.repeat(gray[:, :, None], 3, axis=2)
        elif image.has_transparency_data:
            colored = image.convert('RGBA')
            if colored.getchannel('A').getextrema()[0] < 255:
                odd.append('transparent')
            flat = Image.alpha_composite(Image.new('RGBA', colored.size, 'white'), colored)
            pixels = np.array(flat.convert('RGB'))
        else:
            pixels = np.array(image.convert('RGB'))
        # PNG may have its EXIF behind the pixels.
        block = exif.find_exif(data) if form == 'JPEG' else image.info.get('exif')
    return pixels, 1, block


def _apply_orientation(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as the camera was held, by the table of TIFF 6.0 (tag 274)."""
    if orientation >= 5:  # the stored rows are the picture's columns
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def decode_center_square(
    data: bytes, side: int, *, name: str = 'image', upright: bool = False
) -> tuple[np.ndarray, DecodedImage]:
    """An image's center square as `resize_and_crop` gives it, and the file as `open_image` found it.

    Photographs so large that a JPEG can be decoded at a reduced scale differ from `resize_and_crop` of the whole one,
    though by about a tenth of what storing the square as JPEG changes (docs/data.md has the figures).
    """
    opened = decode_with_info(data, name=name, upright=upright, side=side)
    return resize_and_crop(opened.pixels, side, reduced=opened.reduced), opened


def resize_and_crop(image: np.ndarray, side: int, *, reduced: int = 1) -> np.ndarray:
    """The center square, its side resized to `side` pixels: uint8 (side, side, 3).

    The paper (section 2): rescale so that the shorter side has length 256, take the central 256 x 256. By Pillow's
    bicubic filter, which widens as it shrinks, so that nothing aliases; it sees beyond the square's edge. Of an
    image that is `reduced` so many times already the square is that of the whole one.
    """
    height, width, _ = image.shape
    shorter = min(height, width)
    top, left = reduced * (height - shorter) // 2, reduced * (width - shorter) // 2
    if shorter == side and reduced == 1:
        return np.ascontiguousarray(crop_image(image, top, left, side))
    top, left = top / reduced, left / reduced
    box = (left, top, left + shorter, top + shorter)
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=box))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The whole image in another size, by the same filter: uint8 (height, width, 3)."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """JPEG of a uint8 image (height, width, 3); 4:2:0, a third smaller and faster to decode than 4:4:4."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, 'RGB', '420')


def crop_image(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """A square of `size` pixels out of (..., height, width, channels); a view."""
    return image[..., top : top + size, left : left + size, :]


def center(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of (..., height, width, channels); a view."""
    height, width = image.shape[-3:-1]
    return crop_image(image, (height - size) // 2, (width - size) // 2, size)


def mirror(image: np.ndarray) -> np.ndarray:
    """Left and right exchanged, (..., height, width, channels); a view."""
    return image[..., ::-1, :]
