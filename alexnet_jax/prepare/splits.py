"""Assign images to classes and splits by their paths in a folder or archive."""

import collections
import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import split_names, wordnet
from alexnet_jax.prepare.split_names import EXPECTED_LAYOUT, SPLITS

_Parts = dict[str, tuple[str, ...]]  # path -> its parts


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image: its id, unique in its source and stable; its label; where its source's reader finds it."""

    id: str
    label: int
    location: tuple


@dataclasses.dataclass(frozen=True)
class SplitAssignment:
    """The class and split of every image, and how they were found."""

    class_names: tuple[str, ...]  # by label
    splits: dict[str, tuple[Item, ...]]  # the non-empty ones of SPLITS, in that order
    note: str
    is_imagenet: bool  # the classes are WordNet ids


@dataclasses.dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image whose class is known by name."""

    id: str
    label: str
    location: tuple


def find_labels(found: Mapping[str, tuple], *, origin: str) -> tuple[dict[str, list[LabeledImage]], bool]:
    """Return split -> the images in `found` (path with '/' -> location), and True if paths name splits.

    The id is the path, or the file's stem if all classes are WordNet ids, as in every form of ImageNet.
    The first folder is the split if it is named so everywhere (SPLIT_NAMES), the next one the class; folders around
    everything, or around all classes of each split, are ignored. Raises UserError, naming `origin`, for other layouts.
    """
    if not found:
        raise UserError(f'{origin} holds no image; {EXPECTED_LAYOUT}.')
    parts = _strip_common_root({path: tuple(path.split('/')) for path in found})
    split_folders = split_names.find_split_folders(origin, _inner_folders(origin, parts))
    depth = 1 if split_folders else 0
    while depth and _has_common_class(parts, len(split_folders)):
        parts = {path: (part[0], *part[2:]) for path, part in parts.items()}
    ids = {path: _image_id(origin, part) for path, part in parts.items()}
    if wordnet.are_wordnet_ids({part[depth] for part in parts.values()}):
        stems = {path: wordnet.imagenet_image_id(path, part[depth], origin=origin) for path, part in parts.items()}
        ids = stems if len(set(stems.values())) == len(stems) else ids
    images = collections.defaultdict(list)
    for path, part in parts.items():
        split = split_folders[part[0]] if depth else 'train'
        images[split].append(LabeledImage(ids[path], part[depth], found[path]))
    return dict(images), bool(depth)


def assign_splits(
    images: Mapping[str, Iterable[LabeledImage]],
    *,
    origin: str,
    seed: int,
    fractions: Mapping[str, float],
    has_splits: bool = True,
    siblings: Iterable[str] = (),
) -> SplitAssignment:
    """Assign images by split to SPLITS, in the order of their ids, and number their classes.

    `fractions` of the training images become the splits 'validation' and 'test' that are missing: that share of all
    images and of each class, as exactly as whole images allow; one of each class stays in training. A hash of `seed`
    and its id decides for each image, so that an added one moves at most a few others. A validation split without a
    test split (Imagenette) becomes the test split.
    Labels follow the order of the class names; for WordNet ids that is the order of torchvision, Caffe and Keras.
    `siblings` are folders that would be classes if they held images. Raises UserError, naming `origin`, if a split
    or class has nothing to train or test on, and if two images have the same id.
    """
    by_split = {split: sorted(images[split], key=lambda image: image.id) for split in SPLITS if images.get(split)}
    classes = _class_names(origin, {image.label for split in by_split.values() for image in split}, siblings)
    labels = {name: label for label, name in enumerate(classes)}
    seen: set[str] = set()
    items = {}
    for split, of_split in by_split.items():
        for image in of_split:
            if image.id in seen:
                raise UserError(f'{origin} holds the image {image.id!r} twice; remove one of them.')
            seen.add(image.id)
        items[split] = tuple(Item(image.id, labels[image.label], image.location) for image in of_split)
    splits, note = _add_missing_splits(origin, items, classes, has_splits, seed, fractions)
    _check_assignment(origin, classes, splits)
    return SplitAssignment(classes, splits, note, wordnet.are_wordnet_ids(classes))


def _strip_common_root(parts: _Parts) -> _Parts:
    """Remove the folders that all paths share, such as imagenette2/ around train/ and val/."""
    while True:
        first, lone = next(iter(parts.values()))[0], split_names.LONE_SPLIT_NAMES
        if first.lower() in lone or any(part[0] != first or len(part) < 3 for part in parts.values()):
            return parts
        parts = {path: part[1:] for path, part in parts.items()}


def _inner_folders(origin: str, parts: _Parts) -> dict[str, dict[str, str]]:
    """Return first folder -> folder in it ('' for its own images) -> path of an image."""
    folders: dict[str, dict[str, str]] = {}
    for path, part in parts.items():
        if len(part) < 2:
            raise UserError(f'{origin}: the image {path} is in no class folder; {EXPECTED_LAYOUT}.')
        folders.setdefault(part[0], {}).setdefault(part[1] if len(part) > 2 else '', path)
    return folders


def _has_common_class(parts: _Parts, num_splits: int) -> bool:
    """Return True if each split has all its images in folders of one folder: seg_train/seg_train/glacier/1.jpg."""
    return len({part[:2] for part in parts.values()}) == num_splits and all(len(part) > 3 for part in parts.values())


def _class_names(origin: str, names: Iterable[str], siblings: Iterable[str]) -> tuple[str, ...]:
    classes = tuple(sorted(names))
    if len(classes) < 2:
        empty = sorted(set(siblings) - set(classes))
        reason = f' (no images in {", ".join(map(repr, empty[:5]))})' if empty else ''
        raise UserError(
            f'{origin} holds only one class, {classes[0]!r}, and a classifier needs two{reason}; {EXPECTED_LAYOUT}.'
        )
    return classes


def _image_id(origin: str, part: tuple[str, ...]) -> str:
    """Return the id. Class names are lines of a text file and ids are UTF-8 in records."""
    image_id = '/'.join(part)
    try:
        image_id.encode()
    except UnicodeEncodeError:
        raise UserError(f'{origin}: the name {image_id!r} is not UTF-8; rename it.') from None
    if len(image_id.splitlines()) > 1:
        raise UserError(f'{origin}: the name {image_id!r} has more than one line; rename it.')
    return image_id


def _add_missing_splits(
    origin: str,
    splits: dict[str, tuple[Item, ...]],
    classes: Sequence[str],
    has_splits: bool,
    seed: int,
    fractions: Mapping[str, float],
) -> tuple[dict[str, tuple[Item, ...]], str]:
    """Return all splits, those found and those taken from training, and sentences that say which is which."""
    note = f'The splits are as found: {", ".join(splits)}.' if has_splits else 'No splits were found.'
    if 'validation' in splits and 'test' not in splits:
        splits['test'] = splits.pop('validation')
        note += ' The validation split found is used as the test split.'
    missing = {split: fraction for split, fraction in fractions.items() if fraction and split not in splits}
    if missing and 'train' in splits:
        by_class = collections.defaultdict(list)
        for item in splits['train']:
            by_class[classes[item.label]].append(item)
        counts = _apportion_images({name: len(of_class) for name, of_class in by_class.items()}, missing, seed)
        _check_shares(origin, len(splits['train']), missing, counts)
        taken: dict[str, str] = {}
        for name, of_class in by_class.items():
            of_class.sort(key=lambda item: _hash_fraction(seed, item.id))
            # From both ends, so that an added image moves none from one of the two to the other.
            for split, end in zip(missing, (1, -1), strict=False):
                taken.update((item.id, split) for item in of_class[::end][: counts[split][name]])
        for split in (*missing, 'train'):
            splits[split] = tuple(item for item in splits['train'] if taken.get(item.id, 'train') == split)
        parts = ' and '.join(f'{100 * fraction:g} % to {split}' for split, fraction in missing.items())
        note += f' Of the training images of each class {parts}, by a hash of seed {seed} and the id.'
    return {split: splits[split] for split in SPLITS if split in splits}, note


def _apportion_images(sizes: Mapping[str, int], fractions: Mapping[str, float], seed: int) -> dict[str, dict[str, int]]:
    """Return split -> class -> images: each class's share rounded down or up, so that the sums are the shares of all.

    Those with the largest remainders are rounded up, equal ones by a hash; one image of each class is left over.
    """
    counts = {
        split: {name: int(size * fraction) for name, size in sizes.items()} for split, fraction in fractions.items()
    }
    for split, fraction in fractions.items():
        lacking = int(sum(sizes.values()) * fraction + 0.5) - sum(counts[split].values())
        ranked = sorted(
            (counts[split][name] - size * fraction, _hash_fraction(seed, f'{split}/{name}'), name)
            for name, size in sizes.items()
            if size - sum(of_split[name] for of_split in counts.values()) > 1
        )
        for _, _, name in ranked[: max(0, lacking)]:
            counts[split][name] += 1
    return counts


def _hash_fraction(seed: int, image_id: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the id alone."""
    digest = hashlib.blake2b(f'{seed}:{image_id}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') / 2**64


