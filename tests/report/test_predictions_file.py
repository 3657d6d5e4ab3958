"""The predictions of an evaluation as CSV: read back exactly, and damage is named."""

import csv

import numpy as np
import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.report.predictions_file import COLUMNS, ScoredSplit, read_predictions, write_predictions

CLASSES = ('cat', 'a "dog", or two', '<b>猫</b>')


def scored(count=50, views=10):
    chance = np.random.default_rng(0)
    labels, predicted = chance.integers(0, 3, (2, count)).astype(np.int32)
    probability, rank = chance.random(count, np.float32), chance.integers(0, 3, count).astype(np.int32)
    predictions = Predictions(np.arange(count, dtype=np.int32), labels, predicted, probability, rank)
    return ScoredSplit(predictions, 'test', views, 123, 'c0ffee')


def test_every_number_comes_back_and_rows_stand_for_themselves(tmp_path):
    file, written = tmp_path / 'predictions.csv', scored()
    write_predictions(file, written, CLASSES)
    found = read_predictions(file, CLASSES)
    for ours, theirs in zip(found.predictions, written.predictions, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert found.key == ('test', 10, 123, 'c0ffee')
    rows = list(csv.reader(file.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 51
    first = written.predictions
    assert rows[1][1:3] == [CLASSES[first.label[0]], CLASSES[first.predicted[0]]] and rows[1][5:] == [
        'test',
        '10',
        '123',
        'c0ffee',
    ]


def test_a_list_of_views_comes_back_as_it_was(tmp_path):
    write_predictions(tmp_path / 'predictions.csv', scored(views='center,0:16+mirror'), CLASSES)
    assert read_predictions(tmp_path / 'predictions.csv', CLASSES).views == 'center,0:16+mirror'


def test_a_file_of_an_older_version_does_not_say_its_dataset(tmp_path):
    file, written = tmp_path / 'predictions.csv', scored()
    write_predictions(file, written, CLASSES)
    file.write_text(file.read_text().replace(',dataset\n', '\n').replace(',c0ffee\n', '\n'))
    found = read_predictions(file, CLASSES)
    assert found.key == ('test', 10, 123, '')
    np.testing.assert_array_equal(found.predictions.rank, written.predictions.rank)


def test_without_a_file_there_are_none_and_damage_is_named(tmp_path):
    file = tmp_path / 'predictions.csv'
    assert read_predictions(file, CLASSES) is None
    write_predictions(file, scored(), CLASSES)
    whole = file.read_text()
    for text in (
        '',
        whole.replace('cat', 'cow'),
        whole.replace(',test,10,123,', ',test,10,many,'),
        whole[:-3],
        whole[:-13],
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=r'predictions\.csv is damaged'):
            read_predictions(file, CLASSES)
