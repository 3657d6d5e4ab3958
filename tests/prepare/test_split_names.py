"""Test which names of folders and files tell a split, and layouts that can be read in two ways."""

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import split_names, splits


def label_paths(*paths):
    images, has_splits = splits.find_labels(dict.fromkeys(paths, ()), origin='here')
    return {split: {(one.label, one.id) for one in of} for split, of in images.items()}, has_splits


def paths_in(*folders, classes=('ash', 'oak')):
    return [f'{folder}/{name}/{folder.lower()}.jpg' for folder in folders for name in classes]


@pytest.mark.parametrize(
    'name, split',
    [
        ('TRAINING', 'train'),
        ('Train Set', 'train'),
        ('trainset', 'train'),
        ('TrainingData', 'train'),
        ('leaf_train_images', 'train'),
        ('train2017', 'train'),
        ('dev', 'validation'),
        ('my-valid', 'validation'),
        ('validation.split', 'validation'),
        ('Testing', 'test'),
        ('EVAL', 'test'),
        ('Evaluation (2)', 'test'),
        ('testdata', 'test'),
        ('strain', ''),
        ('latest', ''),
        ('devil', ''),
        ('train_test', ''),
        ('extra', ''),
    ],
)
def test_a_name_tells_a_split_by_one_of_its_words(name, split):
    assert split_names.parse_split_name(name)[0] == split


@pytest.mark.parametrize(
    'train, test',
    [('Training', 'Evaluation'), ('leaf_train', 'leaf_test'), ('Train Set', 'eval'), ('train2014', 'dev2014')],
)
def test_folders_that_differ_in_a_split_word_are_splits(train, test):
    found, has_splits = label_paths(*paths_in(f'leaves/{train}', f'leaves/{test}'))
    assert has_splits and set(found) == {'train', split_names.parse_split_name(test)[0]}
    assert {label for label, _ in found['train']} == {'ash', 'oak'}


def test_a_folder_around_the_classes_of_each_split_is_ignored():
    """As in Kaggle's archives: seg_train/seg_train/glacier."""
    found, _ = label_paths(*paths_in('seg_train/seg_train', 'seg_test/seg_test'))
    assert {label for of in found.values() for label, _ in of} == {'ash', 'oak'}
    assert len({one for of in found.values() for one in of}) == 4


@pytest.mark.parametrize(
    'paths, classes',
    [
        (['bullet_train/1.jpg', 'test_tube/2.jpg'], {'bullet_train', 'test_tube'}),
        (['steam_train/1.jpg', 'bullet_train/side/2.jpg'], {'steam_train', 'bullet_train'}),
        # One folder in each class, as in the training images of Tiny ImageNet.
        (['ash/images/1.jpg', 'oak/images/2.jpg'], {'ash', 'oak'}),
        (['ash/leaf/1.jpg', 'ash/bark/1.jpg', 'oak/leaf/2.jpg', 'oak/twig/2.jpg'], {'ash', 'oak'}),
        # What stands around everything is no split, unless it is called so to the letter.
        (['Testing/ash/1.jpg', 'Testing/oak/2.jpg'], {'ash', 'oak'}),
    ],
)
def test_classes_may_have_such_words_and_folders_in_their_names(paths, classes):
    found, has_splits = label_paths(*paths)
    assert not has_splits and {label for label, _ in found['train']} == classes


@pytest.mark.parametrize(
    'paths, sentence',
    [
        (paths_in('Treino', 'Teste'), r'Teste, Treino hold the same folders \(ash, oak\)\. If they are splits, rename'),
        (
            [*paths_in('fold1', 'fold2', classes=('ash', 'elm', 'oak')), *paths_in('fold3')],
            r'fold1, fold2, fold3 hold the same folders \(ash, elm, oak\).* if they are the classes, put',
        ),
        ([*paths_in('seg_train', 'seg_test'), 'seg_pred/1.jpg'], 'seg_pred/1.jpg is in none of the splits next to it'),
        ([*paths_in('Train', 'Test', 'Evaluation')], 'Evaluation and Test all name the test split. Merge them'),
        (['my_train/1.jpg', 'my_test/2.jpg'], 'my_test/2.jpg is in no class folder of its split'),
    ],
)
def test_what_can_be_read_as_splits_and_as_classes_is_refused_with_both_readings(paths, sentence):
    with pytest.raises(UserError, match=sentence):
        label_paths(*paths)
