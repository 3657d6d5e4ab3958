"""Images: what decodes, what is refused and with which words, and where pixels go."""

import gzip
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from alexnet_jax.data import image_io

few = settings(deadline=None, max_examples=40)


def pixels(height=40, width=56, seed=0):
    """A picture with smooth and rough parts, so that JPEG has something to do."""
    down, right = np.mgrid[:height, :width]
    smooth = np.stack([down * 4, right * 3, down + right * 2], axis=-1)
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    return (smooth + noise).astype(np.uint8)


def encoded(image, form, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


JPEG = encoded(pixels(), 'JPEG', quality=90)
PROGRESSIVE = encoded(pixels(), 'JPEG', quality=90, progressive=True)
PNG = encoded(pixels(), 'PNG')
WEBP = encoded(pixels(), 'WEBP', lossless=True)
FLAT = Image.new('RGB', (3, 2), 'red')


@pytest.mark.parametrize('data', [PNG, WEBP])
def test_lossless_images_are_decoded_exactly(data):
    image = image_io.decode_image(data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels())


@pytest.mark.parametrize('data', [JPEG, PROGRESSIVE])
def test_jpeg_is_decoded_as_pillow_decodes_it(data):
    np.testing.assert_array_equal(image_io.decode_image(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize('form', ['JPEG', 'PNG'])
def test_gray_becomes_three_equal_channels(form):
    gray = image_io.decode_image(encoded(Image.fromarray(pixels()).convert('L'), form))
    assert gray.shape == (40, 56, 3)
    assert (gray[..., 0] == gray[..., 1]).all() and (gray[..., 1] == gray[..., 2]).all()


def test_inks_become_the_colors_they_print():
    decoded = image_io.decode_image(encoded(Image.fromarray(pixels()).convert('CMYK'), 'JPEG', quality=98))
    assert np.abs(decoded.astype(int) - pixels()).mean() < 4


def test_sixteen_bits_of_gray_become_their_upper_eight():
    gray = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(image_io.decode_image(encoded(gray, 'PNG'))[..., 0].ravel(), np.arange(256))


def test_transparent_pixels_lie_on_white():
    picture = Image.fromarray(pixels()).convert('RGBA')
    picture.putalpha(Image.fromarray(np.where(np.arange(56) < 20, 0, 255).astype(np.uint8)[None].repeat(40, 0)))
    image = image_io.decode_image(encoded(picture, 'PNG'))
    assert (image[:, :20] == 255).all()
    np.testing.assert_array_equal(image[:, 20:], pixels()[:, 20:])


def test_content_decides_and_not_the_name():
    np.testing.assert_array_equal(image_io.decode_image(PNG, name='cat.jpg'), pixels())


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
def test_upright_turns_as_exif_asks_and_else_nothing_is_turned(orientation, form):
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(pixels(), form, exif=exif)
    stored = Image.open(io.BytesIO(data))
    turned = np.asarray(ImageOps.exif_transpose(stored).convert('RGB'))
    np.testing.assert_array_equal(image_io.decode_image(data, upright=True), turned)
    np.testing.assert_array_equal(image_io.decode_image(data), np.asarray(stored.convert('RGB')))


@few
@given(st.sampled_from([JPEG, PROGRESSIVE, PNG, WEBP]), st.floats(0, 1))
def test_what_is_cut_off_is_refused_unless_no_pixel_is_missing(data, share):
    cut = data[: int(share * len(data))]
    try:
        image = image_io.decode_image(cut, name='holiday.jpg')
    except image_io.UnreadableImage as mistake:
        assert 'holiday.jpg' in str(mistake)
    else:
        np.testing.assert_array_equal(image, image_io.decode_image(data))


@few
@given(st.sampled_from([JPEG, PNG, WEBP]), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8))
def test_damage_gives_an_image_or_a_sentence_and_nothing_else(data, changes):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * len(data))] = value
    try:
        image = image_io.decode_image(bytes(damaged), upright=True)
    except image_io.UnreadableImage:
        return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@pytest.mark.parametrize(
    'data, sentence',
    [
        (b'', r'\(empty file\); download it again or remove it'),
        (bytes(3000), r'\(file of zeros\); download it again'),
        (b'\xef\xbb\xbf\n<!-- 404 --><HTML><body>', r'\(web page\); download it again'),
        (b'version https://git-lfs.github.com/spec/v1\noid', r'\(Git LFS pointer\); fetch the image itself by `git'),
        (b'\0\0\0\x24ftypmif1\0\0', r'\(HEIC\); convert it'),
        (b'\0\0\0\x20ftypavis\0\0', r'\(AVIF\); convert it'),
        (encoded(FLAT, 'GIF'), r'\(GIF\); convert it'),
        (encoded(FLAT, 'TIFF'), r'\(TIFF\); convert it'),
        (encoded(FLAT, 'BMP'), r'\(BMP\); convert it'),
        (b'RIFF\x24\0\0\0WAVEfmt ', r"\(it begins with b'RIFF\$"),
    ],
)
@pytest.mark.parametrize('packed', [False, True])
def test_what_is_no_image_is_called_what_it_is(data, sentence, packed):
    with pytest.raises(image_io.UnreadableImage, match=rf'^a.jpg: not a JPEG, PNG or WebP {sentence}'):
        image_io.decode_image(gzip.compress(data) if packed else data, name='a.jpg')


