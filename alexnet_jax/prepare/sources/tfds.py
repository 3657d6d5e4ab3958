"""Datasets that TFDS has prepared, or can prepare without TensorFlow, by the names that TFDS gives them.

Read from its ArrayRecord or TFRecord files with its own description of what a record holds; TensorFlow is not needed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, source_from_paths, unique_class_names
from alexnet_jax.prepare.sources.tfrecords import TFRecordFiles
from alexnet_jax.prepare.splits import SPLIT_NAMES, Item

DESCRIPTION = 'dataset_info.json'
VERSION = re.compile(r'(\d+)\.(\d+)\.(\d+)')
PREPARE = 'python main.py --mode=prepare --config={} --config.prepare.path=FOLDER --workdir=...'


def data_dir() -> Path:
    """Where TFDS keeps its data: what TFDS_DATA_DIR says, else ~/tensorflow_datasets."""
    return Path(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


def open_local_imagenet(wanted: SourceOptions) -> Source:
    """The imagenet2012 that TFDS keeps, which nobody but its owners may fetch."""
    if not _find_versions(data_dir() / 'imagenet2012'):
        raise UserError(
            f'{data_dir() / "imagenet2012"}, where TFDS would keep ImageNet, holds no dataset (TFDS_DATA_DIR in the '
            'environment names another folder); from the archives in a folder, or another form of docs/data.md, it is '
            f'made by: {PREPARE.format("configs/imagenet.py")}'
        )
    # Nobody but TFDS puts things there: how many they are is told by its own description, and not by the challenge.
    return open_tfds('imagenet2012', dataclasses.replace(wanted, expect='any'))


def open_tfds(asked: str, wanted: SourceOptions) -> Source:
    """A folder that TFDS prepared, or a name such as imagenette/320px-v2 or imagenet2012:5.1.0 in its home.

    What is not there is fetched where TFDS can do so. Images without a label, and splits of other names than train,
    validation and test, are left out.
    """
    folder = _locate_dataset(asked)
    reader = TfdsReader(str(folder), tar.file_version(folder / DESCRIPTION))
    found, unlabeled, others = _index_images(reader)
    name = _open_builder(reader.folder, reader.version).info.name
    source = source_from_paths(folder.parent / name, found, (), wanted, reader, streamed=True)
    note = f' {unlabeled:,} images without labels are left out.' if unlabeled else ''
    note += f' The splits {", ".join(others)} are left out.' if others else ''
    return dataclasses.replace(source, note=f'{name} as TFDS prepared it in {folder}. {source.note}{note}')


# Where it lies


def _locate_dataset(asked: str) -> Path:
    """The folder of one version."""
    if not asked:
        raise UserError(
            "The source 'tfds' needs a name or a folder (--config.prepare.path), such as imagenette/320px-v2."
        )
    given = Path(asked).expanduser()
    if given.is_absolute() and not given.exists():
        raise UserError(
            f'{given} does not exist; give a folder that TFDS prepared, or a name that TFDS knows.'
        )
    if given.exists() and not (given.is_dir() and _find_versions(given)):
        raise UserError(
            f'{given} is no dataset that TFDS prepared; for one folder inside for each class choose '
            '--config.prepare.source=folder.'
        )
    name, _, version = asked.partition(':')
    place = given if given.exists() else data_dir() / name
    versions = [folder for folder in _find_versions(place) if version in ('', folder.name)]
    versions = versions or [_download_dataset(asked)]
    configs = sorted({folder.parent.name for folder in versions})
    if len(configs) > 1:
        raise UserError(
            f'{place} holds the configurations {", ".join(configs)}; name one, as in --config.prepare.path='
            f'{name}/{configs[0]}.'
        )
    return versions[-1].absolute()


def _find_versions(place: Path) -> list[Path]:
    """The folders of versions at or under a place, the newest last; those of a configuration lie one deeper."""
    if (place / DESCRIPTION).is_file():
        return [place]
    found = [path.parent for pattern in ('*', '*/*') for path in place.glob(f'{pattern}/{DESCRIPTION}')]
    matches = [(VERSION.fullmatch(path.name), path) for path in found]
    return [path for _, path in sorted((tuple(map(int, m.groups())), path) for m, path in matches if m)]


def _download_dataset(asked: str) -> Path:
    """What TFDS has no files of, fetched and prepared by it. Raises UserError where it cannot."""
    import tensorflow_datasets as tfds

    absent = f'{asked} is not in {data_dir()} (TFDS_DATA_DIR in the environment names another folder), and TFDS'
    other = f'images in another form are taken by {PREPARE.format("configs/folder.py")}'
    try:
        builder = tfds.builder(asked, data_dir=str(data_dir()))
    except Exception as error:  # of an unknown name, of a builder that imports TensorFlow, of an odd folder
        reason = 'needs TensorFlow for it' if isinstance(error, ImportError) else 'knows no such dataset'
        raise UserError(f'{absent} {reason}; {other}') from error
    if getattr(builder, 'MANUAL_DOWNLOAD_INSTRUCTIONS', None):
        raise UserError(f'{absent} may not fetch it; {other}')
    try:
        builder.download_and_prepare(file_format='array_record')
    except Exception as error:  # no network, no TensorFlow where the builder needs it, no space
        reason = str(error).strip().partition('\n')[0][:200]
        raise UserError(f'{absent} could not fetch it ({type(error).__name__}: {reason}); {other}') from error
    return Path(builder.data_dir)


# What it holds


@dataclasses.dataclass(frozen=True)
class TfdsReader:
    """Reads records, best in their order: `location` is the split's name and the record's number."""

    folder: str
    version: tuple[int, int]  # of its description: whether it is still the same when a preparation goes on

    @property
    def identity(self) -> str:
        return f'InTfds(folder={self.folder!r}, version={self.version})'

    def __call__(self, item: Item) -> bytes | np.ndarray:
        split, number = item.location
        image = self.example(split, number)[_feature_names(self)[0]]
        if not isinstance(image, np.ndarray):
            return image
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def example(self, split: str, number: int) -> dict[str, Any]:
        """A record, its image as it is stored. Raises OSError where it is damaged."""
        import tensorflow_datasets as tfds

        features, image = _open_builder(self.folder, self.version).info.features, _feature_names(self)[0]
        stored = isinstance(features[image], tfds.features.Image)
        record = _open_records(self.folder, self.version, split)
        try:
            return features.deserialize_example_np(
                record[number], decoders={image: tfds.decode.SkipDecoding()} if stored else None
            )
        except Exception as error:  # of ArrayRecord's checksums, of protobuf, of TFDS's parser
            raise OSError(f'record {number} of {split} in {self.folder} is damaged: {error}') from error


@functools.lru_cache(maxsize=1)
def _open_builder(folder: str, version: tuple[int, int]) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS answers damage with many kinds of exceptions
        raise UserError(
            f'{folder} is no whole dataset of TFDS ({error}); prepare or fetch it again.'
        ) from error


@functools.lru_cache(maxsize=1)
def _feature_names(reader: TfdsReader) -> tuple[str, str, str]:
    """The names of the features that are the image, its label, and its file's name ('' where there is none)."""
    import tensorflow_datasets as tfds

    features = _open_builder(reader.folder, reader.version).info.features

    def of(kind: type, *favored: str) -> str:
        names = [name for name, feature in features.items() if isinstance(feature, kind)]
        return next((name for name in (*favored, *names) if name in names), '')

    image = of(tfds.features.Image, 'image')
    if not image:
        pixels = [name for name, feature in features.items() if len(feature.shape or ()) == 3]
        image = next((name for name in pixels if features[name].np_dtype == np.uint8), '')
    label = of(tfds.features.ClassLabel, 'label')
    if not image or not label:
        raise UserError(
            f'{reader.folder} has the features {", ".join(features)}; expected were an Image and a ClassLabel.'
        )
    return (
        image,
        label,
        next((name for name in ('file_name', 'image/filename', 'id') if name in features), ''),
    )


