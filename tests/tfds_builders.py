"""Builds small TFDS datasets without TensorFlow, for the tests of that source."""

import json
import struct

import tensorflow_datasets as tfds


def make_builder_class(name, names, examples, file_name='file_name', others=()):
    """Return a builder class `name`. `examples` is split -> [(file's name, label, bytes)]; `names` are the classes'.

    `file_name` is the feature with the file's name, '' for none; `others` are more features.
    """

    def _info(self):
        features = {
            'image': tfds.features.Image(shape=(None, None, 3), encoding_format='jpeg'),
            'label': tfds.features.ClassLabel(names=list(names)),
            **({file_name: tfds.features.Text()} if file_name else {}),
        }
        features = {key: feature for key, feature in features.items() if key not in dict(others)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features | dict(others)))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in examples}

    def _generate_examples(self, split):
        for number, (own, label, data) in enumerate(examples[split]):
            yield number, {'image': data, 'label': label} | ({file_name: own} if file_name else {})

    body = {
        'VERSION': tfds.core.Version('5.1.0'),
        '_info': _info,
        '_split_generators': _split_generators,
        '_generate_examples': _generate_examples,
        '__module__': __name__,
    }
    return type(name, (tfds.core.GeneratorBasedBuilder,), body)


def build_dataset(data_dir, name, names, examples, **options):
    """Prepare a dataset in a TFDS data directory and return its folder."""
    with tfds.core.registered.skip_registration():
        builder = make_builder_class(name, names, examples, **options)(
            data_dir=str(data_dir), file_format='array_record'
        )
    builder.download_and_prepare()
    return builder.data_path


def convert_to_tfrecords(folder):
    """Convert a dataset to TFRecord files, TFDS's default, which TFDS itself writes only with TensorFlow."""
    builder = tfds.builder_from_directory(str(folder))
    for split, info in builder.info.splits.items():
        raw = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        first = 0
        for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
            records = [raw[number] for number in range(first, first + length)]
            first += length
            path = folder / path.name.replace('array_record', 'tfrecord')
            path.write_bytes(b''.join(struct.pack('<QI', len(r), 1) + r + struct.pack('<I', 1) for r in records))
    for path in folder.glob('*array_record*'):
        path.unlink()
    description = folder / 'dataset_info.json'
    text = json.loads(description.read_text())
    text['fileFormat'] = 'tfrecord'
    description.write_text(json.dumps(text))
