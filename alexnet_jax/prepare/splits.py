"""Find class and split of images by their paths, and split off validation and test images."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet

SPLITS = ('train', 'validation', 'test')
SPLIT_NAMES = {
    'train': 'train',
    'val': 'validation',
    'valid': 'validation',
    'validation': 'validation',
    'test': 'test',
}
EXPECTED_LAYOUT = (
    'expected split/class/image (splits train, val, test) or class/image, each image JPEG, PNG or WebP'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image: its id, unique in its source and stable; its label; where its source's reader finds it."""

    id: str
    label: int
    location: tuple


@dataclasses.dataclass(frozen=True)
class SplitAssignment:
    """The images of each split with their labels."""

    classes: tuple[str, ...]  # label -> name
    splits: dict[str, tuple[Item, ...]]  # those of SPLITS that exist, in that order
    note: str  # how the splits came about
    is_imagenet: bool  # whether the classes are WordNet ids


@dataclasses.dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image whose class is known."""

    id: str
    label: str  # name of the class
    location: tuple


def find_labels(found: Mapping[str, tuple], *, origin: str) -> tuple[dict[str, list[LabeledImage]], bool]:
    """Return the images `found` (path with '/' -> location) by split, and whether there were split folders.

    The first folder is the split if it is named so on every path (train; val, valid or validation; test), the next one
    is the class; folders around everything are skipped. The id is the path, or the file's stem if all classes are
    WordNet ids, as in every form of ImageNet. Raises UserError, which names `origin`, if paths are not of this form.
    """
    if not found:
        raise UserError(f'{origin} holds no image; {EXPECTED_LAYOUT}.')
    parts = _strip_common_root({path: tuple(path.split('/')) for path in found})
    depth = 1 if _has_splits(origin, parts) else 0
    ids = {path: _image_id(origin, part) for path, part in parts.items()}
    if wordnet.are_wordnet_ids({part[depth] for part in parts.values()}):
        stems = {
            path: wordnet.imagenet_image_id(path, part[depth], origin=origin) for path, part in parts.items()
        }
        ids = stems if len(set(stems.values())) == len(stems) else ids
    images = collections.defaultdict(list)
    for path, part in parts.items():
        split = SPLIT_NAMES[part[0].lower()] if depth else 'train'
        images[split].append(LabeledImage(ids[path], part[depth], found[path]))
    return dict(images), bool(depth)


def assign_splits(
    images: Mapping[str, Iterable[LabeledImage]],
    *,
    origin: str,
    seed: int,
    shares: Mapping[str, float],
    as_found: bool = True,
    without: Iterable[str] = (),
) -> SplitAssignment:
    """Return `images` (by split) with integer labels, in the order of their ids, and the splits that were missing.

    For a missing split, that share of the training images is split off, each image by a hash of `seed` and its id: it
    stays in its split when others come or go. One image of each class always stays for training. If there is a
    validation but no test split (Imagenette), it becomes the test split.
    Classes are in the order of their names; for WordNet ids that is the order of torchvision, Caffe and Keras.
    `as_found` is whether there were split folders; `without` are folders that would be classes if they held images.
    Raises UserError, which names `origin`, if a split would be empty, a class has no training image, or an id is
    not unique.
    """
    given = {
        split: sorted(images[split], key=lambda image: image.id) for split in SPLITS if images.get(split)
    }
    classes = _class_names(origin, {image.label for split in given.values() for image in split}, without)
    labels = {name: label for label, name in enumerate(classes)}
    seen: set[str] = set()
    items = {}
    for split, of_split in given.items():
        for image in of_split:
            if image.id in seen:
                raise UserError(f'{origin} holds the image {image.id!r} twice. Remove one of them.')
            seen.add(image.id)
        items[split] = tuple(Item(image.id, labels[image.label], image.location) for image in of_split)
    splits, note = _add_missing_splits(items, as_found, seed, shares)
    _check_assignment(origin, classes, splits, shares)
    return SplitAssignment(classes, splits, note, wordnet.are_wordnet_ids(classes))


def _strip_common_root(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Remove the folders that all paths begin with, such as imagenette2/ around train/ and val/."""
    while True:
        first = next(iter(parts.values()))[0]
        if first.lower() in SPLIT_NAMES or any(part[0] != first or len(part) < 3 for part in parts.values()):
            return parts
        parts = {path: part[1:] for path, part in parts.items()}


