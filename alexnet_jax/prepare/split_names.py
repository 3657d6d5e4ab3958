"""Recognize splits by the names and contents of folders and files."""

import collections
import re
from collections.abc import Iterable, Mapping

from alexnet_jax.errors import UserError

SPLITS = ('train', 'validation', 'test')
# Words that name a split, in any case: alone, or among the words of a name (seg_train, Test Set, val2017).
SPLIT_NAMES = {
    'train': 'train',
    'training': 'train',
    'val': 'validation',
    'valid': 'validation',
    'validation': 'validation',
    'dev': 'validation',
    'test': 'test',
    'testing': 'test',
    'eval': 'test',
    'evaluation': 'test',
}
# Of a lone folder with one of these names the rest is the split; one of another name stands around everything.
LONE_SPLIT_NAMES = {'train', 'val', 'valid', 'validation', 'test'}
FILLER_WORDS = {'set', 'sets', 'data', 'dataset', 'split', 'image', 'images', 'img', 'imgs'}
EXPECTED_LAYOUT = 'expected split/class/image (splits train, val, test) or class/image, as JPEG, PNG or WebP'

_COMPOUND = re.compile(rf'({"|".join(SPLIT_NAMES)})({"|".join(FILLER_WORDS)})')  # trainset, testdata


def parse_split_name(name: str) -> tuple[str, str]:
    """Return the split that a name tells, one of SPLITS, and the name's other words; '' if it tells none or several."""
    spaced = re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', name)  # TrainSet
    words = [word for word in re.split(r'[\W\d_]+', spaced.lower()) if word and word not in FILLER_WORDS]
    words = [match[1] if (match := _COMPOUND.fullmatch(word)) else word for word in words]
    splits = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    others = ' '.join(word for word in words if word not in SPLIT_NAMES)
    return (splits.pop() if len(splits) == 1 else ''), others


def find_split_folders(origin: str, folders: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return first folder -> split, empty if these folders are classes.

    `folders` maps each first folder to the folders in it that hold images ('' for images of its own), each with the
    path of an image. They are splits if they are named so and their names differ in nothing else. A class may be
    named train, but not with folders in it. Raises UserError where folders can be read as splits and as classes.
    """
    by_others: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for name in folders:
        split, others = parse_split_name(name)
        if split:
            by_others[others][name] = split
    for others, named in by_others.items():
        has_folders = any(set(folders[name]) != {''} for name in named)
        if len(set(named.values())) > 1 or (not others and (has_folders or len(named) == len(folders))):
            _check_split_folders(origin, folders, named)
            return named
    _check_class_folders(origin, folders)
    return {}


def _check_split_folders(origin: str, folders: Mapping[str, Mapping[str, str]], named: Mapping[str, str]) -> None:
    """Raise UserError unless all folders are splits, one for each split, with the classes in them."""
    names = ', '.join(sorted(named))
    if unnamed := sorted(folders.keys() - named.keys()):
        image = next(iter(folders[unnamed[0]].values()))
        raise UserError(
            f'{origin}: {image} is in none of the splits next to it ({names}). Move it into one of them or elsewhere, '
            f'or, if they are classes, rename them; {EXPECTED_LAYOUT}.'
        )
    for split in SPLITS:
        same = sorted(name for name in named if named[name] == split)
        if len(same) > 1:
            raise UserError(
                f'{origin}: {" and ".join(same)} all name the {split} split. Merge them, or, if they are other '
                f'splits or classes, rename them; {EXPECTED_LAYOUT}.'
            )
    for name in sorted(named):
        if image := folders[name].get(''):
            raise UserError(
                f'{origin}: the image {image} is in no class folder of its split. Put it into one, or, if {names} are '
                f'classes, rename them; {EXPECTED_LAYOUT}.'
            )


def _check_class_folders(origin: str, folders: Mapping[str, Mapping[str, str]]) -> None:
    """Raise UserError if folders that are not named as splits hold the same folders, as splits do."""
    inner = [set(names) for names in folders.values()]
    largest = max(inner, key=len)
    # Of a single folder in each, such as images, the splits would have a single class.
    if len(inner) > 1 and all(len(names) > 1 and '' not in names and names <= largest for names in inner):
        raise UserError(
            f'{origin}: {_join_first(folders)} hold the same folders ({_join_first(largest)}). If they are splits, '
            'rename them to train, validation and test; if they are the classes, put their images directly into them.'
        )


def _join_first(names: Iterable[str]) -> str:
    names = sorted(names)
    return ', '.join(names[:5]) + (f' and {len(names) - 5:,} more' if len(names) > 5 else '')
