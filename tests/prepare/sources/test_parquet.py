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
        'parquet',
        str(root),
        sources.SourceOptions(**{'expected_counts': expect, 'validation_fraction': 0, **options}),
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
        (
            [row('n00000001_1.JPEG', 0), row('n00000002_1.JPEG', 0)],
            'n00000002_1.JPEG has label 0, which other',
        ),
        ([row('n00000001_1.JPEG', 1), row('n00000002_1.JPEG', 0)], 'not in the order of the WordNet ids'),
        (
            [row('n00000001_1.JPEG', 0), row('n00000001_1.JPEG', 0), row('n00000002_1.JPEG', 1)],
            'JPEG.* twice',
        ),
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


def test_other_columns_and_no_files_are_refused(tmp_path):
    refused(tmp_path, 'holds no .parquet files')
    written(tmp_path / 'train.parquet', PETS, image='picture', label=None)
    refused(tmp_path, 'has the columns picture, label; expected image or img and label or labels')