def _has_splits(origin: str, parts: dict[str, tuple[str, ...]]) -> bool:
    """Return whether the first folder is the split. A class may be called train, but not have folders of its own."""
    for path, part in parts.items():
        if len(part) < 2:
            raise UserError(f'{origin}: the image {path} is in no class folder; {EXPECTED_LAYOUT}.')
    in_splits = {path: part for path, part in parts.items() if part[0].lower() in SPLIT_NAMES}
    if len(in_splits) == len(parts):
        shallow = [path for path, part in in_splits.items() if len(part) < 3]
        if shallow:
            raise UserError(
                f'{origin}: the image {shallow[0]} is in no class folder within its split; {EXPECTED_LAYOUT}.'
            )
        return True
    if any(len(part) > 2 for part in in_splits.values()):
        other = next(path for path in parts if path not in in_splits)
        raise UserError(f'{origin}: {other} is in none of the splits beside it; {EXPECTED_LAYOUT}.')
    return False


def _class_names(origin: str, names: Iterable[str], without: Iterable[str]) -> tuple[str, ...]:
    classes = tuple(sorted(names))
    if len(classes) < 2:
        empty = sorted(set(without) - set(classes))
        why = f' ({", ".join(map(repr, empty[:5]))} hold{"s" * (len(empty) == 1)} no image)' if empty else ''
        raise UserError(
            f'{origin} holds only one class, {classes[0]!r}; a classifier needs two{why}; {EXPECTED_LAYOUT}.'
        )
    return classes


def _image_id(origin: str, part: tuple[str, ...]) -> str:
    """Return the id. Ids are UTF-8 in records, and class names are lines of a text file."""
    image_id = '/'.join(part)
    try:
        image_id.encode()
    except UnicodeEncodeError:
        raise UserError(f'{origin}: the name {image_id!r} is not UTF-8. Rename it.') from None
    if len(image_id.splitlines()) > 1:
        raise UserError(f'{origin}: the name {image_id!r} has several lines. Rename it.')
    return image_id


def _add_missing_splits(splits, has_splits, seed, shares) -> tuple[dict[str, tuple[Item, ...]], str]:
    """Return `splits` with those that can be made, and a note on them. Its wording is part of the dataset's files."""
    note = f'The splits are as found: {", ".join(splits)}.' if has_splits else 'No splits were found.'
    if 'validation' in splits and 'test' not in splits:
        splits['test'] = splits.pop('validation')
        note += ' What is called validation there is the test split here.'
    missing = {split: share for split, share in shares.items() if share and split not in splits}
    if missing and 'train' in splits:
        fractions = {item: _hash_fraction(seed, item.id) for item in splits['train']}
        for item in _keep_one_per_class(fractions):
            fractions[item] = 1.0
        low = 0.0
        for split, share in missing.items():
            high = low + share
            splits[split] = tuple(item for item, fraction in fractions.items() if low <= fraction < high)
            low = high
        splits['train'] = tuple(item for item, fraction in fractions.items() if fraction >= low)
        parts = ' and '.join(f'{100 * share:g} % to {split}' for split, share in missing.items())
        note += f' Of the training images {parts}, by a hash of seed {seed} and the id.'
    return {split: splits[split] for split in SPLITS if split in splits}, note


def _keep_one_per_class(fractions: Mapping[Item, float]) -> Iterable[Item]:
    """Return the image of each class that would be the last to be split off: it stays for training."""
    last: dict[int, Item] = {}
    for item, fraction in fractions.items():
        if item.label not in last or fraction > fractions[last[item.label]]:
            last[item.label] = item
    return last.values()


def _hash_fraction(seed: int, image_id: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the id alone."""
    digest = hashlib.blake2b(f'{seed}:{image_id}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') / 2**64


def _check_assignment(origin: str, classes, splits, shares) -> None:
    """Raise UserError unless every class has a training image and every split that was asked for has images."""
    if not splits.get('train'):
        raise UserError(f'{origin} holds no training images; {EXPECTED_LAYOUT}.')
    for split, share in shares.items():
        if share and not splits.get(split):
            raise UserError(
                f'{origin}: no image fell into {split} (a share of {share}). Add images, change --config.prepare.seed '
                'or the share (0: no such split).'
            )
    trained = {item.label for item in splits['train']}
    missing = [name for label, name in enumerate(classes) if label not in trained]
    if missing:
        raise UserError(
            f'{origin}: {len(missing)} classes have no training image ({", ".join(missing[:5])}). '
            'Add some, or remove these classes.'
        )


def sibling_folders(found: Iterable[str], others: Iterable[str], label: str) -> set[str]:
    """Return the folders of `others`, files that are no images, at the level of the folders of the class `label`."""
    level = next(path.split('/').index(label) for path in found if label in path.split('/')) + 1
    return {path.split('/')[level - 1] for path in others if path.count('/') >= level}


def skipped_files_note(paths: Iterable[str]) -> str:
    """Return a sentence on files that are no images by their names; empty if there are none."""
    endings = collections.Counter(PurePosixPath(path).suffix.lower() or 'no ending' for path in paths)
    kinds = ', '.join(f'{ending} {count}' for ending, count in sorted(endings.items()))
    return f' Passed over, as neither JPEG, PNG nor WebP by name: {kinds}.' if kinds else ''
