"""Datasets as TFDS makes them, of a few images, without TensorFlow: what the tests of that source build on."""

import json
import struct

import tensorflow_datasets as tfds


def builder(name, names, examples, file_name='file_name', base=tfds.core.GeneratorBasedBuilder, others=()):
    """A builder class `name`. `examples` is split -> [(file's name, label, bytes)]; `names` are the classes'.

    `file_name` is how the feature with the file's name is called, empty for none; `others` are more features.
    """

    def _info(self):
        features = {
            'image': tfds.features.Image(shape=(None, None, 3), encoding_format='jpeg'),
            'label': tfds.features.ClassLabel(names=list(names)),
            **({file_name: tfds.features.Text()} if file_name else {}),
        }
        features = {key: feature for key, feature in features.items() if key not in dict(others)}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features | dict(others))
        )

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
    return type(name, (base,), body)


def built(home, name, names, examples, **options):
    """The folder of a dataset that TFDS has prepared in its `home`."""
    with tfds.core.registered.skip_registration():
        made = builder(name, names, examples, **options)(data_dir=str(home), file_format='array_record')
    made.download_and_prepare()
    return made.data_path


def as_tfrecords(folder):
    """Turns a dataset into one of TFRecord files, TFDS's own default, which it writes by TensorFlow alone."""
    made = tfds.builder_from_directory(str(folder))
    for split, info in made.info.splits.items():
        raw = made.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        first = 0
        for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
            records = [raw[number] for number in range(first, first + length)]
            first += length
            path = folder / path.name.replace('array_record', 'tfrecord')
            path.write_bytes(
                b''.join(struct.pack('<QI', len(r), 1) + r + struct.pack('<I', 1) for r in records)
            )
    for path in folder.glob('*array_record*'):
        path.unlink()
    description = folder / 'dataset_info.json'
    text = json.loads(description.read_text())
    text['fileFormat'] = 'tfrecord'
    description.write_text(json.dumps(text))
