"""WordNet ids, by which ImageNet calls its classes, and how its files are named. Text alone: opens no file."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from alexnet_jax.errors import UserError

WORDNET_ID = re.compile(r'n\d{8}')
TRAINING_IMAGE = re.compile(r'(n\d{8})_.*')  # a training image: n01440764_10026.JPEG
CLASS_SUFFIX = re.compile(r'_(n\d{8})$')  # Hugging Face adds the class: ILSVRC2012_val_00000293_n01440764.JPEG


def are_wordnet_ids(names: Iterable[str]) -> bool:
    """Whether all of these are WordNet ids, as ImageNet's classes are."""
    return all(WORDNET_ID.fullmatch(name) for name in names)


def imagenet_image_id(path: str, wnid: str, *, origin: str) -> str:
    """The id of ImageNet's image: its file's stem, without the class that some add to it.

    Raises UserError where the name speaks of another class than `wnid`.
    """
    stem = PurePosixPath(path).stem
    identity = CLASS_SUFFIX.sub('', stem)
    told = {match[1] for match in (TRAINING_IMAGE.fullmatch(identity), CLASS_SUFFIX.search(stem)) if match}
    if told - {wnid}:
        raise UserError(
            f'{origin}: {path} is of class {wnid}, but its name says {", ".join(sorted(told - {wnid}))}; put it where '
            'it belongs, or give the classes other names than WordNet ids.'
        )
    return identity


def parse_synonyms(text: str) -> dict[str, str]:
    """Names of classes from lines such as 'n01440764 tench, Tinca tinca'; lines of another form are passed over."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {line[0]: line[1].strip() for line in lines if len(line) == 2 and WORDNET_ID.fullmatch(line[0])}
