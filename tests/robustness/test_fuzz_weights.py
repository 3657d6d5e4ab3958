"""Readers of weights read any bytes or refuse them: the short form of benchmarks/robustness/fuzz_weights.py."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks' / 'robustness'))

pytest.importorskip('onnx', reason='needs requirements-onnx.txt')

import fuzz  # noqa: E402
import fuzz_weights  # noqa: E402

from alexnet_jax.models import presets  # noqa: E402


@pytest.fixture(scope='module')
def corpus_and_readers(tmp_path_factory):
    """(corpus, readers) of networks of a few maps, which the presets are meanwhile."""
    folder, before = tmp_path_factory.mktemp('fuzz'), dict(presets.PRESETS)
    fuzz_weights.use_small_presets()
    yield fuzz_weights.make_corpus(folder / 'corpus'), fuzz_weights.make_readers(folder)
    presets.PRESETS.update(before)


@pytest.mark.parametrize('name', fuzz_weights.PERCENTAGES)
def test_sound_weights_are_read_and_mutated_ones_are_read_or_refused(name, corpus_and_readers):
    corpus, readers = corpus_and_readers
    for data in corpus[name]:
        assert fuzz.run_reader(readers[name], fuzz_weights.EXPECTED_ERRORS[name], data) == 'read'
    rng = random.Random(name)
    found = [
        fuzz.run_reader(readers[name], fuzz_weights.EXPECTED_ERRORS[name], fuzz.mutate(corpus[name], rng))
        for _ in range(60)
    ]
    assert set(found) <= {'read', 'refused'} and 'refused' in found
