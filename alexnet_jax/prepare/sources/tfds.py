"""Datasets that TFDS has prepared, or can prepare without TensorFlow, by the names that TFDS gives them.

Read from ArrayRecord or TFRecord files with TFDS's own description of a record; TensorFlow is not needed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError, first_line
from alexnet_jax.prepare.sources import tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, source_from_paths, unique_class_names
from alexnet_jax.prepare.sources.tfrecords import TFRecordFiles
from alexnet_jax.prepare.split_names import SPLIT_NAMES
from alexnet_jax.prepare.splits import Item

DESCRIPTION = 'dataset_info.json'
VERSION = re.compile(r'(\d+)\.(\d+)\.(\d+)')
PREPARE = 'python main.py --mode=prepare --config={} --config.prepare.path=FOLDER --workdir=...'


def data_dir() -> Path:
    """Return the folder of TFDS's datasets: TFDS_DATA_DIR, or else ~/tensorflow_datasets."""
    return Path(os.path.expanduser(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'))


def open_local_imagenet(options: SourceOptions) -> Source:
    """Open the imagenet2012 that TFDS has prepared on this machine; TFDS cannot download it."""
    if not _find_versions(data_dir() / 'imagenet2012'):
        raise UserError(
            f'{data_dir() / "imagenet2012"}, where TFDS keeps ImageNet, holds no dataset (TFDS_DATA_DIR in the '
            'environment names another folder). To prepare it from the archives in a folder, or another form of '
            f'docs/data.md: {PREPARE.format("configs/imagenet.py")}'
        )
    # TFDS alone writes there: its own description says how many images there are, not the challenge.
    return open_tfds('imagenet2012', dataclasses.replace(options, expected_counts='any'))


def open_tfds(name_or_path: str, options: SourceOptions) -> Source:
    """Open a folder that TFDS prepared, or a name in data_dir() such as imagenette/320px-v2 or imagenet2012:5.1.0.

    A missing dataset is downloaded if TFDS can. Images without a label, and splits of other names than train,
    validation and test, are left out.
    """
    folder = _locate_dataset(name_or_path)
    reader = TfdsReader(str(folder), tar.file_version(folder / DESCRIPTION))
    found, num_unlabeled, other_splits = _index_images(reader)
    name = _open_builder(reader.folder, reader.version).info.name
    source = source_from_paths(folder.parent / name, found, (), options, reader, sequential=True)
    note = f' {num_unlabeled:,} images without labels are left out.' if num_unlabeled else ''
    note += f' The splits {", ".join(other_splits)} are left out.' if other_splits else ''
    return dataclasses.replace(source, note=f'{name} as TFDS prepared it in {folder}. {source.note}{note}')


# Finding the dataset


def _locate_dataset(name_or_path: str) -> Path:
    """Return the folder of one version."""
    path = Path(os.path.expanduser(name_or_path))
    if path.is_absolute() and not path.exists():
        raise UserError(f'{path} does not exist; use a folder that TFDS prepared, or a name that TFDS knows.')
    if path.exists() and not (path.is_dir() and _find_versions(path)):
        raise UserError(
            f'{path} is no dataset that TFDS prepared; for a folder of class folders set '
            '--config.prepare.source=folder.'
        )
    # A path may have colons in it.
    name, _, version = (name_or_path, '', '') if path.exists() else name_or_path.partition(':')
    parent = path if path.exists() else data_dir() / name
    versions = [folder for folder in _find_versions(parent) if version in ('', folder.name)]
    versions = versions or [_download_dataset(name_or_path)]
    configs = sorted({folder.parent.name for folder in versions})
    if len(configs) > 1:
        raise UserError(
            f'{parent} holds the configurations {", ".join(configs)}; name one, as in --config.prepare.path='
            f'{name}/{configs[0]}.'
        )
    return versions[-1].absolute()


def _find_versions(parent: Path) -> list[Path]:
    """Return the folders of versions at or under a folder, the newest last; those of a configuration are one deeper."""
    if (parent / DESCRIPTION).is_file():
        return [parent]
    found = [path.parent for pattern in ('*', '*/*') for path in parent.glob(f'{pattern}/{DESCRIPTION}')]
    matches = [(VERSION.fullmatch(path.name), path) for path in found]
    return [path for _, path in sorted((tuple(map(int, m.groups())), path) for m, path in matches if m)]


def _download_dataset(name: str) -> Path:
    """Let TFDS download and prepare a dataset; return its folder. Raises UserError if TFDS cannot."""
    import tensorflow_datasets as tfds

    missing = f'{name} is not in {data_dir()} (TFDS_DATA_DIR in the environment names another folder), and TFDS'
    hint = f'to prepare images in another form: {PREPARE.format("configs/folder.py")}'
    try:
        builder = tfds.builder(name, data_dir=str(data_dir()))
    # Of an unknown name, of a builder that imports TensorFlow, of an odd folder.
    except Exception as error:
        reason = 'needs TensorFlow for it' if isinstance(error, ImportError) else 'knows no such dataset'
        raise UserError(f'{missing} {reason}; {hint}') from error
    if getattr(builder, 'MANUAL_DOWNLOAD_INSTRUCTIONS', None):
        raise UserError(f'{missing} may not download it; {hint}')
    try:
        builder.download_and_prepare(file_format='array_record')
    # No network, no TensorFlow if the builder needs it, no space.
    except Exception as error:
        reason = first_line(error)
        raise UserError(f'{missing} could not download it ({type(error).__name__}: {reason}); {hint}') from error
    return Path(builder.data_dir)


# Reading it


@dataclasses.dataclass(frozen=True)
class TfdsReader:
    """Reads records, fast in their order: `location` is the split's name and the record's number."""

    folder: str
    version: tuple[int, int]  # of its description: shows if it changed before an interrupted preparation continues

    @property
    def identity(self) -> str:
        return f'InTfds(folder={self.folder!r}, version={self.version})'

    def __call__(self, item: Item) -> bytes | np.ndarray:
        split, number = item.location
        image = self.read_example(split, number)[_feature_names(self)[0]]
        if not isinstance(image, np.ndarray):
            return image
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def read_example(self, split: str, number: int) -> dict[str, Any]:
        """Return a record, its image as it is stored. Raises OSError if it is damaged."""
        import tensorflow_datasets as tfds

        features, image = _open_builder(self.folder, self.version).info.features, _feature_names(self)[0]
        stored = isinstance(features[image], tfds.features.Image)
        records = _open_records(self.folder, self.version, split)
        try:
            return features.deserialize_example_np(
                records[number], decoders={image: tfds.decode.SkipDecoding()} if stored else None
            )
        # Of ArrayRecord's checksums, of protobuf, of TFDS's parser.
        except Exception as error:
            raise OSError(f'record {number} of {split} in {self.folder} is damaged: {error}') from error


@functools.lru_cache(maxsize=1)
def _open_builder(folder: str, version: tuple[int, int]) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS raises many kinds of exceptions for damage
        raise UserError(f'{folder} is no whole dataset of TFDS ({error}); prepare or download it again.') from error


@functools.lru_cache(maxsize=1)
def _feature_names(reader: TfdsReader) -> tuple[str, str, str]:
    """Return the names of the features for the image, its label, and its file's name ('' if there is none)."""
    import tensorflow_datasets as tfds

    features = _open_builder(reader.folder, reader.version).info.features

    def first_of(kind: type, preferred: str) -> str:
        names = [name for name, feature in features.items() if isinstance(feature, kind)]
        return next((name for name in (preferred, *names) if name in names), '')

    image = first_of(tfds.features.Image, 'image')
    if not image:
        pixels = [name for name, feature in features.items() if len(feature.shape or ()) == 3]
        image = next((name for name in pixels if features[name].np_dtype == np.uint8), '')
    label = first_of(tfds.features.ClassLabel, 'label')
    if not image or not label:
        raise UserError(f'{reader.folder} has the features {", ".join(features)}; expected an Image and a ClassLabel.')
    file_name = next((name for name in ('file_name', 'image/filename', 'id') if name in features), '')
    return image, label, file_name


def _index_images(reader: TfdsReader) -> tuple[dict[str, tuple], int, list[str]]:
    """Return path -> location, by the path that each image would have as a file (split/class/name); the number of
    images without labels; and the names of the splits that are left out.
    """
    info = _open_builder(reader.folder, reader.version).info
    _, label_name, file_name = _feature_names(reader)
    classes = unique_class_names(_class_names(info.features[label_name]))
    found: dict[str, tuple] = {}
    num_unlabeled, others = 0, [split for split in info.splits if split not in SPLIT_NAMES]
    for split in info.splits:
        for number in range(info.splits[split].num_examples if split in SPLIT_NAMES else 0):
            try:
                example = reader.read_example(split, number)
            except OSError as error:
                raise UserError(f'{error}; prepare or download it again.') from error
            label = int(example[label_name])
            if not 0 <= label < len(classes):
                num_unlabeled += 1
                continue
            name = PurePosixPath(os.fsdecode(example[file_name])).name if file_name else ''
            path = f'{split}/{classes[label]}/{name or f"{number:08d}"}'
            if path in found:
                path = f'{split}/{classes[label]}/{number:08d}_{name}'
            found[path] = (split, number)
    return found, num_unlabeled, others


def _class_names(feature: Any) -> list[str]:
    """Return label -> the class's name; numbers are padded with zeros, so that names sort as numbers do."""
    count = feature.num_classes or 0
    numbers = [str(number) for number in range(count)]
    names = list(feature.names) if feature.names else numbers
    return [number.zfill(len(numbers[-1])) for number in numbers] if names == numbers != [] else names


@functools.lru_cache(maxsize=3)
def _open_records(folder: str, version: tuple[int, int], split: str) -> Any:
    """Open the records of a split as they are stored, by number. Raises UserError if their count is wrong."""
    import tensorflow_datasets as tfds

    info = _open_builder(folder, version).info
    file_format = info.file_format.value if info.file_format else 'tfrecord'
    try:
        if file_format == 'tfrecord':
            records = TFRecordFiles([os.fspath(path) for path in info.splits[split].filepaths])
        else:
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            records = _open_builder(folder, version).as_data_source(split, deserialize_method=raw)
        count = len(records)
    except UserError:
        raise
    except Exception as error:  # another format, or damaged or missing files
        raise UserError(f'{folder}, split {split}, of the format {file_format}, cannot be read ({error}).') from error
    if count != (expected := info.splits[split].num_examples):
        raise UserError(f'{folder} has {count:,} records in {split} instead of {expected:,}; prepare it again.')
    return records


SPEC = SourceSpec('tfds', 'the name of a dataset, or its folder', open_tfds, path_must_exist=False)
