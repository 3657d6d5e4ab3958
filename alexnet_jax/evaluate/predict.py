"""Predict the most probable classes of image files; a file that cannot be read gets an error and the others go on."""

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

EXAMPLE_FLAG = '--images=cat.jpg,holiday'


@dataclasses.dataclass(frozen=True)
class FilePrediction:
    """One file's classes with their probabilities, most probable first; or the error that it cannot be read."""

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ''


def find_image_files(paths: Iterable[str]) -> list[str]:
    """Return the image files of `paths`: a file is itself, a folder all images in it and below, sorted.

    ~ and the signs * ? [] mean what they do to a shell, which does not expand them in --images=*.jpg.
    Raises UserError for a URL, a path without a file, a folder without images, and if there are no paths.
    """
    files = [file for path in paths for match in _expand_path(path) for file in _list_images(Path(match))]
    if not files:
        raise UserError(f'No images were named. Name image files or folders, as in {EXAMPLE_FLAG}.')
    return files


def predict_files(
    evaluator: Evaluator,
    params: Any,
    files: Sequence[str],
    class_names: Sequence[str],
    *,
    image_size: int,
    top_k: int = 5,
) -> Iterator[FilePrediction]:
    """Yield the `top_k` most probable classes of each file, in order, a batch of the evaluator's at a time.

    Images are rotated as their EXIF says and then prepared as a dataset is: shorter side to `image_size` pixels,
    center square. A file that cannot be read yields a FilePrediction with an `error`.
    """
    for first in range(0, len(files), evaluator.batch_size):
        batch = files[first : first + evaluator.batch_size]
        loaded = [_load_image(file, image_size) for file in batch]
        images = [image for image in loaded if isinstance(image, np.ndarray)]
        probabilities = iter(evaluator.probabilities(params, np.stack(images)) if images else ())
        for file, image in zip(batch, loaded, strict=True):
            if isinstance(image, str):
                yield FilePrediction(file, error=image)
            else:
                yield FilePrediction(file, _most_probable(next(probabilities), class_names, top_k))


def _expand_path(path: str) -> list[str]:
    path = os.path.expanduser(path)
    if '://' in path:
        raise UserError(f'{path} is a URL, which is not downloaded; save the image and name its file.')
    return [path] if os.path.lexists(path) else sorted(glob.glob(path)) or [path]


def _list_images(path: Path) -> list[str]:
    if path.is_dir():
        files = [file for file in path.rglob('*') if _is_image(file.relative_to(path)) and file.is_file()]
        if not files:
            extensions = ', '.join(image_io.IMAGE_EXTENSIONS)
            raise UserError(f'{path} has no images; their names must end in {extensions}.')
        return [str(file) for file in sorted(files)]
    if not path.is_file():
        problem = 'is not a file' if path.exists() else 'does not exist'
        raise UserError(f'{path} {problem}. Name image files or folders, as in {EXAMPLE_FLAG}.')
    return [str(path)]


def _is_image(path: Path) -> bool:
    """Return whether the name is an image's; hidden files and folders, such as a Mac's ._cat.jpg, are not."""
    return path.suffix.lower() in image_io.IMAGE_EXTENSIONS and not any(
        part.startswith('.') for part in path.parts
    )


def _load_image(file: str, image_size: int) -> np.ndarray | str:
    """Return the prepared square, or the message that it cannot be read."""
    try:
        data = Path(file).read_bytes()
        return image_io.resize_and_crop(image_io.decode_image(data, name=file, upright=True), image_size)
    except image_io.UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f'{file} cannot be read ({error.strerror}).'


def _most_probable(
    probabilities: np.ndarray, class_names: Sequence[str], top_k: int
) -> tuple[tuple[str, float], ...]:
    """Return classes with their probabilities, most probable first."""
    order = np.argsort(-probabilities, kind='stable')[:top_k]
    return tuple((class_names[number], float(probabilities[number])) for number in order)
