"""WordNet ids, the names of ImageNet's classes, in the names of its files and in lists of synonyms."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from alexnet_jax.errors import UserError

WORDNET_ID = re.compile(r'n\d{8}')
TRAINING_IMAGE = re.compile(r'(n\d{8})_.*')  # n01440764_10026.JPEG
CLASS_SUFFIX = re.compile(r'_(n\d{8})$')  # Hugging Face adds the class: ILSVRC2012_val_00000293_n01440764.JPEG


def are_wordnet_ids(names: Iterable[str]) -> bool:
    """Return True if all names are WordNet ids, as those of ImageNet's classes are."""
    return all(WORDNET_ID.fullmatch(name) for name in names)


def imagenet_image_id(path: str, wnid: str, *, origin: str) -> str:
    """Return the id of an ImageNet image: its file's stem, without the class that some add to it.

    Raises UserError if the name contains another class than `wnid`.
    """
    stem = PurePosixPath(path).stem
    image_id = CLASS_SUFFIX.sub('', stem)
    named = {match[1] for match in (TRAINING_IMAGE.fullmatch(image_id), CLASS_SUFFIX.search(stem)) if match}
    if named - {wnid}:
        raise UserError(
            f'{origin}: {path} is of class {wnid}, but its name says {", ".join(sorted(named - {wnid}))}; move it to '
            'its class, or give the classes other names than WordNet ids.'
        )
    return image_id


def parse_synonyms(text: str) -> dict[str, str]:
    """Return WordNet id -> synonyms from lines like 'n01440764 tench, Tinca tinca'; other lines are ignored."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {line[0]: line[1].strip() for line in lines if len(line) == 2 and WORDNET_ID.fullmatch(line[0])}
