"""ILSVRC's development kit: the classes of a challenge, and the labels of its validation images.

The kit numbers its classes in an order of its own, from 1; higher numbers are inner nodes of WordNet's tree, which
are no labels.
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
    synonyms: dict[str, str]  # WordNet id -> 'tench, Tinca tinca'
    train_counts: dict[str, int]  # WordNet id -> training images
    validation: tuple[str, ...]  # WordNet ids


def read_devkit(archive: Path, year: int) -> Devkit:
    """Read the kit of a year's challenge from its archive. Raises UserError, naming the archive."""
    names = f'ILSVRC{year}_validation_ground_truth.txt', 'meta.mat'
    files = {Path(member.name).name: member for member in tar.iter_members(archive)}
    missing = [name for name in names if name not in files]
    if missing:
        raise UserError(f'{archive} holds no {" and no ".join(missing)}; download the development kit again.')
    truth, meta = (tar.read_member(archive, files[name]) for name in names)
    try:
        classes, synonyms, train_counts = _parse_synsets(meta, year)
    except Exception as error:  # SciPy raises nearly every kind of exception for what is no MATLAB file
        raise UserError(f'{archive}: meta.mat is not that of ILSVRC-{year} ({error}); download it again.') from error
    labels = parse_ground_truth(truth, classes, f'{archive}, {names[0]}')
    return Devkit(classes, synonyms, train_counts, labels)


def parse_ground_truth(text: bytes, classes: dict[int, str], origin: str) -> tuple[str, ...]:
    """Return WordNet ids from lines of one of the challenge's numbers each."""
    try:
        return tuple(classes[int(line)] for line in text.split())
    except (ValueError, KeyError) as error:
        raise UserError(
            f'{origin} holds {error}; expected numbers of classes from {min(classes)} to {max(classes)}; '
            'download it again.'
        ) from error


def _parse_synsets(meta: bytes, year: int) -> tuple[dict[int, str], dict[str, str], dict[str, int]]:
    """Return classes, synonyms and training images of the leaves of the tree."""
    # SciPy comes with jax; nothing else is needed for MATLAB's files.
    import scipy.io

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
