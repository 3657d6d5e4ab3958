"""Forms: the same images give the same dataset, byte for byte, however people have them."""

import json

import archives
import numpy as np
import pytest
from archives import CLASSES

from alexnet_jax.data import dataset, image_io
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.prepare import builder, sources

SIDE = 16
FORMS = {
    '2012': archives.write_imagenet2012,
    'synsets': archives.write_synsets,
    'synsets in one tar': archives.write_synsets_in_one_tar,
    'kaggle': archives.write_kaggle,
    'kaggle, val in classes': lambda root, found: archives.write_kaggle(root, found, sorted_validation=True),
    'folders': archives.write_class_folders,
    'tar': archives.write_class_tar,
    'tar.gz': archives.write_class_tgz,
    'zip': archives.write_class_zip,
    'tfds': archives.write_tfds,
    'parquet': archives.write_parquet,
    'parquet, own names': lambda root, found: archives.write_parquet(root, found, files=1, suffix=False),
}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(builder, 'MIN_SHARD_SIZE', 4)


def opened(form, root, found=None, **options):
    kind, path = FORMS[form](root, found or archives.make_images())
    settings = {'expected_counts': 'listed', 'validation_fraction': 0.3, **options}
    return sources.open_source(kind, str(path), sources.SourceOptions(**settings))


def prepared(source, directory, **options):
    builder.prepare_dataset(source, directory, EncodingSpec(SIDE), progress=False, **options)
    return dataset.open_dataset(directory)


def shards(directory):
    """Split and number -> bytes, whatever the source is called."""
    return {path.name.partition('-')[2]: path.read_bytes() for path in sorted(directory.glob('*.array_record-*'))}


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    root = tmp_path_factory.mktemp('expected')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, 'MIN_SHARD_SIZE', 4)
        return prepared(opened('2012', root / 'archives'), root / 'dataset'), shards(root / 'dataset')


def test_the_records_are_the_images_by_their_stems_in_the_order_of_the_ids(expected):
    data, _ = expected
    found = archives.make_images()
    assert data.class_names == tuple(sorted(CLASSES)) and data.class_descriptions == tuple(
        CLASSES[name] for name in data.class_names
    )
    records = {split: [data.split(split)[n] for n in range(count)] for split, count in data.counts.items()}
    # What ILSVRC calls validation is tested on, and a part of the training images steers.
    assert {split: len(of) for split, of in records.items()} == {'train': 8, 'validation': 4, 'test': 6}
    for of_split, ours in ((found['train'], ('train', 'validation')), (found['validation'], ('test',))):
        label_names = dict(list(of_split))
        for image, label, name in (record for split in ours for record in records[split]):
            assert data.class_names[label] == label_names[name]
            square = image_io.resize_and_crop(image_io.decode_image(of_split[name, label_names[name]], name=name), SIDE)
            np.testing.assert_array_equal(image, image_io.decode_image(image_io.encode_jpeg(square, 95)))
    for of_split in records.values():
        assert [name for *_, name in of_split] == sorted(name for *_, name in of_split)


@pytest.mark.parametrize(
    'form, workers',
    [*((form, 1) for form in FORMS), ('2012', 2), ('tar.gz', 2), ('zip', 2), ('tfds', 2), ('parquet', 2)],
)
def test_every_form_gives_the_same_bytes(form, workers, expected, tmp_path):
    data = prepared(opened(form, tmp_path / 'archives'), tmp_path / 'dataset', num_workers=workers)
    reference, bytes_of_shards = expected
    assert shards(tmp_path / 'dataset') == bytes_of_shards
    assert data.class_names == reference.class_names and data.counts == reference.counts
    for found, wanted in zip((data.mean, *data.pca_basis), (reference.mean, *reference.pca_basis), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not any(dataset.find_problems(tmp_path / 'dataset').values())
    report = json.loads((tmp_path / 'dataset' / 'report.json').read_text())
    assert {word: found['images'] for word, found in report['odd'].items()} == {
        'grey': 1, 'CMYK': 1, 'gzip-compressed': 1, 'orientation ignored': 1
    }  # fmt: skip
    assert report['forms'] == {'JPEG': 18} and report['left_out'] == {}
