"""EXIF: the orientation as Pillow reads it, from whole blocks and broken ones."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet_jax.data import exif

few = settings(deadline=None, max_examples=60)


def block(order=b'II', orientation=6, entries=()):
    """A TIFF with one directory of (tag, type, count, value) and the orientation among them."""
    word = {b'II': 'little', b'MM': 'big'}[order]
    every = sorted([*entries, (274, 3, 1, orientation)])
    data = order + (42).to_bytes(2, word) + (8).to_bytes(4, word) + len(every).to_bytes(2, word)
    for tag, kind, count, value in every:
        data += tag.to_bytes(2, word) + kind.to_bytes(2, word) + count.to_bytes(4, word)
        data += value.to_bytes(2 if kind == 3 else 4, word).ljust(4, b'\0')
    return data + bytes(4)


@pytest.mark.parametrize('order', [b'II', b'MM'])
@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('prefix', [b'', exif.PREFIX])
def test_both_byte_orders_give_the_orientation(order, orientation, prefix):
    assert exif.parse_orientation(prefix + block(order, orientation)) == (orientation, True)


@pytest.mark.parametrize('orientation', [0, 9, 65535])
def test_an_orientation_that_makes_no_sense_is_none_and_unsound(orientation):
    assert exif.parse_orientation(block(orientation=orientation)) == (1, False)


def test_a_block_without_orientation_is_sound():
    assert exif.parse_orientation(b'II*\0\x08\0\0\0' + bytes(6)) == (1, True)


@pytest.mark.parametrize('entry', [(270, 2, 4, 0), (270, 2, 20, 10), (282, 5, 1, 8)])
def test_values_within_the_block_are_sound(entry):
    assert exif.parse_orientation(block(entries=[entry])) == (6, True)


@pytest.mark.parametrize('entry', [(270, 2, 500, 8), (270, 2, 5, 2**32 - 1), (305, 5, 2**31, 8)])
def test_values_beyond_the_block_are_unsound_and_the_orientation_still_counts(entry):
    assert exif.parse_orientation(block(entries=[entry])) == (6, False)


@few
@given(st.binary(max_size=80), st.sampled_from([b'', block()[:13], block(b'MM')[:20], block()[:-8]]))
def test_any_bytes_give_an_answer(data, start):
    orientation, sound = exif.parse_orientation(start + data)
    assert orientation in range(1, 9) and sound in (True, False)


@few
@given(st.binary(max_size=200))
def test_any_bytes_behind_the_start_of_a_jpeg_give_a_block_or_none(data):
    assert isinstance(exif.find_exif(b'\xff\xd8' + data), bytes | None)


def test_the_block_is_found_behind_other_segments_as_pillow_finds_it():
    tags = Image.Exif()
    tags[274] = 3
    file = io.BytesIO()
    Image.new('RGB', (8, 8)).save(file, 'JPEG', exif=tags, comment=b'before or behind', dpi=(72, 72))
    data = file.getvalue()
    data = data[:2] + b'\xff\xff\xe5\0\x04xx' + data[2:]  # a filling byte, and a segment of another kind
    assert exif.find_exif(data) == Image.open(io.BytesIO(data)).info['exif']
    assert exif.parse_orientation(exif.find_exif(data)) == (3, True)


def test_a_jpeg_without_exif_has_no_block():
    file = io.BytesIO()
    Image.new('RGB', (8, 8)).save(file, 'JPEG')
    assert exif.find_exif(file.getvalue()) is None
