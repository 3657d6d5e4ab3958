"""Datasets: read as TFDS reads them, by any number of threads, and never a damaged byte without a word."""

import concurrent.futures
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from alexnet_jax.data import dataset, example_proto, image_io
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import builder, sources
from alexnet_jax.prepare.sources import cutouts

ROOT = Path(__file__).parents[2]
SIDE = 16
SHARD = 'cutouts-train.array_record-00001-of-00003'


def prepared(directory, encoding):
    source = sources.open_source('cutouts', options=sources.SourceOptions(image_size=SIDE, num_cutouts=(30, 0, 20)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, 'MIN_SHARD_SIZE', 10)
        builder.prepare_dataset(source, directory, EncodingSpec(SIDE, encoding), progress=False)
    return directory


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('made')
    return {encoding: prepared(folder / encoding, encoding) for encoding in ('raw', 'jpeg')}


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made['raw'], tmp_path / 'copy'))


def problems(directory):
    return [problem for problem in dataset.find_problems(directory).values() if problem]


def flip(path, place=0.5):
    damaged = bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= 4
    path.write_bytes(damaged)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000] if path.stat().st_size > 2000 else path.read_bytes()[:-5])


# Reading


def test_an_opened_dataset_tells_what_it_is(made):
    opened = dataset.open_dataset(made['raw'])
    assert (opened.name, opened.image_size, opened.encoding) == ('cutouts', SIDE, 'raw')
    assert opened.class_names == cutouts.CLASSES
    assert opened.counts == {'train': 30, 'test': 20} and list(opened.counts) == ['train', 'test']
    assert opened.mean.shape == (SIDE, SIDE, 3) and opened.mean.dtype == np.float32
    assert opened.pca_basis.eigenvectors.shape == (3, 3)
    assert opened.pca_basis.eigenvalues.dtype == np.float64


def test_the_checksum_is_that_of_the_content_wherever_it_lies(made, copy):
    assert dataset.open_dataset(copy).checksum == dataset.open_dataset(made['raw']).checksum
    assert dataset.open_dataset(copy).checksum != dataset.open_dataset(made['jpeg']).checksum


def test_the_checksum_is_that_of_what_decides_a_training(made):
    manifest = dataset.read_manifest(made['raw'])
    checksum = dataset.training_checksum(manifest)
    assert checksum == dataset.open_dataset(made['raw']).checksum
    files = manifest['files']
    for name in ('README.md', 'report.json', 'dataset_info.json'):
        files = files | {name: {'bytes': 1, 'sha256': 'of another wording'}}
    wording = {'note': 'otherwise told', 'words': [], 'versions': {}, 'files': files, 'checksum': 'another'}
    assert dataset.training_checksum(manifest | wording) == checksum
    decides = [{'classes': ['a', 'b']}, {'side': 17}, {'encoding': 'jpeg'}, {'counts': {'train': 30}}] + [
        {'files': manifest['files'] | {name: {'bytes': 1, 'sha256': '0'}}} for name in (SHARD, 'statistics.npz')
    ]
    assert checksum not in [dataset.training_checksum(manifest | change) for change in decides]


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_records_are_the_images_of_the_source(made, encoding, split):
    found = dataset.open_dataset(made[encoding]).split(split)
    for number in range(len(found)):
        image, label, name = found[number]
        expected, expected_label = cutouts.make_cutout(split, number, 0, SIDE)
        assert image.dtype == np.uint8 and isinstance(label, int) and isinstance(name, str)
        assert (label, name) == (expected_label, f'{split}/{number:06d}')
        if encoding == 'jpeg':
            assert found.encoded(number)[0] == image_io.encode_jpeg(expected, 95)
            expected = image_io.decode_image(found.encoded(number)[0])
        else:
            assert found.encoded(number)[0] == expected.tobytes()
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
def test_any_tfds_reader_opens_it_and_sees_the_same(made, encoding):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(made[encoding])
    assert builder.info.features['label'].names == list(cutouts.CLASSES)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {'train': 30, 'test': 20}
    assert builder.info.splits['train'].shard_lengths == [10, 10, 10]
    decoders = {'image': tfds.decode.SkipDecoding()} if encoding == 'jpeg' else None
    theirs = builder.as_data_source('train', decoders=decoders)
    ours = dataset.open_dataset(made[encoding]).split('train')
    for number in range(30):
        image, label, name = ours[number]
        record = theirs[number]
        pixels = image_io.decode_image(record['image']) if encoding == 'jpeg' else record['image']
        np.testing.assert_array_equal(pixels, image)
        assert (record['label'], record['id'].decode()) == (label, name)


