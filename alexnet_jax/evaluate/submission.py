"""The text file that ILSVRC takes for its test images: a line for each, in the order of their names.

A line has at most five of the challenge's numbers of classes, the most probable first (development kit, readme.txt).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from alexnet_jax.errors import UserError

LABELS_PER_LINE = 5


def number_classes(class_names: Sequence[str], challenge: Mapping[int, str], origin: str) -> np.ndarray:
    """Return the challenge's number of each class, int64 (K,).

    `challenge` has the WordNet id of each number, as devkit.read_devkit reads it from `origin`. Raises UserError if it
    lacks a class.
    """
    numbers = {name: number for number, name in challenge.items()}
    if missing := [name for name in class_names if name not in numbers]:
        raise UserError(
            f'{origin} has no number for {len(missing)} of the {len(class_names)} classes, such as {missing[0]}. '
            'A submission needs a network whose classes are the WordNet ids of that challenge.'
        )
    return np.array([numbers[name] for name in class_names])


def submission_lines(ids: Sequence[str], averages: Iterable[np.ndarray], numbers: np.ndarray) -> list[str]:
    """Return the lines in the order of the images' ids, each of at most five numbers.

    `averages` are probabilities (n, K), some images at a time, in the order of `ids`; `numbers` is `number_classes`'.
    """
    lines = [
        ' '.join(map(str, numbers[row]))
        for probabilities in averages
        for row in np.argsort(-probabilities, axis=1, kind='stable')[:, :LABELS_PER_LINE]
    ]
    return [line for _, line in sorted(zip(ids, lines, strict=True))]
