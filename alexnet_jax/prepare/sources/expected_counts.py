"""Checks how many images a form of ImageNet holds, against its owners' numbers and against its own lists."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.splits import LabeledImage

RELAX_HINT = 'for a part of it set --config.prepare.expected_counts={}'


@dataclasses.dataclass(frozen=True)
class ExpectedCounts:
    """The numbers of images, classes, and training images in the smallest and the largest class."""

    images: dict[str, int]  # by split
    classes: int
    smallest: int
    largest: int


OFFICIAL = {
    'ILSVRC-2012': ExpectedCounts({'train': 1_281_167, 'validation': 50_000}, 1000, 732, 1300),
    'ILSVRC-2010': ExpectedCounts({'train': 1_261_406, 'validation': 50_000, 'test': 150_000}, 1000, 668, 3047),
}


def check_official_counts(images: Mapping[str, Iterable[LabeledImage]], challenge: str, origin: str) -> None:
    """Raise UserError unless there are as many images and classes as the challenge has."""
    if differences := _find_differences(images, OFFICIAL[challenge]):
        raise UserError(
            f'{origin} is not the whole of {challenge}: {", ".join(differences)}. Download what is missing; '
            f'{RELAX_HINT.format("listed")} (its own lists decide) or any.'
        )


def _find_differences(images: Mapping[str, Iterable[LabeledImage]], expected: ExpectedCounts) -> list[str]:
    counts = collections.Counter(image.label for image in images.get('train', ()))
    differences = [
        f'{split} {len(list(images.get(split, ()))):,} instead of {number:,}'
        for split, number in expected.images.items()
        if len(list(images.get(split, ()))) != number
    ]
    if len(counts) != expected.classes:
        differences.append(f'classes {len(counts):,} instead of {expected.classes:,}')
    if (smallest := min(counts.values(), default=0)) < expected.smallest:
        differences.append(f'{smallest} images in the smallest class instead of {expected.smallest}')
    if (largest := max(counts.values(), default=0)) > expected.largest:
        differences.append(f'{largest} images in the largest class instead of {expected.largest}')
    return differences


def check_imagenet_counts(images: Mapping[str, Iterable[LabeledImage]], origin: str) -> None:
    """Check the official counts of the nearer challenge if the classes are as many WordNet ids as it has."""
    classes = {image.label for image in images.get('train', ())}
    if len(classes) == OFFICIAL['ILSVRC-2012'].classes and wordnet.are_wordnet_ids(classes):
        nearest = min(OFFICIAL, key=lambda challenge: len(_find_differences(images, OFFICIAL[challenge])))
        check_official_counts(images, nearest, origin)


def check_listed_counts(counts: Mapping[str, int], listed: Mapping[str, int], what: str, origin: str) -> None:
    """Raise UserError unless each class or split has as many images as are listed; `what` names the images."""
    wrong = [
        f'{name} {counts.get(name, 0):,} instead of {listed.get(name, 0):,}'
        for name in sorted({*counts, *listed})
        if counts.get(name, 0) != listed.get(name, 0)
    ]
    if wrong:
        more = f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''
        raise UserError(
            f'{origin}: {what} are not as many as listed: {", ".join(wrong[:5])}{more}. Download what is missing; '
            f'{RELAX_HINT.format("any")}.'
        )
