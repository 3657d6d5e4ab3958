"""Test parquet files: rows in any order, labels checked against names."""

import json
import pickle

import archives
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources
from alexnet_jax.prepare.sources import parquet_table

FOUND = archives.make_images()
KIND = pa.struct([('bytes', pa.binary()), ('path', pa.string())])


def opened(root, expect='listed', **options):
    return sources.open_source(
        'parquet', str(root), sources.SourceOptions(**{'expected_counts': expect, 'validation_fraction': 0, **options})
    )


def refused(root, sentence, **options):
    with pytest.raises(UserError, match=sentence):
        opened(root, **options)


def written(path, rows, names=None, kind=KIND, label=None, **columns):
    features = {'info': {'features': {'label': {'names': names or []}}}}
    schema = pa.schema(
        [(columns.get('image', 'image'), kind), (columns.get('label', 'label'), label or pa.int64())],
        metadata={'huggingface': json.dumps(features)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(schema.names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=4)
    return path.parent


def row(name, label, data=b'x'):
    return {'bytes': data, 'path': name}, label


PETS = [row(f'{n}.jpg', n % 2, b'pet %d' % n) for n in range(10)]


@pytest.mark.parametrize('suffix', [True, False])
def test_rows_are_read_in_any_order_and_from_another_process(suffix, tmp_path):
    archives.write_parquet(tmp_path, FOUND, suffix=suffix)
    source = pickle.loads(pickle.dumps(opened(tmp_path)))
    assert (
        source.sequential
        and not source.upright
        and source.class_descriptions == tuple(archives.CLASSES[c] for c in source.class_names)
    )
    assert '2 images without labels are left out' in source.note
    for split, ours in (('train', 'train'), ('validation', 'test')):
        told = {name: data for (name, _), data in FOUND[split].items()}
        items = source.splits[ours]
        assert {item.id for item in items} == set(told)
        for item in (*reversed(items), *items):
            assert source.read(item) == told[item.id]


def test_other_datasets_have_their_classes_names_and_ids_like_folders(tmp_path):
    for split in ('train', 'test'):
        written(tmp_path / f'{split}-00000-of-00001.parquet', PETS, ['dog', 'cat'])
    source = opened(tmp_path)
    assert source.class_names == ('cat', 'dog') and source.upright
    assert [item.id for item in source.splits['test']][:2] == ['test/cat/1.jpg', 'test/cat/3.jpg']
    assert source.read(source.splits['test'][1]) == b'pet 3'


def test_plain_bytes_without_names_get_numbers(tmp_path):
    rows = [(b'%d' % n, n % 2) for n in range(6)]
    written(tmp_path / 'pets.parquet', rows, kind=pa.binary(), image='img', label=None)
    source = opened(tmp_path / 'pets.parquet', test_fraction=0)
    assert source.class_names == ('0000', '0001')
    assert [item.id for item in source.splits['train']][:2] == ['0000/00000000', '0000/00000002']
    assert [source.read(item) for item in source.splits['train']] == [b'0', b'2', b'4', b'1', b'3', b'5']


def test_classes_of_the_same_name_are_told_apart_and_slashes_make_no_folders(tmp_path):
    rows = [row(f'{n}.jpg', n % 3) for n in range(9)]
    written(tmp_path / 'd' / 'train.parquet', rows, ['crane', 'a/c', 'crane'])
    assert opened(tmp_path / 'd', test_fraction=0).class_names == ('0000 crane', '0002 crane', 'a-c')


def test_a_part_of_imagenet_is_not_taken_for_the_whole(tmp_path):
    archives.write_parquet(tmp_path, FOUND)
    refused(tmp_path, 'not the whole of ILSVRC-2012: train 12 instead of 1,281,167', expect='official')


@pytest.mark.parametrize(
    'rows, sentence',
    [
        ([row('n00000001_1.JPEG', 0), row('n00000002_1.JPEG', 0)], 'n00000002_1.JPEG has label 0, which other'),
        ([row('n00000001_1.JPEG', 1), row('n00000002_1.JPEG', 0)], 'not in the order of the WordNet ids'),
        ([row('n00000001_1.JPEG', 0), row('n00000001_1.JPEG', 0), row('n00000002_1.JPEG', 1)], 'JPEG.* twice'),
        ([row('a.jpg', 0), row('b.jpg', 7)], 'an image of label 7, but names for 2 classes'),
        ([row('a.jpg', -1)], 'holds no rows with labels'),
    ],
)
def test_labels_that_contradict_names_are_refused(rows, sentence, tmp_path):
    written(tmp_path / 'train.parquet', rows, ['cat', 'dog'])
    refused(tmp_path, sentence)


def test_an_images_bytes_that_are_missing_are_told_when_it_is_read(tmp_path):
    written(tmp_path / 'train.parquet', [row('a.jpg', 0, None), row('b.jpg', 1)])
    source = opened(tmp_path, test_fraction=0)
    with pytest.raises(image_io.UnreadableImage, match=r'0000/a.jpg: cannot be read \(row 0 .* has no bytes'):
        source.read(source.splits['train'][0])


@pytest.mark.parametrize('share', [0, 0.1, 0.5, 0.99])
def test_half_a_download_is_refused(share, tmp_path):
    file = tmp_path / 'train.parquet'
    written(file, PETS)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    refused(tmp_path, 'train.parquet is no whole parquet file')


def test_damage_within_is_told(tmp_path):
    file = tmp_path / 'train.parquet'
    written(file, PETS)
    data = bytearray(file.read_bytes())
    for place in range(4, len(data) // 2):
        data[place] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(UserError):
        source = opened(tmp_path, test_fraction=0)
        for item in source.splits['train']:
            source.read(item)


def test_a_group_of_rows_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    written(tmp_path / 'train.parquet', PETS)
    monkeypatch.setattr(parquet_table, 'MAX_GROUP_BYTES', 20)
    refused(tmp_path, 'bytes; at most 20 are read')


@pytest.mark.parametrize(
    'files',
    [
        ('training-00000-of-00001', 'testing-00000-of-00001'),
        ('default/partial-train/0000', 'default/partial-eval/0000'),
        ('my_TrainSet', 'TestSet_v2'),
        ('evaluation/training-0', 'training/evaluation-0'),
    ],
)
def test_a_split_is_any_word_of_a_files_name_or_else_of_its_folders(files, tmp_path):
    for file in files:
        written(tmp_path / f'{file}.parquet', PETS)
    splits = {split: len(items) for split, items in opened(tmp_path).splits.items()}
    assert splits == {'train': 10, 'test': 10}


def test_files_that_tell_no_split_beside_others_that_do_are_refused_by_name(tmp_path):
    for file in ('train', 'test', 'unlabeled', 'more/extra'):
        written(tmp_path / f'{file}.parquet', PETS)
    refused(tmp_path, 'the names of more/extra.parquet, unlabeled.parquet do not say which split')


def test_hidden_files_and_folders_of_files_are_no_tables(tmp_path):
    """As macOS and Spark leave them."""
    written(tmp_path / 'train.parquet' / 'part-0000.snappy.parquet', PETS)
    for name in ('._train.parquet', '.cache/test.parquet', '__MACOSX/test.parquet'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'litter')
    assert [len(items) for items in opened(tmp_path, test_fraction=0).splits.values()] == [10]


FOUR = [row(f'{n}.png', n, b'%d' % n) for n in range(4)]


@pytest.mark.parametrize(
    'label, values, classes',
    [
        (pa.float32(), (0, 1, None, float('nan')), ('0000', '0001')),
        (pa.uint8(), (3, 0, 3, None), ('0000', '0003')),
        (pa.bool_(), (True, False, True, None), ('0000', '0001')),
        (pa.large_string(), ('elm', 'ash', '', None), ('ash', 'elm')),
        (pa.dictionary(pa.int8(), pa.string()), ('elm', 'ash', 'ash', None), ('ash', 'elm')),
    ],
)
def test_labels_may_be_whole_numbers_and_text_of_any_type(label, values, classes, tmp_path):
    rows = [(image, value) for (image, _), value in zip(FOUR, values, strict=True)]
    if pa.types.is_dictionary(label):
        labels = pa.array(list(values)).dictionary_encode()
        table = pa.table({'image': pa.array([image for image, _ in rows], KIND), 'label': labels})
        pq.write_table(table, tmp_path / 'train.parquet')
    else:
        written(tmp_path / 'train.parquet', rows, label=label)
    source = opened(tmp_path, test_fraction=0)
    assert source.class_names == classes and 'without labels are left out' in source.note


PATHS = pa.struct([('path', pa.string()), ('height', pa.int32())])


@pytest.mark.parametrize(
    'kind, image, label, value, sentence',
    [
        (KIND, {'bytes': b'x'}, pa.float64(), 0.5, 'a column label of the type double with 0.5; expected whole'),
        (
            KIND,
            {'bytes': b'x'},
            pa.list_(pa.int8()),
            [1],
            'a column label of the type list<element: int8>; expected one',
        ),
        (KIND, {'bytes': b'x'}, pa.binary(), b'elm', 'a column label of the type binary; expected one whole number'),
        (KIND, {'bytes': b'x'}, pa.date32(), 9, 'a column label of the type date32'),
        (KIND, {'bytes': b'x'}, pa.struct([('id', pa.int8())]), {'id': 1}, 'a column label of the type struct<id'),
        (KIND, {'path': 'a.jpg'}, pa.int8(), 1, 'all of its column image.bytes is empty; write the bytes'),
        (pa.string(), 'a.jpg', pa.int8(), 1, "a column image of the type string; expected the files' bytes"),
        (PATHS, {'path': 'a.jpg'}, pa.int8(), 1, 'a column image of the type struct<path: string, height: int32>'),
        (pa.list_(pa.uint8()), [1, 2], pa.int8(), 1, 'a column image of the type list<element: uint8>'),
        (pa.list_(pa.binary()), [b'x'], pa.int8(), 1, 'a column image of the type list<element: binary>'),
    ],
)
def test_columns_of_other_types_are_refused_before_a_row_is_read(kind, image, label, value, sentence, tmp_path):
    written(tmp_path / 'train.parquet', [(image, value)] * 3, kind=kind, label=label)
    refused(tmp_path, sentence)


def test_files_of_other_labels_or_class_names_are_not_mixed(tmp_path):
    written(tmp_path / 'a' / 'train.parquet', PETS, ['cat', 'dog'])
    written(tmp_path / 'a' / 'test.parquet', PETS, ['dog', 'cat'])
    refused(tmp_path / 'a', 'several kinds, with different class names')
    written(tmp_path / 'b' / 'train.parquet', PETS)
    written(tmp_path / 'b' / 'test.parquet', [row('a.jpg', 'cat')], label=pa.string())
    refused(tmp_path / 'b', 'several kinds, with different columns')


@pytest.mark.parametrize('metadata', [b'null', b'{', b'[]', b'{"info": {"features": {"label": [{"names": []}]}}}'])
def test_metadata_of_another_form_names_no_classes(metadata, tmp_path):
    table = pa.table({'image': [b'x', b'y'], 'label': [0, 1]}).replace_schema_metadata({'huggingface': metadata})
    pq.write_table(table, tmp_path / 'pets.parquet')
    assert opened(tmp_path, test_fraction=0).class_names == ('0000', '0001')


def test_other_columns_and_no_files_are_refused(tmp_path):
    refused(tmp_path, 'holds no .parquet files')
    written(tmp_path / 'train.parquet', PETS, image='picture', label=None)
    refused(tmp_path, 'has the columns picture, label; expected image or img and label or labels')
