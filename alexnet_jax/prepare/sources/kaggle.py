"""ILSVRC-2012 as Kaggle has it: class folders for training, unsorted validation images, and lists next to them."""

import collections
import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import expected_counts, folder
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, build_source
from alexnet_jax.prepare.splits import LabeledImage, assign_splits, skipped_files_note

LAYOUTS = ('ILSVRC/Data/CLS-LOC', 'Data/CLS-LOC', '.')
SOLUTION_FILE = 'LOC_val_solution.csv'
TRAIN_LIST = 'ImageSets/CLS-LOC/train_cls.txt'


def open_kaggle(path: Path, options: SourceOptions) -> Source:
    """Open the folder with ILSVRC/ and LOC_*.csv in it, or ILSVRC/ with them in it or next to it."""
    strict = options.expected_counts != 'any'
    tree = next((path / name for name in LAYOUTS if (path / name / 'train').is_dir()), None)
    if tree is None or not (tree / 'val').is_dir():
        raise UserError(
            f"{path} holds no {LAYOUTS[0]} with train and val; use the folder where Kaggle's archive was unpacked."
        )
    train, skipped = folder.list_images(tree / 'train')
    val, more = folder.list_images(tree / 'val')
    images = {'train': _images_in_class_folders(train, 'train', str(tree))}
    # Many sort the validation images into class folders.
    if val and all('/' in name for name in val):
        images['validation'] = _images_in_class_folders(val, 'val', str(tree))
    else:
        images['validation'] = _unsorted_validation(val, _find_file(path, SOLUTION_FILE), strict)
    if strict:
        _check_train_list(images['train'], path)
    if options.expected_counts == 'official':
        expected_counts.check_official_counts(images, 'ILSVRC-2012', str(path))
    # Of a part of the classes, only the validation images of these.
    known = {image.label for image in images['train']}
    images['validation'] = [image for image in images['validation'] if image.label in known]
    assignment = assign_splits(images, origin=str(path), seed=options.seed, fractions=options.fractions)
    synonyms = folder.read_synonyms(path) or folder.read_synonyms(path.parent)
    reader = folder.FolderReader(str(tree))
    source = build_source('imagenet2012', assignment, options, reader, synonyms=synonyms)
    note = f"ILSVRC-2012, Kaggle's tree. {source.note}{skipped_files_note(skipped + more)}"
    return dataclasses.replace(source, note=note)


def _images_in_class_folders(found: Mapping[str, tuple], split: str, origin: str) -> list[LabeledImage]:
    """Return the images of class/image paths; their locations begin at the folder of the splits."""
    images = []
    for name, (path, *version) in found.items():
        wnid = PurePosixPath(name).parts[0]
        if not wordnet.WORDNET_ID.fullmatch(wnid):
            raise UserError(f'{origin}/{split} holds {name}; expected folders named by WordNet ids.')
        location = (f'{split}/{path}', *version)
        images.append(LabeledImage(wordnet.imagenet_image_id(name, wnid, origin=origin), wnid, location))
    return images


def _unsorted_validation(found: Mapping[str, tuple], solution: Path, strict: bool) -> list[LabeledImage]:
    """Return validation images labeled by Kaggle's list of objects: the first, as all of an image are of one class."""
    with open(solution, newline='', encoding='utf-8', errors='replace') as file:
        rows = [row for row in csv.reader(file) if len(row) == 2 and wordnet.WORDNET_ID.match(row[1])]
    labels = {image_id: objects[:9] for image_id, objects in rows}
    stems = {PurePosixPath(name).stem: name for name in found}
    lacking = sorted(stems.keys() - labels.keys()) or (sorted(labels.keys() - stems.keys()) if strict else [])
    if lacking or len(stems) != len(found):
        example = lacking[0] if lacking else 'one with two extensions'
        raise UserError(
            f'{solution} does not list the same images as are next to it, such as {example}; download what is missing.'
        )
    return [
        LabeledImage(stem, labels[stem], (f'val/{found[name][0]}', *found[name][1:])) for stem, name in stems.items()
    ]


def _check_train_list(images: list[LabeledImage], path: Path) -> None:
    """Check the training images against Kaggle's list of them, if it is there."""
    lists = [path / name for name in (f'ILSVRC/{TRAIN_LIST}', TRAIN_LIST) if (path / name).is_file()]
    if lists:
        lines = lists[0].read_text(errors='replace').split('\n')
        listed = collections.Counter(line.split('/')[0] for line in lines if '/' in line)
        counts = collections.Counter(image.label for image in images)
        expected_counts.check_listed_counts(counts, listed, 'the training images', str(path))


def _find_file(path: Path, name: str) -> Path:
    """Return a file of Kaggle's in the folder or next to it."""
    for directory in (path, path.parent):
        if (directory / name).is_file():
            return directory / name
    raise UserError(f'{path} holds no {name}, which has the labels of the validation images; download it from Kaggle.')


SPEC = SourceSpec('kaggle', "the folder where Kaggle's archive was unpacked", open_kaggle, lacks_validation=True)
