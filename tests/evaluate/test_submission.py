"""The challenge's file: five numbers a line, in the order of the images' names."""

import numpy as np
import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.submission import number_classes, submission_lines

CHALLENGE = {3: 'n03', 1: 'n05', 2: 'n01', 4: 'n04', 6: 'n02', 5: 'n06'}


def test_a_line_has_the_five_most_probable_numbers_and_lines_follow_the_names():
    numbers = number_classes(['n01', 'n02', 'n03', 'n04', 'n05', 'n06'], CHALLENGE, 'kit')
    assert numbers.tolist() == [2, 6, 3, 4, 1, 5]
    probabilities = np.array([[0.1, 0.4, 0.05, 0.2, 0.22, 0.03], [0.5, 0.3, 0.1, 0.05, 0.03, 0.02], np.full(6, 1 / 6)])
    ids = ['test_00000003', 'test_00000001', 'test_00000002']
    lines = submission_lines(ids, [probabilities[:2], probabilities[2:]], numbers)
    assert lines == ['2 6 3 4 1', '2 6 3 4 1', '6 1 4 2 3']


def test_few_classes_make_short_lines():
    assert submission_lines(['a'], [np.array([[0.2, 0.8]])], np.array([7, 9])) == ['9 7']


def test_classes_that_the_challenge_lacks_are_refused():
    with pytest.raises(UserError, match='kit.tar has no number for 1 of the 2 classes, such as cat'):
        number_classes(['n01', 'cat'], CHALLENGE, 'kit.tar')
