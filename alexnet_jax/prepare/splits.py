"""Arrangement: the paths of images, as folders and archives have them, into classes and splits. Opens no file."""

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
EXPECTED_LAYOUT = 'expected was split/class/image (the splits train, val and test) or class/image, each image JPEG, PNG or WebP'


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image: its id, unique in its source and stable; its label; where its source's reader finds it."""

    id: str
    label: int
    location: tuple


@dataclasses.dataclass(frozen=True)
class SplitAssignment:
    """Which image is of which class and in which split, and how that came about."""

    classes: tuple[str, ...]  # label -> name
    splits: dict[str, tuple[Item, ...]]  # of SPLITS those that exist, in that order
    note: str
    is_imagenet: bool  # whether the classes are WordNet ids


@dataclasses.dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image of which it is known what it shows."""

    id: str
    label: str  # the class by its name
    location: tuple


def arrange_images(
    found: Mapping[str, tuple], *, origin: str, seed: int, shares: Mapping[str, float]
) -> SplitAssignment:
    """The images `found` (path, with '/' -> where), as `labeled` and `place` make them out."""
    images, as_found = find_labels(found, origin=origin)
    return assign_splits(images, origin=origin, seed=seed, shares=shares, as_found=as_found)


def find_labels(found: Mapping[str, tuple], *, origin: str) -> tuple[dict[str, list[LabeledImage]], bool]:
    """The images `found` (path, with '/' -> where) by splits, and whether there were splits.

    The id is the path, but where all classes are WordNet ids it is the file's stem, as in every form of ImageNet.

    The first folder is the split where it is called so everywhere (train; val, valid or validation; test), the next
    one the class; folders about everything are passed through. Raises UserError, about `origin`, where that is not so.
    """
    if not found:
        raise UserError(f'{origin} holds no image; {EXPECTED_LAYOUT}.')
    parts = _strip_common_root({path: tuple(path.split('/')) for path in found})
    depth = 1 if _has_splits(origin, parts) else 0
    names = {path: _image_id(origin, part) for path, part in parts.items()}
    if wordnet.are_wordnet_ids({part[depth] for part in parts.values()}):
        stems = {path: wordnet.imagenet_image_id(path, part[depth], origin=origin) for path, part in parts.items()}
        names = stems if len(set(stems.values())) == len(stems) else names
    images = collections.defaultdict(list)
    for path, part in parts.items():
        split = SPLIT_NAMES[part[0].lower()] if depth else 'train'
        images[split].append(LabeledImage(names[path], part[depth], found[path]))
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
    """Images by splits (of SPLITS), in the order of their ids.

    Where a split does not exist, `shares` of the training images become 'validation' and 'test', each image by a hash
    of `seed` and its id: it stays where it is when others come or go, but that one of each class stays for training.
    Where there is a validation but no test split (Imagenette), it becomes the test split.
    Classes are in the order of their names, which for WordNet ids is that of torchvision, Caffe and Keras. `as_found`
    says whether there were splits; `without` are folders that would be classes if they held images. Raises UserError,
    about `origin`, where that gives nothing to learn or to test, and where two images have the same id.
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
                raise UserError(f'{origin} holds the image {image.id!r} twice; remove one of them.')
            seen.add(image.id)
        items[split] = tuple(Item(image.id, labels[image.label], image.location) for image in of_split)
    splits, note = _add_missing_splits(items, as_found, seed, shares)
    _check_assignment(origin, classes, splits, shares)
    return SplitAssignment(classes, splits, note, wordnet.are_wordnet_ids(classes))


