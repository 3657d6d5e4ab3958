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
    assert len(assignment.splits['validation']) == 60
    assert (
        'validation split found is used as the test split' in assignment.note
        and '20 % to validation' in assignment.note
    )


def test_where_there_is_no_validation_split_a_part_of_training_becomes_it():
    paths = [f'train/{path}' for path in MANY] + ['test/cat/x.jpg']
    assignment = assign(paths, validation=0.2, test=0.2)
    assert ids(assignment)['test'] == ['test/cat/x.jpg']
    assert len(assignment.splits['validation']) == 60


def test_without_shares_nothing_is_split_off():
    assert list(assign(MANY).splits) == ['train']
    assert list(assign([path for path in THREE if 'val' not in path]).splits) == ['train', 'test']


def number_by_class(assignment):
    """Return split -> the number of images of each class."""
    return {
        split: [sum(item.label == label for item in items) for label in range(len(assignment.class_names))]
        for split, items in assignment.splits.items()
    }


def small_folder(*sizes):
    return [f'{label:02d}/{number}.jpg' for label, size in enumerate(sizes) for number in range(size)]


@few
@given(st.lists(st.integers(2, 40), min_size=2, max_size=9), st.floats(0.1, 0.4), st.floats(0.1, 0.4))
def test_each_class_and_the_whole_are_divided_as_exactly_as_whole_images_allow(sizes, validation, test):
    sizes.append(20)  # enough that no split is empty
    assignment = assign(small_folder(*sizes), 5, validation, test)
    assert sorted(sum(ids(assignment).values(), [])) == sorted(small_folder(*sizes))
    counts = number_by_class(assignment)
    assert min(counts['train']) >= 1
    for split, fraction in (('validation', validation), ('test', test)):
        for size, count in zip(sizes, counts[split], strict=True):
            assert abs(count - size * fraction) < 1
        if min(sizes) > 9:  # none has to give its last image to training
            assert abs(sum(counts[split]) - sum(sizes) * fraction) <= 0.5


@pytest.mark.parametrize('sizes', [(13, 12), (9, 8, 8), (7, 6, 6, 6), (3,) * 8 + (1,)])
def test_small_folders_get_the_shares_that_were_asked_for(sizes):
    counts = number_by_class(assign(small_folder(*sizes), 0, 0.12, 0.12))
    assert {split: sum(of_split) for split, of_split in counts.items()} == {'train': 19, 'validation': 3, 'test': 3}


@few
@given(st.integers(0, 1000), st.lists(st.integers(3, 30), min_size=2, max_size=8), st.integers(0, 7))
def test_an_image_that_is_added_moves_at_most_a_few_others(seed, sizes, label):
    paths = small_folder(*sizes, 30)
    before = assign(paths, seed, 0.2, 0.2)
    after = assign([*paths, f'{label % len(sizes):02d}/new.jpg'], seed, 0.2, 0.2)
    old, new = ({item.id: split for split, items in one.splits.items() for item in items} for one in (before, after))
    moved = [{split, new[path]} for path, split in old.items() if new[path] != split]
    assert len(moved) <= 6 and {'validation', 'test'} not in moved


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


@pytest.mark.parametrize(
    'sizes, fraction, remedy',
    [
        ((1,) * 25, 0.2, 'One image of each class stays in training: add images'),
        ((1, 1), 0.1, 'One image of each class stays in training: add images'),
        ((2, 2), 0.1, 'Set --config.prepare.validation_fraction to at least 0.125'),
        ((300, 300), 1e-9, 'Set --config.prepare.validation_fraction to at least 0.001'),
    ],
)
def test_a_split_that_was_asked_for_and_came_out_empty_gets_a_remedy_that_helps(sizes, fraction, remedy):
    with pytest.raises(UserError, match=f'a fraction of {fraction} leaves the validation split empty') as info:
        assign(small_folder(*sizes), 0, fraction, fraction)
    assert remedy in str(info.value)
    off = 'validation_fraction=0 --config.prepare.test_fraction=0 --config.evaluate.split=train.'
    assert off in str(info.value) and 'seed' not in str(info.value)
    assert list(assign(small_folder(*sizes)).splits) == ['train']
    if 'at least' in remedy:
        assert assign(small_folder(*sizes), 0, float(remedy.split()[-1])).splits['validation']


def test_skipped_files_are_counted_by_extension():
    sentence = splits.skipped_files_note(['cat/1.HEIC', 'cat/2.heic', 'README', 'labels.txt'])
    assert '.heic 2, .txt 1, no extension 1' in sentence
    assert splits.skipped_files_note([]) == ''


@few
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_class_of_few_images_keeps_one_to_learn_from(seed, few_images):
    """However large the fractions: a class without training images cannot be learned."""
    assignment = assign([*MANY, *(f'yak/{number}.jpg' for number in range(few_images))], seed, 0.4, 0.4)
    assert number_by_class(assignment)['train'][-1] >= 1
