"""Test the class and split of every image by its path, and layouts that are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import splits

few = settings(deadline=None, max_examples=15)


def assign(paths, seed=0, validation=0.0, test=0.0):
    found = {path: (number,) for number, path in enumerate(paths)}
    images, has_splits = splits.find_labels(found, origin='here')
    fractions = {'validation': validation, 'test': test}
    return splits.assign_splits(images, origin='here', seed=seed, fractions=fractions, has_splits=has_splits)


def ids(assignment):
    return {split: [item.id for item in items] for split, items in assignment.splits.items()}


THREE = ['train/cat/1.jpg', 'train/dog/1.jpg', 'val/cat/2.jpg', 'test/dog/3.jpg']
MANY = [f'{name}/{number}.jpg' for name in ('cat', 'dog', 'emu') for number in range(100)]


@pytest.mark.parametrize('word', ['val', 'valid', 'validation', 'VAL'])
def test_splits_are_taken_as_they_are_found_however_validation_is_called(word):
    assignment = assign([path.replace('val', word) for path in THREE], validation=0.1, test=0.1)
    assert ids(assignment) == {
        'train': ['train/cat/1.jpg', 'train/dog/1.jpg'],
        'validation': [f'{word}/cat/2.jpg'],
        'test': ['test/dog/3.jpg'],
    }
    assert assignment.class_names == ('cat', 'dog')
    assert [item.label for item in assignment.splits['train']] == [0, 1]
    assert [item.location for item in assignment.splits['test']] == [(3,)]


def test_folders_about_everything_are_passed_through():
    assert ids(assign([f'download/imagenette2/{path}' for path in THREE])) == ids(assign(THREE))
    assert ids(assign([f'pets/{path}' for path in MANY])) == ids(assign(MANY))


def test_folders_within_a_class_belong_to_it():
    assignment = assign(['cat/home/1.jpg', 'cat/away/1.jpg', 'dog/1.jpg'])
    assert [(item.id, item.label) for item in assignment.splits['train']] == [
        ('cat/away/1.jpg', 0),
        ('cat/home/1.jpg', 0),
        ('dog/1.jpg', 1),
    ]


def test_a_class_may_be_called_train_beside_other_classes():
    assert assign(['train/1.jpg', 'plane/1.jpg']).class_names == ('plane', 'train')


def test_where_there_is_no_test_split_validation_becomes_it_and_a_part_of_training_validation():
    paths = [f'train/{path}' for path in MANY] + [f'val/{name}/x.jpg' for name in ('cat', 'dog', 'emu')]
    assignment = assign(paths, validation=0.2, test=0.2)
    assert ids(assignment)['test'] == paths[300:]
    assert 30 < len(assignment.splits['validation']) < 90
    assert (
        'validation split found is used as the test split' in assignment.note
        and '20 % to validation' in assignment.note
    )


def test_where_there_is_no_validation_split_a_part_of_training_becomes_it():
    paths = [f'train/{path}' for path in MANY] + ['test/cat/x.jpg']
    assignment = assign(paths, validation=0.2, test=0.2)
    assert ids(assignment)['test'] == ['test/cat/x.jpg']
    assert 30 < len(assignment.splits['validation']) < 90


def test_without_shares_nothing_is_split_off():
    assert list(assign(MANY).splits) == ['train']
    assert list(assign([path for path in THREE if 'val' not in path]).splits) == ['train', 'test']


@few
@given(st.integers(0, 1000), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_made_splits_are_disjoint_whole_and_about_as_large_as_asked_for(seed, validation, test):
    assignment = assign(MANY, seed, validation, test)
    parts = ids(assignment)
    assert sorted(sum(parts.values(), [])) == sorted(MANY)
    for split, share in (('validation', validation), ('test', test)):
        assert abs(len(parts[split]) - 300 * share) < 5 * (300 * share * (1 - share)) ** 0.5


@few
@given(st.integers(0, 1000), st.sets(st.sampled_from(MANY), max_size=100))
def test_an_image_stays_in_its_split_when_others_come_or_go(seed, gone):
    before, after = (
        ids(assign(MANY, seed, 0.2, 0.2)),
        ids(assign([p for p in MANY if p not in gone], seed, 0.2, 0.2)),
    )
    for split, paths in before.items():
        assert after[split] == [path for path in paths if path not in gone]


def test_the_seed_decides_which_images_are_split_off():
    assert ids(assign(MANY, 0, 0.2)) != ids(assign(MANY, 1, 0.2))


@pytest.mark.parametrize(
    'paths, sentence',
    [
        ([], 'holds no image'),
        (['1.jpg', '2.jpg'], '1.jpg is in no class folder'),
        (['cat/1.jpg', 'dog/1.jpg', 'cover.jpg'], 'cover.jpg is in no class folder'),
        (['cat/1.jpg', 'cat/2.jpg'], "only one class, 'cat'"),
        (['train/cat/1.jpg', 'val/cat/1.jpg'], "only one class, 'cat'"),
        (['train/1.jpg', 'val/2.jpg'], 'train/1.jpg is in no class folder of its split'),
        (['train/cat/1.jpg', 'train/dog/1.jpg', 'extra/2.jpg'], 'extra/2.jpg is in none of the splits'),
        (['val/cat/1.jpg', 'val/dog/1.jpg'], 'no training images'),
        (
            ['train/cat/1.jpg', 'train/dog/1.jpg', 'test/emu/1.jpg', 'val/cat/1.jpg'],
            r'1 classes have no training image \(emu\)',
        ),
        (['cat/\ud800.jpg', 'dog/1.jpg'], 'not UTF-8'),
        (['a\nb/1.jpg', 'dog/1.jpg'], 'more than one line'),
    ],
)
def test_what_gives_nothing_to_learn_gets_a_sentence(paths, sentence):
    with pytest.raises(UserError, match=sentence):
        assign(paths)


def test_a_split_that_was_asked_for_and_came_out_empty_gets_a_sentence():
    with pytest.raises(UserError, match='a fraction of 1e-09 leaves the validation split empty'):
        assign(['cat/1.jpg', 'dog/1.jpg'], validation=1e-9)


def test_skipped_files_are_counted_by_extension():
    sentence = splits.skipped_files_note(['cat/1.HEIC', 'cat/2.heic', 'README', 'labels.txt'])
    assert '.heic 2, .txt 1, no extension 1' in sentence
    assert splits.skipped_files_note([]) == ''


@few
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_class_of_few_images_keeps_one_to_learn_from(seed, few_images):
    """However large the fractions: a class without training images cannot be learned."""
    paths = MANY + [f'yak/{number}.jpg' for number in range(few_images)]
    before, after = assign(MANY, seed, 0.4, 0.4), assign(paths, seed, 0.4, 0.4)
    label = after.class_names.index('yak')
    assert any(item.label == label for item in after.splits['train'])
    assert sum(item.label == label for items in after.splits.values() for item in items) == few_images
    for split, of_split in ids(before).items():  # the others stay where they were
        assert [path for path in ids(after)[split] if 'yak' not in path] == of_split