def test_reading_needs_neither_tensorflow_nor_jax(made):
    script = f"""
import sys
from alexnet_jax.data import dataset
opened = dataset.open_dataset({str(made['jpeg'])!r})
assert opened.split('train')[3][1] == 3
assert not any(dataset.find_problems({str(made['jpeg'])!r}).values())
print({{'tensorflow', 'jax'}} & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == 'set()'


def test_records_are_read_from_many_threads_and_from_other_processes(made):
    found = dataset.open_dataset(made['jpeg']).split('train')
    alone = [found[number][0] for number in range(30)]
    order = np.random.default_rng(0).permutation(np.tile(np.arange(30), 20)).tolist()
    fresh = pickle.loads(pickle.dumps(found))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, (image, label, _) in zip(order, pool.map(fresh.__getitem__, order), strict=True):
            np.testing.assert_array_equal(image, alone[number])
            assert label == number % 10


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
@pytest.mark.parametrize('size', [SIDE, 5])
def test_crops_written_by_many_threads_are_those_of_the_whole_images(made, encoding, size):
    found = dataset.open_dataset(made[encoding]).split('train')
    crops = np.empty((300, size, size, 3), np.uint8)
    corner = (0, 0) if size == SIDE else (4, 7)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        rest = list(pool.map(lambda place: found.read_crop(place % 30, crops[place], *corner), range(300)))
    for place in range(300):
        image, *label_and_id = found[place % 30]
        top, left = corner
        np.testing.assert_array_equal(crops[place], image[top : top + size, left : left + size])
        assert list(rest[place]) == label_and_id


@pytest.mark.parametrize('number', [-1, 30, 10**9])
def test_numbers_beyond_the_records_are_refused(made, number):
    found = dataset.open_dataset(made['raw']).split('train')
    with pytest.raises(IndexError, match='of 30'):
        found[number]
    with pytest.raises(IndexError):
        found.encoded(number)


def test_a_split_that_does_not_exist_gets_a_sentence(made):
    with pytest.raises(UserError, match="no split 'validation'; choose one of train, test"):
        dataset.open_dataset(made['raw']).split('validation')


# Damage


def test_a_sound_dataset_has_nothing_wrong(made):
    assert problems(made['raw']) == problems(made['jpeg']) == []


FILES = [
    'cutouts-train.array_record-00000-of-00003',
    'cutouts-test.array_record-00001-of-00002',
    'dataset_info.json',
    'features.json',
    'label.labels.txt',
    'statistics.npz',
    'manifest.json',
]


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize(
    'damage', [flip, lambda path: flip(path, 0), cut, os.unlink], ids=['flip', 'flip at 0', 'cut', 'delete']
)
def test_whatever_is_damaged_is_named(name, damage, copy):
    damage(copy / name)
    found = problems(copy)
    assert len(found) == 1 and (name in found[0] or name == 'manifest.json' and damage is os.unlink)
    # That a shard was flipped costs reading it.
    if 'array_record' not in name or damage in (cut, os.unlink):
        with pytest.raises(UserError):
            dataset.open_dataset(copy)


def test_every_damaged_file_is_named(copy):
    for name in FILES[:-1]:
        flip(copy / name)
    assert len(problems(copy)) == len(FILES) - 1


def test_a_bit_flipped_anywhere_in_a_shard_is_noticed_when_it_is_read_or_does_not_matter(copy):
    expected = [cutouts.make_cutout('train', number, 0, SIDE)[0] for number in range(30)]
    path, sound = copy / SHARD, (copy / SHARD).read_bytes()
    noticed = 0
    begin, end = (sound.index(expected[number].tobytes()) / len(sound) for number in (10, 19))
    chance = np.random.default_rng(0)
    for place in (*chance.uniform(begin, end, 15), *chance.uniform(0, 1, 15)):
        path.write_bytes(sound)
        flip(path, place)
        try:
            found = dataset.open_dataset(copy).split('train')
        except UserError:
            noticed += 1
            continue
        for number in range(30):
            try:
                image, label, _ = found[number]
            except UserError as mistake:
                assert f'record {number} is damaged' in str(mistake) and '--mode=verify' in str(mistake)
                noticed += 1
            else:
                np.testing.assert_array_equal(image, expected[number])
                assert label == number % 10
    assert noticed >= 15


def test_a_shard_that_does_not_open_is_told_about(copy):
    path = copy / 'cutouts-train.array_record-00000-of-00003'
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(UserError, match='split train cannot be opened.*prepare it again'):
        dataset.open_dataset(copy).split('train')


@pytest.mark.parametrize(
    'record, sentence',
    [
        (example_proto.encode_example(bytes(SIDE * SIDE * 3 - 1), 0, 'short'), 'bytes of pixels'),
        (b'no record', 'record 13 is damaged'),
    ],
)
def test_records_of_another_form_are_told_about(record, sentence, copy):
    found = dataset.open_dataset(copy).split('train')
    writer = ArrayRecordWriter(str(copy / SHARD), 'group_size:1,uncompressed')
    for _ in range(10):
        writer.write(record)
    writer.close()
    with pytest.raises(UserError, match=sentence):
        found[13]


def test_a_jpeg_of_another_size_is_told_about(made, tmp_path):
    copy = Path(shutil.copytree(made['jpeg'], tmp_path / 'copy'))
    found = dataset.open_dataset(copy).split('train')
    writer = ArrayRecordWriter(str(copy / SHARD), 'group_size:1,uncompressed')
    for content in (image_io.encode_jpeg(np.zeros((8, 8, 3), np.uint8), 95), b'no image'):
        writer.write(example_proto.encode_example(content, 0, 'small'))
    writer.close()
    with pytest.raises(UserError, match=r'an image of \(8, 8, 3\)'):
        found[10]
    with pytest.raises(UserError, match=r'record 11 \(small\): not a JPEG'):
        found[11]


def test_opening_holds_our_reading_against_that_of_tfds(made, monkeypatch):
    unpack = example_proto.decode_example
    monkeypatch.setattr(
        example_proto, 'decode_example', lambda record: (unpack(record)[0], unpack(record)[1] + 1, 'other')
    )
    with pytest.raises(UserError, match='TFDS reads its first record differently'):
        dataset.open_dataset(made['raw']).split('train')


# No dataset at all


@pytest.mark.parametrize('there', [False, True])
def test_where_there_is_no_dataset_the_sentence_says_how_to_make_one(there, tmp_path):
    if there:
        (tmp_path / 'd').mkdir()
    with pytest.raises(UserError, match='python main.py --mode=prepare') as caught:
        dataset.open_dataset(tmp_path / 'd')
    assert str(tmp_path / 'd') in str(caught.value)
    assert problems(tmp_path / 'd') == [str(caught.value)]


def test_everything_but_the_manifest_is_no_dataset(copy):
    (copy / 'manifest.json').unlink()
    with pytest.raises(UserError, match='holds no finished dataset'):
        dataset.open_dataset(copy)


@pytest.mark.parametrize('text', ['', '{}', '[]', 'null', '{"checksum": 1}', '\ufffd'])
def test_a_manifest_that_is_none_is_told_about(text, copy):
    (copy / 'manifest.json').write_text(text)
    with pytest.raises(UserError, match='manifest.json is damaged'):
        dataset.open_dataset(copy)


def test_a_manifest_that_was_edited_is_told_about(copy):
    path = copy / 'manifest.json'
    path.write_text(path.read_text().replace('"semicircle"', '"half moon"'))
    with pytest.raises(UserError, match='its checksum is wrong'):
        dataset.open_dataset(copy)


def test_a_dataset_of_another_format_is_told_about(copy):
    path = copy / 'manifest.json'
    manifest = json.loads(path.read_text()) | {'format': 99}
    path.write_text(json.dumps(manifest | {'checksum': dataset.manifest_checksum(manifest)}))
    with pytest.raises(UserError, match='format 99, expected 1'):
        dataset.open_dataset(copy)