@few
@given(st.binary(max_size=60), st.sampled_from([b'', JPEG[:4], PNG[:16], WEBP[:16]]))
def test_what_is_no_image_gets_a_sentence(data, start):
    with pytest.raises(image_io.UnreadableImage, match='notes.txt'):
        image_io.decode_image(start + data, name='notes.txt')


def animated():
    file = io.BytesIO()
    pictures = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    pictures[0].save(file, 'WEBP', save_all=True, append_images=pictures[1:], lossless=True)
    return file.getvalue()


def with_exif(orientation, cut=0):
    block = Image.Exif()
    block[274] = orientation
    block[0x010E] = 'a cat on a mat'
    data = encoded(pixels(), 'JPEG', exif=block)
    start = data.index(b'Exif')
    # The description lies behind the directory: where its place is beyond the block, the block is broken.
    place = data.index((0x010E).to_bytes(2, 'big'), start)
    return data[: place + 8] + (60000).to_bytes(4, 'big') + data[place + 12 :] if cut else data


def inserted(data):
    """One byte more before the end, as two files of ILSVRC-2010 have it."""
    return data[:-2] + b'\xff\x00' * 40 + data[-2:]


def png_of(width, height, bits=8, rows=b''):
    """A PNG of colors that announces its size and has these rows."""

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, bits, 2, 0, 0, 0)
    body = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows) if rows else b'') + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + body


GREY = Image.fromarray(pixels()).convert('L')
INKS = Image.fromarray(pixels()).convert('CMYK')
FEW = Image.fromarray(pixels()).quantize(16)
ANOMALOUS = {
    'a plain photograph': (JPEG, ()),
    'a plain PNG': (PNG, ()),
    'a gray JPEG': (encoded(GREY, 'JPEG'), ('grey',)),
    'a gray PNG': (encoded(GREY, 'PNG'), ('grey',)),
    'inks': (encoded(INKS, 'JPEG'), ('CMYK',)),
    '16 bits': (encoded(np.full((9, 9), 4200, np.uint16), 'PNG'), ('grey', '16-bit')),
    '12 bits in 16': (encoded(np.full((9, 9), 4095, np.uint16), 'PNG'), ('grey', '16-bit', 'nearly black 16-bit')),
    'colors of 16 bits': (png_of(2, 1, 16, b'\0' + b'\x10\0' * 6), ('16-bit',)),
    'colors of 12 bits in 16': (png_of(2, 1, 16, b'\0' + b'\x0f\xff' * 6), ('16-bit', 'nearly black 16-bit')),
    'a palette': (encoded(FEW, 'PNG'), ('palette',)),
    'a palette with a hole': (encoded(FEW, 'PNG', transparency=3), ('palette', 'transparent')),
    'an animation': (animated(), ('animated',)),
    'a gzipped JPEG': (gzip.compress(JPEG), ('gzip-compressed',)),
    'bytes behind the end': (JPEG + b'x', ('extra bytes',)),
    'a byte before the end': (inserted(JPEG), ('extra bytes',)),
    'lying': (with_exif(6), ('orientation ignored',)),
    'broken EXIF': (with_exif(1, cut=1), ('broken EXIF',)),
    'broken EXIF, lying': (with_exif(8, cut=1), ('broken EXIF', 'orientation ignored')),
    'no EXIF behind its name': (JPEG[:2] + b'\xff\xe1\x00\x0aExif\0\0xx' + JPEG[2:], ('broken EXIF',)),
}


