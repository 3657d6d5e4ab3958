"""ILSVRC-2012 as Kaggle has it: class folders for training, flat validation images, and lists beside them."""

import collections
import csv
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import expected_counts, folder
from alexnet_jax.prepare.sources.base import Source, SourceOptions, build_source
from alexnet_jax.prepare.splits import LabeledImage, assign_splits, skipped_files_note

LAYOUTS = ('ILSVRC/Data/CLS-LOC', 'Data/CLS-LOC', '.')
SOLUTION_FILE = 'LOC_val_solution.csv'
TRAIN_LIST = 'ImageSets/CLS-LOC/train_cls.txt'


def open_kaggle(path: Path, wanted: SourceOptions) -> Source:
    """The folder with ILSVRC/ and LOC_*.csv in it, or ILSVRC/ with them in it or beside it."""
    tree = next((path / name for name in LAYOUTS if (path / name / 'train').is_dir()), None)
    if tree is None or not (tree / 'val').is_dir():
        raise UserError(
            f"{path} holds no {LAYOUTS[0]} with train and val; give the folder where Kaggle's archive was unpacked."
        )
    train, others = folder.list_images(tree / 'train')
    val, more = folder.list_images(tree / 'val')
    images = {'train': _images_in_class_folders(train, 'train', str(tree))}
    if val and all('/' in name for name in val):  # sorted into class folders, as many do
        images['validation'] = _images_in_class_folders(val, 'val', str(tree))
    else:
        images['validation'] = _unsorted_validation(val, _find_file(path, SOLUTION_FILE), wanted.expect != 'any')
    if wanted.expect != 'any':
        _check_train_list(images['train'], path)
    if wanted.expect == 'official':
        expected_counts.check_official_counts(images, 'ILSVRC-2012', str(path))
    known = {image.label for image in images['train']}  # a part of the classes is a part of the others too
    images['validation'] = [image for image in images['validation'] if image.label in known]
    arrangement = assign_splits(images, origin=str(path), seed=wanted.seed, shares=wanted.shares)
    note = f"ILSVRC-2012, Kaggle's tree. {arrangement.note}{skipped_files_note(others + more)}"
    words = folder.read_class_words(path) or folder.read_class_words(path.parent)
    return build_source('imagenet2012', arrangement, wanted, folder.FolderReader(str(tree)), note=note, words=words)


def _images_in_class_folders(found: Mapping[str, tuple], split: str, origin: str) -> list[LabeledImage]:
    """class/image; where they are is told from the folder that holds the splits."""
    images = []
    for name, (path, *version) in found.items():
        wnid = PurePosixPath(name).parts[0]
        if not wordnet.WORDNET_ID.fullmatch(wnid):
            raise UserError(f'{origin}/{split} holds {name}; expected were folders called by WordNet ids.')
        where = (f'{split}/{path}', *version)
        images.append(LabeledImage(wordnet.imagenet_image_id(name, wnid, origin=origin), wnid, where))
    return images


def _unsorted_validation(found: Mapping[str, tuple], solution: Path, strict: bool) -> list[LabeledImage]:
    """Validation images, labeled by Kaggle's list of objects: of each image's the first, as all are of one class."""
    with open(solution, newline='', encoding='utf-8', errors='replace') as file:
        rows = [row for row in csv.reader(file) if len(row) == 2 and wordnet.WORDNET_ID.match(row[1])]
    labels = {identity: objects[:9] for identity, objects in rows}
    stems = {PurePosixPath(name).stem: name for name in found}
    lacking = sorted(stems.keys() - labels.keys()) or (sorted(labels.keys() - stems.keys()) if strict else [])
    if lacking or len(stems) != len(found):
        raise UserError(
            f'{solution}: the images beside it and those it lists are not the same, such as '
            f'{lacking[0] if lacking else "one of two endings"}; fetch what is missing.'
        )
    return [
        LabeledImage(stem, labels[stem], (f'val/{found[name][0]}', *found[name][1:])) for stem, name in stems.items()
    ]


def _check_train_list(images: list[LabeledImage], path: Path) -> None:
    """Holds the training images against Kaggle's list of them, where it is there."""
    lists = [path / name for name in (f'ILSVRC/{TRAIN_LIST}', TRAIN_LIST) if (path / name).is_file()]
    if lists:
        lines = lists[0].read_text(errors='replace').split('\n')
        listed = collections.Counter(line.split('/')[0] for line in lines if '/' in line)
        counts = collections.Counter(image.label for image in images)
        expected_counts.check_listed_counts(counts, listed, 'the training images', str(path))


def _find_file(path: Path, name: str) -> Path:
    """A file of Kaggle's in the folder or beside it."""
    for directory in (path, path.parent):
        if (directory / name).is_file():
            return directory / name
    raise UserError(
        f'{path} holds no {name}, which has the labels of the validation images; fetch it from Kaggle.'
    )
