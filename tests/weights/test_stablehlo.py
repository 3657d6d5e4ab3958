"""The StableHLO program gives the ten-view answer in a process that cannot import this package."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from slim_networks import NAMES, image_side, photographs, slim_weights

from alexnet_jax.data import image_io
from alexnet_jax.network import Network
from alexnet_jax.weights import write_weights

PROGRAM = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('alexnet_jax', 'flax'):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import jax.export, numpy
program = jax.export.deserialize(bytearray(open(sys.argv[1], 'rb').read()))
images = numpy.load(sys.argv[2])
assert images.shape[1] == program.in_avals[0].shape[1]
numpy.save(sys.argv[3], program.call(images))
numpy.save(sys.argv[4], program.call(images[:1]))
assert 'alexnet_jax' not in sys.modules
"""


@pytest.mark.parametrize('name', ['miniature', pytest.param('caffe', marks=pytest.mark.slow)])
def test_a_process_without_this_package_gets_the_same_ten_view_answer(name, tmp_path):
    weights = slim_weights(name)
    squares = np.stack([image_io.resize_and_crop(photo, image_side(weights.arch)) for photo in photographs()])
    write_weights(tmp_path / 'a.stablehlo', weights)
    np.save(tmp_path / 'images.npy', squares)
    (tmp_path / 'run.py').write_text(PROGRAM)
    paths = [str(tmp_path / file) for file in ('a.stablehlo', 'images.npy', 'all.npy', 'one.npy')]
    subprocess.run([sys.executable, '-I', str(tmp_path / 'run.py'), *paths], check=True, cwd=tmp_path)
    found, first = np.load(paths[2]), np.load(paths[3])
    expected = Network(weights).predict(squares, views=10).probabilities
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5 * expected.max()
    # Any number of images, by one program.
    assert first.shape == (1, found.shape[1]) and np.abs(first - expected[:1]).max() < 1e-5 * expected.max()


def test_the_program_says_what_it_takes_and_where_it_runs(tmp_path):
    weights = slim_weights('miniature', 'center')
    write_weights(tmp_path / 'a.stablehlo', weights)
    program = jax.export.deserialize(bytearray((tmp_path / 'a.stablehlo').read_bytes()))
    assert program.platforms == ('cpu', 'cuda', 'tpu')
    (images,) = program.in_avals
    side = image_side(weights.arch)
    assert str(images.shape[0]) == 'batch' and images.shape[1:] == (side, side, 3) and images.dtype == np.uint8
    assert program.out_avals[0].shape[1:] == (7,)
    # No call, but of jax's own check of shapes, that another version or device might lack; products in full precision.
    text = program.mlir_module()
    assert set(re.findall(r'custom_call @(\w+)', text)) <= {'shape_assertion'} and 'HIGHEST' in text


def test_every_preset_can_be_a_program():
    from alexnet_jax.weights.stablehlo_file import export_program

    for name in NAMES:
        assert export_program(slim_weights(name)).out_avals[0].shape[1:] == (7,)
