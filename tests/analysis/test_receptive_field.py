"""Receptive fields against what a changed pixel changes, in plain NumPy, and against known ones."""

import numpy as np
import pytest
import small_network as small

from alexnet_jax.analysis.receptive_field import ReceptiveField, receptive_field
from alexnet_jax.errors import UserError
from alexnet_jax.models.presets import PRESETS


@pytest.mark.parametrize('layer', ['conv1', 'pool1', 'conv2'])
def test_a_place_changes_with_the_pixels_of_its_field_alone(layer):
    parameters = small.make_parameters()
    inputs = np.random.default_rng(0).normal(size=(1, small.CROP, small.CROP, 3)) * 50
    before = small.expected_activations(parameters, inputs)[layer][0]
    field = receptive_field(small.ARCH, layer)
    seen = [[set() for _ in range(before.shape[1])] for _ in range(before.shape[0])]
    for row in range(small.CROP):
        for column in range(small.CROP):
            # Large, so that it becomes the largest of every pooling window.
            for change in (1e4, -1e4):
                changed = inputs.copy()
                changed[0, row, column] += change
                after = small.expected_activations(parameters, changed)[layer][0]
                for i, j in zip(*np.nonzero(np.any(after != before, axis=-1)), strict=True):
                    seen[i][j].add((row, column))
    for i, row_of_sets in enumerate(seen):
        for j, pixels in enumerate(row_of_sets):
            (top, bottom), (left, right) = field.clip(i, small.CROP), field.clip(j, small.CROP)
            assert pixels == {(row, column) for row in range(top, bottom) for column in range(left, right)}


def test_fields_of_the_papers_layers():
    assert receptive_field(PRESETS['paper'], 'conv1') == ReceptiveField(11, 4, 0)
    assert receptive_field(PRESETS['paper'], 'norm1') == ReceptiveField(11, 4, 0)
    assert receptive_field(PRESETS['paper'], 'pool1') == ReceptiveField(19, 8, 0)
    # 19 + 4 x 8, two rows of padding of 8 pixels each.
    assert receptive_field(PRESETS['paper'], 'conv2') == ReceptiveField(51, 8, -16)
    assert receptive_field(PRESETS['paper'], 'conv5').size == 163
    assert receptive_field(PRESETS['paper'], 'pool5').size == 195
    assert receptive_field(PRESETS['paper'], 'fc7') == ReceptiveField(224, 224, 0)
    assert receptive_field(PRESETS['source145'], 'norm2b').size > receptive_field(PRESETS['source145'], 'norm2').size
    with pytest.raises(UserError, match='paper has no conv9'):
        receptive_field(PRESETS['paper'], 'conv9')