def _check_shares(
    origin: str, num_images: int, fractions: Mapping[str, float], counts: Mapping[str, Mapping[str, int]]
) -> None:
    """Raise UserError if a split that was asked for would be empty."""
    empty = [split for split in fractions if not any(counts[split].values())]
    if not empty:
        return
    split, num_classes = empty[0], len(counts[empty[0]])
    if num_images > num_classes + sum(sum(of_split.values()) for of_split in counts.values()):
        enough = math.ceil(1000 * 0.5 / num_images) / 1000
        remedy = f'Set --config.prepare.{split}_fraction to at least {enough}'
    else:
        remedy = 'One image of each class stays in training: add images to the classes'
    without = [f'--config.prepare.{name}_fraction=0' for name in empty]
    if 'test' in empty:
        scored = 'validation' if 'validation' in fractions.keys() - set(empty) else 'train'
        without.append(f'--config.evaluate.split={scored}')
    raise UserError(
        f'{origin}: a fraction of {fractions[split]} leaves the {split} split empty, of {num_images:,} training images '
        f'of {num_classes:,} classes. {remedy}, or do without: {" ".join(without)}.'
    )


def _check_assignment(origin: str, classes: tuple[str, ...], splits: Mapping[str, tuple[Item, ...]]) -> None:
    """Raise UserError unless every class has training images."""
    if not splits.get('train'):
        raise UserError(f'{origin} holds no training images; {EXPECTED_LAYOUT}.')
    trained = {item.label for item in splits['train']}
    missing = [name for label, name in enumerate(classes) if label not in trained]
    if missing:
        raise UserError(
            f'{origin}: {len(missing)} classes have no training image ({", ".join(missing[:5])}); '
            'add some, or remove these classes.'
        )


def sibling_folders(found: Iterable[str], skipped: Iterable[str], label: str) -> set[str]:
    """Return the folders of `skipped`, files that are not images, on the level of the class folder `label`."""
    level = next(path.split('/').index(label) for path in found if label in path.split('/')) + 1
    return {path.split('/')[level - 1] for path in skipped if path.count('/') >= level}


def count_extensions(paths: Iterable[str]) -> str:
    """Return the extensions with the number of files of each."""
    extensions = collections.Counter(PurePosixPath(path).suffix.lower() or 'no extension' for path in paths)
    return ', '.join(f'{extension} {count}' for extension, count in sorted(extensions.items()))


def skipped_files_note(paths: Iterable[str]) -> str:
    """Return a sentence that counts files without an image's extension; '' if there are none."""
    counts = count_extensions(paths)
    return f' Skipped, as not named JPEG, PNG or WebP: {counts}.' if counts else ''
