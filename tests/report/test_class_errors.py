"""Errors by class against a count by hand."""

import csv

import numpy as np

from alexnet_jax.report import class_errors

NAMES = ('cat', 'dog', 'ant, or emmet', 'owl')
LABELS = np.array([0, 0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 1, 1, 2, 1, 1, 3])
RANKS = np.array([0, 1, 4, 1, 0, 0, 3])


def test_errors_are_those_of_a_count_by_hand():
    assert class_errors.count_class_errors(NAMES, LABELS, PREDICTED, RANKS) == [
        ('cat', 4, 0.75, 0.25, 'dog', 2),
        ('dog', 2, 0.0, 0.0, '', 0),
        ('ant, or emmet', 1, 1.0, 0.0, 'owl', 1),
    ]


def test_the_file_has_a_row_for_each_class_and_the_sentence_the_worst(tmp_path):
    rows = class_errors.count_class_errors(NAMES, LABELS, PREDICTED, RANKS)
    with open(class_errors.write_class_errors(tmp_path, rows), newline='') as file:
        read = list(csv.DictReader(file))
    assert [row['name'] for row in read] == ['cat', 'dog', 'ant, or emmet'] and read[0]['top1_error'] == '0.75'
    assert class_errors.describe_worst_classes(rows) == (
        'Most top-1 errors: ant, or emmet 100.0 % of 1 (1 taken for owl); cat 75.0 % of 4 (2 taken for dog).'
    )
    assert class_errors.describe_worst_classes(rows[1:2]) == ''
