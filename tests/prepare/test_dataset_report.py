"""Dataset report: images in two splits or classes are found and named, anomalies are counted."""

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.prepare import dataset_readme, dataset_report
from alexnet_jax.prepare.shard_writer import ShardMetadata
from alexnet_jax.prepare.splits import Item


def metadata(digests, **fields):
    count, digests = len(digests), np.array(digests, np.uint64)
    return ShardMetadata('', 1, '', count, 1, digests=digests, forms={'JPEG': count}, **fields)


def items(*labels, split):
    return [Item(f'{split}{number}', label, ()) for number, label in enumerate(labels)]


def report():
    builder = dataset_report.ReportBuilder(('cat', 'dog'))
    builder.add_shard(
        'train',
        items(0, 0, 1, 1, split='t'),
        metadata([7, 8, 7], odd={'grey': ['t0']}, left_out={'t3': 't3: no image'}),
    )
    builder.add_shard('validation', items(0, 1, split='v'), metadata([8, 9]))
    return builder.build()


def test_identical_images_are_named_by_split_and_id():
    same = report()['identical']
    assert same['in_two_splits'] == {'groups': 1, 'images': 2, 'first': [['train: t1', 'validation: v0']]}
    assert same['in_two_classes'] == {'groups': 1, 'images': 2, 'first': [['train: t0', 'train: t2']]}
    assert same['altogether']['groups'] == 2


def test_more_than_two_of_a_kind_are_one_group():
    assert dataset_report._group_equal_digests([np.array([5, 1, 5], np.uint64), np.array([5, 1, 2], np.uint64)]) == [
        [0, 2, 3],
        [1, 4],
    ]


def test_a_sentence_stays_short_where_many_images_are_the_same():
    builder = dataset_report.ReportBuilder(('cat', 'dog'))
    builder.add_shard('train', items(*[0, 1] * 50, split='t'), metadata([7] * 100))
    builder.add_shard('test', items(0, 1, split='v'), metadata([7, 7]))
    summary = dataset_report.summarize_report(builder.build())
    assert 'inflates accuracy: train: t0 = train: t1 = train: t2 = 99 more (' in summary and len(summary) < 500


def test_counts_are_those_of_the_records():
    found = report()
    assert found['images'] == {'train': 3, 'validation': 2}
    assert found['images_by_class'] == {'cat': {'train': 2, 'validation': 1}, 'dog': {'train': 1, 'validation': 1}}
    assert found['left_out'] == {'t3': 't3: no image'} and found['odd']['grey']['first'] == ['t0']


def test_the_sentence_says_what_one_should_know():
    summary = dataset_report.summarize_report(report())
    for part in (
        'images of 2 classes (cat, dog); training images of a class: 1 to 2',
        'cat (2), dog (1)',
        'grey 1',
        't3',
        'in two splits',
        'train: t1 = validation: v0',
        'two classes',
    ):
        assert part in summary


def test_nearly_black_images_get_a_sentence_with_the_remedy():
    builder = dataset_report.ReportBuilder(('cat', 'dog'))
    odd = {'16-bit': ['t0', 't1'], image_io.NEARLY_BLACK: ['t1']}
    builder.add_shard('train', items(0, 1, 0, split='t'), metadata([1, 2, 3], odd=odd))
    summary = dataset_report.summarize_report(builder.build())
    assert 'Of the 16-bit images 1 were left nearly black' in summary and 'multiply them by 16' in summary


def test_the_card_has_counts_sizes_and_versions():
    files = {'pets-train.array_record-00000-of-00001': {'bytes': 2_000_000}, 'report.json': {'bytes': 5}}
    manifest = {
        'name': 'pets', 'classes': ['cat', 'dog'], 'note': 'As found.', 'counts': {'train': 3}, 'files': files,
        'side': 64, 'encoding': 'jpeg', 'quality': 95, 'versions': {'numpy': '2.4.6'},
    }  # fmt: skip
    text = dataset_readme.format_readme(manifest, report())
    for part in ('# pets', '| train | 3 | 2.0 MB |', '64 pixels', 'quality 95', 'numpy 2.4.6', 'grey: 1'):
        assert part in text


def test_the_classes_are_named_where_they_are_few():
    summary = dataset_report.summarize_report(report() | {'classes': dataset_report.MAX_CLASSES + 1})
    assert 'images of 11 classes; training' in summary
