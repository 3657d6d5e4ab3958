"""Test Kaggle's tree: labels from its lists, and errors if tree and lists disagree."""

import archives
import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources

FOUND = archives.make_images()
SOLUTION, LIST = 'LOC_val_solution.csv', 'ILSVRC/ImageSets/CLS-LOC/train_cls.txt'
TREE = 'ILSVRC/Data/CLS-LOC'


@pytest.fixture
def root(tmp_path):
    archives.write_kaggle(tmp_path / 'kaggle', FOUND)
    return tmp_path / 'kaggle'


def opened(root, expect='listed'):
    return sources.open_source(
        'kaggle', str(root), sources.SourceOptions(expected_counts=expect, validation_fraction=0)
    )


def refused(root, sentence, expect='listed'):
    with pytest.raises(UserError, match=sentence):
        opened(root, expect)


@pytest.mark.parametrize('folder', ['', 'ILSVRC', TREE])
def test_the_tree_is_found_from_its_top_or_within(folder, root):
    if folder == TREE:
        (root / SOLUTION).rename(root / TREE / SOLUTION)
    source = opened(root / folder)
    assert source.name == 'imagenet2012' and not source.upright
    told = {item.id: source.class_names[item.label] for item in source.splits['test']}
    assert told == dict(list(FOUND['validation']))
    assert source.class_descriptions == (
        () if folder == TREE else tuple(archives.CLASSES[name] for name in source.class_names)
    )


def test_an_image_of_another_class_than_its_folder_is_refused(root):
    archives.write_files(root, {f'{TREE}/train/n02084071/n01440764_1.JPEG': b'x'})
    refused(root, 'is of class n02084071, but its name says n01440764', 'any')


def test_a_folder_that_is_no_wordnet_id_is_refused(root):
    archives.write_files(root, {f'{TREE}/train/dogs/1.JPEG': b'x'})
    refused(root, 'holds dogs/1.JPEG; expected folders named by WordNet ids', 'any')


def test_counts_are_held_against_the_lists_unless_any_will_do(root):
    next((root / TREE / 'train/n02084071').iterdir()).unlink()
    refused(root, 'n02084071 3 instead of 4')
    assert len(opened(root, 'any').splits['train']) == 11
    (root / LIST).unlink()
    assert len(opened(root).splits['train']) == 11
    refused(root, 'not the whole of ILSVRC-2012', 'official')


def test_a_validation_image_that_is_not_listed_is_refused(root):
    archives.write_files(root, {f'{TREE}/val/ILSVRC2012_val_00000009.JPEG': b'x'})
    refused(root, 'does not list the same images as are next to it, such as ILSVRC2012_val_00000009', 'any')


def test_a_listed_validation_image_that_is_missing_is_refused_unless_any_will_do(root):
    (root / TREE / 'val/ILSVRC2012_val_00000002.JPEG').unlink()
    refused(root, 'does not list the same images as are next to it, such as ILSVRC2012_val_00000002')
    assert len(opened(root, 'any').splits['test']) == 5


def test_without_the_list_of_labels_it_says_what_is_missing(root):
    (root / SOLUTION).unlink()
    refused(root, 'holds no LOC_val_solution.csv')


def test_a_folder_of_another_kind_is_refused(tmp_path):
    refused(tmp_path, 'holds no ILSVRC/Data/CLS-LOC with train and val')
