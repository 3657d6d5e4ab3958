"""Predictions: a person's own image files to the classes that the network finds most probable.

Knows the network only through accuracy.Evaluator. A file that cannot be read gets its sentence, and the others their
answer.
"""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the network says to one file: classes with their probabilities, most probable first; or the problem."""

    file: str
    choices: tuple[tuple[str, float], ...] = ()
    problem: str = ''


def find_image_files(paths: Iterable[str]) -> list[str]:
    """The image files that `paths` name: a file is itself, a folder all images in it and below, sorted.

    ~ and the signs * ? [] mean what they do to a shell, which does not see them in --images=*.jpg.
    Raises UserError for an address, a path without a file, a folder without images, and where no path is given.
    """
    found = [file for path in paths for each in _matching(path) for file in _under(Path(each))]
    if not found:
        raise UserError('No images were named; give images and folders, as in --images=cat.jpg,holiday.')
    return found


def predict_files(
    evaluator: Evaluator,
    parameters: Any,
    files: Sequence[str],
    classes: Sequence[str],
    *,
    side: int,
    top: int = 5,
) -> Iterator[Prediction]:
    """The `top` most probable classes of each file, in the order given, a batch of the evaluator's at a time.

    Images are turned upright as their EXIF asks and then prepared as a dataset is: shorter side to `side` pixels,
    center square. A file that cannot be read yields a Prediction whose `problem` is the sentence about it.
    """
    for first in range(0, len(files), evaluator.batch):
        group = files[first : first + evaluator.batch]
        read = [_read(file, side) for file in group]
        good = [each for each in read if isinstance(each, np.ndarray)]
        answers = iter(evaluator.probabilities(parameters, np.stack(good)) if good else ())
        for file, each in zip(group, read, strict=True):
            if isinstance(each, str):
                yield Prediction(file, problem=each)
            else:
                yield Prediction(file, choices=_best(next(answers), classes, top))


def _matching(path: str) -> list[str]:
    path = os.path.expanduser(path)
    if '://' in path:
        raise UserError(
            f'{path} is an address, and nothing is fetched here; save the image and give its file.'
        )
    return [path] if os.path.lexists(path) else sorted(glob.glob(path)) or [path]


def _under(path: Path) -> list[str]:
    if path.is_dir():
        inside = [file for file in path.rglob('*') if _is_image(file.relative_to(path)) and file.is_file()]
        if not inside:
            raise UserError(f'{path} holds no images; their names end in {", ".join(image_io.IMAGE_EXTENSIONS)}.')
        return [str(file) for file in sorted(inside)]
    if not path.is_file():
        what = 'is no file' if path.exists() else 'does not exist'
        raise UserError(f'{path} {what}; give images and folders, as in --images=cat.jpg,holiday.')
    return [str(path)]


def _is_image(inside: Path) -> bool:
    """By the ending; hidden files and folders, such as a Mac's ._cat.jpg, are none."""
    return inside.suffix.lower() in image_io.IMAGE_EXTENSIONS and not any(
        part.startswith('.') for part in inside.parts
    )


def _read(file: str, side: int) -> np.ndarray | str:
    """The prepared square, or the sentence that says why there is none."""
    try:
        data = Path(file).read_bytes()
        return image_io.resize_and_crop(image_io.decode_image(data, name=file, upright=True), side)
    except image_io.UnreadableImage as problem:
        return str(problem)
    except OSError as error:
        return f'{file} cannot be read ({error.strerror}).'


def _best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    """Classes with their probabilities, most probable first."""
    order = np.argsort(-probabilities, kind='stable')[:top]
    return tuple((classes[number], float(probabilities[number])) for number in order)
