"""Readers read any bytes or refuse them by a named error: the short form of benchmarks/robustness/fuzz.py."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks' / 'robustness'))

import fuzz  # noqa: E402

from alexnet_jax.data import image_io  # noqa: E402

HEADS = [b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'\x1f\x8b', b'PK\x03\x04']


@pytest.fixture(scope='module')
def corpus_and_readers(tmp_path_factory):
    """(corpus, readers)"""
    folder = tmp_path_factory.mktemp('fuzz')
    return fuzz.make_corpus(folder / 'corpus'), fuzz.make_readers(folder)


@pytest.mark.parametrize('name', fuzz.PERCENTAGES)
def test_what_is_sound_is_read(name, corpus_and_readers):
    corpus, readers = corpus_and_readers
    for data in corpus[name]:
        if name != 'exif':
            assert fuzz.run_reader(readers[name], fuzz.EXPECTED_ERRORS[name], data) == 'read'


@pytest.mark.parametrize('name', fuzz.PERCENTAGES)
def test_what_is_mutated_is_read_or_refused_by_name(name, corpus_and_readers):
    corpus, readers = corpus_and_readers

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32))
    def holds(seed):
        data = fuzz.mutate(corpus[name], random.Random(seed))
        assert fuzz.run_reader(readers[name], fuzz.EXPECTED_ERRORS[name], data) in ('read', 'refused')

    holds()


@pytest.mark.parametrize('name', ['image', 'record', 'shard metadata'])
def test_any_bytes_are_refused_by_name(name, corpus_and_readers):
    _, readers = corpus_and_readers

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=200), st.sampled_from(HEADS))
    def holds(rest, head):
        assert fuzz.run_reader(readers[name], fuzz.EXPECTED_ERRORS[name], head + rest) in ('read', 'refused')

    holds()


def test_a_wrong_reader_is_found_out():
    def careless(data):
        return data[10_000]

    def endless(data):
        while True:
            pass

    assert fuzz.run_reader(careless, (ValueError,), b'').startswith('IndexError')
    seconds, fuzz.MAX_CPU_SECONDS = fuzz.MAX_CPU_SECONDS, 1
    try:
        assert fuzz.run_reader(endless, (ValueError,), b'') == 'longer than 1 s'
    finally:
        fuzz.MAX_CPU_SECONDS = seconds


def test_an_image_that_announces_too_many_pixels_is_refused_before_it_is_decoded():
    """A PNG of a few hundred bytes whose header says 60,000 x 60,000."""
    import struct
    import zlib

    data = bytearray(fuzz.make_image('PNG'))
    data[16:24] = struct.pack('>II', 60_000, 60_000)
    data[29:33] = struct.pack('>I', zlib.crc32(bytes(data[12:29])))
    with pytest.raises(image_io.UnreadableImage, match='more pixels than the limit of 64,000,000'):
        image_io.decode_image(bytes(data))