@pytest.mark.parametrize('name', ANOMALOUS)
def test_unusual_files_are_read_and_told_apart(name):
    data, expected = ANOMALOUS[name]
    opened = image_io.decode_with_info(data)
    assert opened.anomalies == expected and set(opened.anomalies) <= set(image_io.ANOMALIES)
    if name not in ('16 bits', '12 bits in 16', 'a palette with a hole'):
        whole = Image.open(io.BytesIO(gzip.decompress(data) if data[:2] == image_io.GZIP_MAGIC else data))
        np.testing.assert_array_equal(opened.pixels, np.asarray(whole.convert('RGB')))


def test_broken_exif_turns_ones_own_photograph_as_far_as_it_tells():
    opened = image_io.decode_with_info(with_exif(8, cut=1), upright=True)
    assert opened.anomalies == ('broken EXIF', 'orientation applied')
    np.testing.assert_array_equal(opened.pixels, image_io.decode_image(with_exif(8), upright=True))
    assert image_io.decode_image(with_exif(8), upright=True).shape == (56, 40, 3)


def test_a_gzip_bomb_is_not_unpacked_further_than_an_image_may_reach(monkeypatch):
    monkeypatch.setattr(image_io, 'MAX_FILE_BYTES', 2000)
    bomb = gzip.compress(bytes(10**6), 9)
    assert len(bomb) <= 2000
    with pytest.raises(image_io.UnreadableImage, match=r'cat: 2,001 bytes exceed the limit of 2,000'):
        image_io.decode_image(bomb, name='cat')
    with pytest.raises(image_io.UnreadableImage, match='damaged gzip file'):
        image_io.decode_image(b'\x1f\x8bxxxx', name='cat')


def rough(height, width, seed=0):
    """A large picture of many frequencies, as photographs have them, JPEG at quality 90."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for scale in (4, 8, 16, 32, 64, 128):
        small = rng.normal(0, scale, (-(-height // scale), -(-width // scale), 3)) / 2
        image += small.repeat(scale, 0).repeat(scale, 1)[:height, :width]
    return image_io.encode_jpeg(np.clip(128 + image, 0, 255).astype(np.uint8), 90)


@pytest.mark.parametrize(
    'size, side, reduced',
    [
        ((400, 534), 64, 2),
        ((400, 533), 64, 1),
        ((382, 500), 64, 1),
        ((804, 612), 32, 4),
        ((805, 612), 32, 1),
        ((800, 904), 16, 8),
    ],
)
@pytest.mark.parametrize('orientation', [1, 6])
def test_a_reduced_scale_changes_less_than_storing_as_jpeg_does(size, side, reduced, orientation):
    block = Image.Exif()
    block[274] = orientation
    data = encoded(image_io.decode_image(rough(*size)), 'JPEG', quality=90, exif=block)
    found, opened = image_io.decode_center_square(data, side, upright=True)
    assert opened.downscale == reduced
    exact = image_io.resize_and_crop(image_io.decode_image(data, upright=True), side)
    difference = np.abs(found.astype(int) - exact)
    stored = np.abs(image_io.decode_image(image_io.encode_jpeg(exact, 95)).astype(int) - exact)
    if reduced == 1:
        assert not difference.any()
    else:
        assert 0 < difference.mean() < 0.25 * stored.mean() and difference.max() <= 12


def test_giants_are_refused_by_their_header():
    with pytest.raises(image_io.UnreadableImage, match='8001 x 8000 pixels'):
        image_io.decode_image(png_of(8001, 8000))
    announced = JPEG.replace(struct.pack('>HH', 40, 56), struct.pack('>HH', 60000, 60000))
    with pytest.raises(image_io.UnreadableImage, match='60000 x 60000 pixels'):
        image_io.decode_image(announced)


def test_pixels_count_at_the_scale_of_decoding(monkeypatch, recwarn):
    """A phone's 108 or 200 million, made small; also where no scale divides the dimensions."""
    monkeypatch.setattr(image_io, 'MAX_PIXELS', 400 * 533 - 1)
    monkeypatch.setattr(image_io, 'MAX_JPEG_PIXELS', 805 * 612)
    for size, reduced in (((400, 533), 4), ((805, 612), 4)):
        found, decoded = image_io.decode_center_square(rough(*size), 32)
        assert decoded.downscale == reduced
        whole = np.asarray(Image.open(io.BytesIO(rough(*size))))
        assert np.abs(found.astype(int) - image_io.resize_and_crop(whole, 32)).mean() < 4
    for data, limit in ((encoded(np.zeros((807, 612, 3), np.uint8), 'JPEG'), '492,660'), (png_of(612, 400), '213,199')):
        with pytest.raises(
            image_io.UnreadableImage, match=f'612 x .* exceed the limit of {limit} pixels; save it smaller'
        ):
            image_io.decode_center_square(data, 32)
    monkeypatch.undo()
    with pytest.raises(image_io.UnreadableImage, match='12000 x 9000 pixels exceed'):
        image_io.decode_image(png_of(12000, 9000))
    assert not recwarn.list  # of Pillow's


