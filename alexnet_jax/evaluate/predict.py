"""Predict the most probable classes of image files; a file that cannot be read gets an error and the others go on."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from alexnet_jax.data.image_io import UnreadableImage
from alexnet_jax.evaluate.evaluator import Evaluator
from alexnet_jax.evaluate.image_files import NO_LABEL, ImageFiles, LabelledImage, read_batches


def _no_pixels() -> np.ndarray:
    return np.zeros((0, 0, 3), np.uint8)


def _no_probabilities() -> np.ndarray:
    return np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True)
class FilePrediction:
    """One file's classes with their probabilities, most probable first; or the error that it cannot be read.

    `labels` are the numbers of these classes. `pixels` is what was prepared of the image, uint8 (side, side, 3),
    `probabilities` are those of all classes, float32 (K,), and `label` is the class by whose name its folder goes,
    NO_LABEL if there is none.
    """

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    labels: tuple[int, ...] = ()
    error: str = ''
    label: int = NO_LABEL
    pixels: np.ndarray = dataclasses.field(default_factory=_no_pixels, repr=False, compare=False)
    probabilities: np.ndarray = dataclasses.field(default_factory=_no_probabilities, repr=False, compare=False)


def predict_files(
    evaluator: Evaluator,
    params: Any,
    images: ImageFiles,
    class_names: Sequence[str],
    *,
    top_k: int = 5,
    threads: int = 1,
) -> Iterator[FilePrediction]:
    """Yield the `top_k` most probable classes of each file, in order.

    `threads` read images and the devices compute a batch of the evaluator's at the same time; few batches are held.
    Images are rotated as their EXIF says and then prepared as a dataset is. A file that cannot be read yields a
    FilePrediction with an `error`.
    """
    pending: collections.deque[list[LabelledImage | UnreadableImage]] = collections.deque()

    def readable_images() -> Iterator[np.ndarray]:
        for batch in read_batches(images, evaluator.batch_size, threads=threads):
            pending.append(batch)
            pixels = [each[0] for each in batch if not isinstance(each, UnreadableImage)]
            yield np.stack(pixels) if pixels else evaluator.no_images()

    done = 0
    for probabilities in evaluator.iterate_probabilities(params, readable_images()):
        rows = iter(probabilities)
        for number, image in enumerate(pending.popleft(), done):
            if isinstance(image, UnreadableImage):
                yield FilePrediction(images.files[number], error=str(image))
            else:
                yield _make_prediction(images.files[number], image, next(rows), class_names, top_k)
            done += 1


def _make_prediction(
    file: str, image: LabelledImage, probabilities: np.ndarray, class_names: Sequence[str], top_k: int
) -> FilePrediction:
    pixels, label, _ = image
    labels = tuple(np.argsort(-probabilities, kind='stable')[:top_k].tolist())
    classes = tuple((class_names[each], float(probabilities[each])) for each in labels)
    return FilePrediction(file, classes, labels, label=label, pixels=pixels, probabilities=probabilities)