def _strip_common_root(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Without the folders that all have in common, such as imagenette2/ about train/ and val/."""
    while True:
        first = next(iter(parts.values()))[0]
        if first.lower() in SPLIT_NAMES or any(part[0] != first or len(part) < 3 for part in parts.values()):
            return parts
        parts = {path: part[1:] for path, part in parts.items()}


def _has_splits(origin: str, parts: dict[str, tuple[str, ...]]) -> bool:
    """Whether the first folder names the split. A class may be called train, but not have folders of its own."""
    for path, part in parts.items():
        if len(part) < 2:
            raise UserError(f'{origin}: the image {path} lies in no class folder; {EXPECTED_LAYOUT}.')
    in_splits = {path: part for path, part in parts.items() if part[0].lower() in SPLIT_NAMES}
    if len(in_splits) == len(parts):
        shallow = [path for path, part in in_splits.items() if len(part) < 3]
        if shallow:
            raise UserError(
                f'{origin}: the image {shallow[0]} lies in no class folder within its split; {EXPECTED_LAYOUT}.'
            )
        return True
    if any(len(part) > 2 for part in in_splits.values()):
        other = next(path for path in parts if path not in in_splits)
        raise UserError(f'{origin}: {other} lies in none of the splits that are beside it; {EXPECTED_LAYOUT}.')
    return False


def _class_names(origin: str, names: Iterable[str], without: Iterable[str]) -> tuple[str, ...]:
    classes = tuple(sorted(names))
    if len(classes) < 2:
        idle = sorted(set(without) - set(classes))
        why = f' ({", ".join(map(repr, idle[:5]))} hold{"s" * (len(idle) == 1)} no image)' if idle else ''
        raise UserError(
            f'{origin} holds one class alone, {classes[0]!r}, and a classifier needs two{why}; {EXPECTED_LAYOUT}.'
        )
    return classes


def _image_id(origin: str, part: tuple[str, ...]) -> str:
    """The id. Class names stand in a text file by lines, ids in records as UTF-8."""
    identity = '/'.join(part)
    try:
        identity.encode()
    except UnicodeEncodeError:
        raise UserError(f'{origin}: the name {identity!r} is not UTF-8; rename it.') from None
    if len(identity.splitlines()) > 1:
        raise UserError(f'{origin}: the name {identity!r} goes over several lines; rename it.')
    return identity


def _add_missing_splits(splits, has_splits, seed, shares) -> tuple[dict[str, tuple[Item, ...]], str]:
    """The splits there are and those that can be made, and the sentences that tell which is which."""
    note = f'The splits are as found: {", ".join(splits)}.' if has_splits else 'No splits were found.'
    if 'validation' in splits and 'test' not in splits:
        splits['test'] = splits.pop('validation')
        note += ' What is called validation there is the test split here.'
    made = {split: share for split, share in shares.items() if share and split not in splits}
    if made and 'train' in splits:
        chances = {item: _hash_fraction(seed, item.id) for item in splits['train']}
        for item in _keep_one_per_class(chances):
            chances[item] = 1.0
        low = 0.0
        for split, share in made.items():
            high = low + share
            splits[split] = tuple(item for item, chance in chances.items() if low <= chance < high)
            low = high
        splits['train'] = tuple(item for item, chance in chances.items() if chance >= low)
        parts = ' and '.join(f'{100 * share:g} % to {split}' for split, share in made.items())
        note += f' Of the training images {parts}, by a hash of seed {seed} and the id.'
    return {split: splits[split] for split in SPLITS if split in splits}, note


def _keep_one_per_class(chances: Mapping[Item, float]) -> Iterable[Item]:
    """Of each class the image that would be the last to be split off: it stays, that the class can be learnt."""
    last: dict[int, Item] = {}
    for item, chance in chances.items():
        if item.label not in last or chance > chances[last[item.label]]:
            last[item.label] = item
    return last.values()


def _hash_fraction(seed: int, identity: str) -> float:
    """A number in [0, 1) that depends on the seed and the id alone."""
    digest = hashlib.blake2b(f'{seed}:{identity}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') / 2**64


def _check_assignment(origin: str, classes, splits, shares) -> None:
    """Raises UserError unless every class can be learnt and the splits that were asked for have images."""
    if not splits.get('train'):
        raise UserError(f'{origin} holds no training images; {EXPECTED_LAYOUT}.')
    for split, share in shares.items():
        if share and not splits.get(split):
            raise UserError(
                f'{origin}: none of the images fell to {split}; give more images, another --config.prepare.seed, '
                f'or another share than {share} (0 for no such split).'
            )
    trained = {item.label for item in splits['train']}
    missing = [name for label, name in enumerate(classes) if label not in trained]
    if missing:
        raise UserError(
            f'{origin}: of {len(missing)} classes there is no training image ({", ".join(missing[:5])}); '
            'add some, or remove these classes.'
        )


def sibling_folders(found: Iterable[str], others: Iterable[str], label: str) -> set[str]:
    """The folders of `others`, files that are no images, which lie where the folders of the class `label` lie."""
    level = next(path.split('/').index(label) for path in found if label in path.split('/')) + 1
    return {path.split('/')[level - 1] for path in others if path.count('/') >= level}


def skipped_files_note(paths: Iterable[str]) -> str:
    """A sentence about files that are no images by their names; empty where there are none."""
    endings = collections.Counter(PurePosixPath(path).suffix.lower() or 'no ending' for path in paths)
    kinds = ', '.join(f'{ending} {count}' for ending, count in sorted(endings.items()))
    return f' Passed over, as neither JPEG, PNG nor WebP by name: {kinds}.' if kinds else ''