def test_files_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(image_io, 'MAX_FILE_BYTES', len(PNG) - 1)
    with pytest.raises(image_io.UnreadableImage, match=f'{len(PNG):,} bytes'):
        image_io.decode_image(PNG)


@few
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 255))
def test_one_color_of_any_size_becomes_a_square_of_that_color(height, width, side, gray):
    square = image_io.resize_and_crop(np.full((height, width, 3), gray, np.uint8), side)
    assert square.shape == (side, side, 3) and square.dtype == np.uint8
    assert (square == gray).all()


@pytest.mark.parametrize('shape', [(40, 57), (57, 40), (40, 40)])
def test_an_image_whose_shorter_side_fits_is_only_cropped(shape):
    image = pixels(*shape)
    height, width = shape
    top, left = (height - 40) // 2, (width - 40) // 2
    np.testing.assert_array_equal(image_io.resize_and_crop(image, 40), image[top : top + 40, left : left + 40])


def test_a_wide_image_becomes_what_pillow_makes_of_the_whole_before_it_is_cropped():
    image = pixels(64, 128)
    whole = np.asarray(Image.fromarray(image).resize((64, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(image_io.resize_and_crop(image, 32), whole[:, 16:48])
    np.testing.assert_array_equal(image_io.resize_image(image, 32, 64), whole)


def test_shrinking_does_not_alias():
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = image_io.resize_and_crop(stripes, 24)
    assert np.abs(shrunk[2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_jpeg_comes_back_nearly_as_it_was_and_smaller_at_lower_quality():
    image = image_io.resize_image(pixels(), 64, 64)
    fine, coarse = image_io.encode_jpeg(image, 95), image_io.encode_jpeg(image, 30)
    assert np.abs(image_io.decode_image(fine).astype(int) - image).mean() < 6
    assert len(coarse) < len(fine)


@few
@given(st.data())
def test_a_crop_is_plain_indexing_on_images_and_batches(data):
    height, width = data.draw(st.tuples(st.integers(3, 12), st.integers(3, 12)))
    size = data.draw(st.integers(1, min(height, width)))
    top, left = data.draw(st.integers(0, height - size)), data.draw(st.integers(0, width - size))
    batch = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    for image in (batch, batch[0], batch[0].astype(np.float32)):
        rows = np.arange(top, top + size)
        columns = np.arange(left, left + size)
        expected = image.take(rows, axis=-3).take(columns, axis=-2)
        np.testing.assert_array_equal(image_io.crop_image(image, top, left, size), expected)


@pytest.mark.parametrize('quality', [50, 95])
def test_a_jpeg_of_known_size_is_decoded_to_the_same_pixels(quality):
    data = image_io.encode_jpeg(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8), quality)
    for side in (24, 23, 40):  # right, and wrong: the pixels are the file's
        np.testing.assert_array_equal(image_io.decode_square_jpeg(data, side), image_io.decode_image(data))
    for cut in (0, 1, 100, len(data) // 2):
        with pytest.raises(image_io.UnreadableImage, match='^the third: '):
            image_io.decode_square_jpeg(data[:cut], 24, name='the third')