def _index_images(reader: TfdsReader) -> tuple[dict[str, tuple], int, list[str]]:
    """Where images are, by the path that each would have as a file (split/class/name); how many images without labels
    and which splits are left out.
    """
    info = _open_builder(reader.folder, reader.version).info
    _, label, file = _feature_names(reader)
    names = unique_class_names(_class_names(info.features[label]))
    found: dict[str, tuple] = {}
    unlabeled, others = 0, [split for split in info.splits if split not in SPLIT_NAMES]
    for split in info.splits:
        for number in range(info.splits[split].num_examples if split in SPLIT_NAMES else 0):
            try:
                example = reader.example(split, number)
            except OSError as error:
                raise UserError(f'{error}; prepare or fetch it again.') from error
            told = int(example[label])
            if not 0 <= told < len(names):
                unlabeled += 1
                continue
            own = PurePosixPath(os.fsdecode(example[file])).name if file else ''
            path = f'{split}/{names[told]}/{own or f"{number:08d}"}'
            found[path if path not in found else f'{split}/{names[told]}/{number:08d}_{own}'] = (
                split,
                number,
            )
    return found, unlabeled, others


def _class_names(feature: Any) -> list[str]:
    """Label -> the class's name; numbers such that their order by name is theirs by number."""
    names = (
        list(feature.names) if feature.names else [str(number) for number in range(feature.num_classes or 0)]
    )
    numbers = [str(number) for number in range(len(names))]
    return [number.zfill(len(numbers[-1])) for number in numbers] if names == numbers != [] else names


@functools.lru_cache(maxsize=3)
def _open_records(folder: str, version: tuple[int, int], split: str) -> Any:
    """The records of a split as they are stored, by number. Raises UserError where there are not as many as announced."""
    import tensorflow_datasets as tfds

    info = _open_builder(folder, version).info
    form = info.file_format.value if info.file_format else 'tfrecord'
    try:
        if form == 'tfrecord':
            records = TFRecordFiles([os.fspath(path) for path in info.splits[split].filepaths])
        else:
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            records = _open_builder(folder, version).as_data_source(split, deserialize_method=raw)
        count = len(records)
    except UserError:
        raise
    except Exception as error:  # another format, or damaged or missing files
        raise UserError(
            f'{folder}, split {split}, of the format {form}, cannot be read ({error}).'
        ) from error
    if count != (expected := info.splits[split].num_examples):
        raise UserError(
            f'{folder} has {count:,} records in {split} instead of {expected:,}; prepare it again.'
        )
    return records
