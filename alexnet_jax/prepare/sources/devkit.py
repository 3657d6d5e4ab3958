"""ILSVRC's development kit: what the challenge's own numbers mean, and which of them the validation images have.

The kit numbers its classes in an order of its own, from 1; beyond the classes come the inner nodes of WordNet's tree,
which no image is labeled with.
"""

import dataclasses
import io
from pathlib import Path

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import tar


@dataclasses.dataclass(frozen=True)
class Devkit:
    """The classes, and the labels of the validation images in the order of the images' names."""

    classes: dict[int, str]  # the challenge's number -> WordNet id
    words: dict[str, str]  # WordNet id -> its synonyms, 'tench, Tinca tinca'
    images: dict[str, int]  # WordNet id -> training images
    validation: tuple[str, ...]  # WordNet ids


def read_devkit(archive: Path, year: int) -> Devkit:
    """The kit of that year's challenge out of its archive. Raises UserError, that names the archive."""
    names = f'ILSVRC{year}_validation_ground_truth.txt', 'meta.mat'
    files = {Path(member.name).name: member for member in tar.iter_members(archive)}
    missing = [name for name in names if name not in files]
    if missing:
        raise UserError(f'{archive} holds no {" and no ".join(missing)}; fetch the development kit again.')
    truth, meta = (tar.read_member(archive, files[name]) for name in names)
    try:
        classes, words, images = _parse_synsets(meta, year)
    except Exception as error:  # SciPy answers what is no MATLAB file with nearly every kind of exception
        raise UserError(
            f'{archive}: meta.mat is not as ILSVRC-{year} has it ({error}); fetch it again.'
        ) from error
    return Devkit(classes, words, images, parse_ground_truth(truth, classes, f'{archive}, {names[0]}'))


def parse_ground_truth(text: bytes, classes: dict[int, str], origin: str) -> tuple[str, ...]:
    """WordNet ids from lines with one of the challenge's numbers each."""
    try:
        return tuple(classes[int(line)] for line in text.split())
    except (ValueError, KeyError) as error:
        raise UserError(
            f'{origin} holds {error}, which is no number of a class from {min(classes)} to {max(classes)}; '
            'fetch it again.'
        ) from error


def _parse_synsets(meta: bytes, year: int) -> tuple[dict[int, str], dict[str, str], dict[str, int]]:
    """Classes, words and images of the leaves of the tree."""
    import scipy.io  # which comes with jax; for MATLAB's files nothing else is needed

    table = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True, variable_names=['synsets'])['synsets']
    rows = [
        (int(row[f'ILSVRC{year}_ID']), str(row['WNID']), str(row['words']), int(row['num_train_images']))
        for row in np.atleast_1d(table)
        if int(row['num_children']) == 0
    ]
    classes = {number: wnid for number, wnid, _, _ in rows}
    if len(set(classes.values())) != len(rows) or not wordnet.are_wordnet_ids(classes.values()) or not rows:
        raise ValueError('its WordNet ids are not one for each class')
    return classes, {row[1]: row[2] for row in rows}, {row[1]: row[3] for row in rows}
