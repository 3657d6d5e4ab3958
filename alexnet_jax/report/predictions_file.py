"""The predictions of an evaluation as CSV, a row for each image, which says itself what was evaluated and how."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.evaluate.view_places import Views
from alexnet_jax.report.class_errors import ClassErrors, count_class_errors
from alexnet_jax.runtime import atomic_io

PREDICTIONS_CSV = 'predictions.csv'
COLUMNS = ('id', 'label', 'predicted', 'probability', 'rank', 'split', 'views', 'checkpoint_step', 'dataset')


class EvaluationKey(NamedTuple):
    """One evaluation of a run among others, by its split, its views, the step of its checkpoint and its dataset."""

    split: str
    views: Views
    checkpoint_step: int
    dataset: str  # its checksum; '' in files that do not say it


@dataclasses.dataclass(frozen=True)
class ScoredSplit:
    """The predictions for a split of a dataset, named by its checksum, by some views at the checkpoint of a step."""

    predictions: Predictions
    split: str
    views: Views
    checkpoint_step: int
    dataset: str

    @property
    def key(self) -> EvaluationKey:
        """Which evaluation they are of."""
        return EvaluationKey(self.split, self.views, self.checkpoint_step, self.dataset)

    def errors_by_class(self, class_names: Sequence[str]) -> list[ClassErrors]:
        """Return the errors of every class that has images, in the order of the classes."""
        predictions = self.predictions
        return count_class_errors(class_names, predictions.label, predictions.predicted, predictions.rank)


def write_predictions(path: str | os.PathLike[str], scored: ScoredSplit, class_names: Sequence[str]) -> None:
    """Write the file atomically; classes by their names, probabilities with as many digits as restore them.

    `rank` is how many other classes are not less probable than the right one.
    """
    with atomic_io.write_atomic(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for record, label, predicted, probability, rank in zip(*scored.predictions, strict=True):
            classes = class_names[label], class_names[predicted]
            writer.writerow((int(record), *classes, str(probability), int(rank), *scored.key))


def read_predictions(path: str | os.PathLike[str], class_names: Sequence[str]) -> ScoredSplit | None:
    """Return what `write_predictions` wrote; None without the file. Raises UserError if it is damaged."""
    numbers = {name: number for number, name in enumerate(class_names)}
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
        columns = (
            np.array([int(row['id']) for row in rows], np.int32),
            np.array([numbers[row['label']] for row in rows], np.int32),
            np.array([numbers[row['predicted']] for row in rows], np.int32),
            np.array([row['probability'] for row in rows], np.float32),
            np.array([int(row['rank']) for row in rows], np.int32),
        )
        # Files of older versions do not say of which dataset they are.
        ((split, views, step, dataset),) = {
            (row['split'], row['views'], row['checkpoint_step'], row.get('dataset', '')) for row in rows
        }
        views = int(views) if views.isdecimal() else views
        return ScoredSplit(Predictions(*columns), split, views, int(step), dataset)
    except FileNotFoundError:
        return None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f'{path} is damaged ({type(error).__name__}: {error}); delete it and run --mode=evaluate, which writes it.'
        ) from error
