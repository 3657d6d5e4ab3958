"""A prepared dataset: its records, counts, classes and statistics; opening and checking it.

A dataset is a directory that any TFDS reader opens; all TFDS calls about it are in this file.
"""

import dataclasses
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Protocol

import numpy as np

from alexnet_jax.data import example_proto, image_io
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.data.encoding import JPEG, RAW
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError
from alexnet_jax.runtime.atomic_io import file_checksum

MANIFEST_FILE = 'manifest.json'
STATISTICS_FILE = 'statistics.npz'
# What TFDS needs beside the shards.
TFDS_FILES = ('dataset_info.json', 'features.json', 'label.labels.txt')
# Of manifest and records; a dataset of another one is refused.
FORMAT_VERSION = 1
# Files up to this size are read and checked at every opening, larger ones and shards by their size only.
FULL_CHECK_MAX_BYTES = 2**24


class RecordSource(Protocol):
    """Random access to labelled images: a prepared split, or anything like it. Read from several threads at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, record: int, /) -> tuple[np.ndarray, int, str]:
        """Return the image, uint8 (side, side, 3), its label and its id."""
        ...

    def read_crop(self, record: int, out: np.ndarray, top: int = 0, left: int = 0) -> tuple[int, str]:
        """Write the square at (top, left) of the image into `out`, uint8 (size, size, 3); return its label and id."""
        image, label, name = self[record]
        out[...] = image_io.crop_image(image, top, left, len(out))
        return label, name


@dataclasses.dataclass(frozen=True)
class Dataset(DatasetInfo):
    """A prepared dataset, opened. Statistics are over the training split, pixels in 0..255."""

    directory: str
    encoding: str  # jpeg or raw
    note: str  # where the images come from and how the splits were made
    counts: dict[str, int]  # split -> images, in the order train, validation, test; those that exist
    pca_basis: PcaBasis
    manifest_checksum: str  # SHA-256 over the whole manifest, by which older versions knew the dataset of a run

    def split(self, name: str) -> 'SplitRecords':
        """Return the records of a split. Raises UserError if it does not exist or its files do not open."""
        if name not in self.counts:
            raise UserError(f'{self.directory} has no split {name!r}; choose one of {", ".join(self.counts)}.')
        return SplitRecords(self.directory, name, self.image_size, self.encoding)


class SplitRecords(RecordSource):
    """The records of one split, by number. May be read from several threads, and sent to other processes."""

    def __init__(self, directory: str, split: str, image_size: int, encoding: str):
        """Open the split and compare its first record with what TFDS reads. Raises UserError if they differ."""
        import tensorflow_datasets as tfds

        self._name = f'{directory}, split {split}'
        self._shape = (image_size, image_size, 3)
        self._is_raw = encoding == RAW
        try:
            builder = tfds.builder_from_directory(directory)
            undecoded = {'image': tfds.decode.SkipDecoding()}
            self._source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
            # Parsing records here costs a tenth of what it costs TFDS, which has to read them the same way.
            expected = builder.as_data_source(split, decoders=None if self._is_raw else undecoded)[0]
            image, label, name = example_proto.decode_example(self._source[0])
        except Exception as error:  # TFDS and ArrayRecord raise many kinds of exceptions for damaged files
            raise UserError(f'{self._name} cannot be opened ({error}); {_hint(directory)}') from error
        expected_image = expected['image'].tobytes() if self._is_raw else expected['image']
        if (expected_image, expected['label'], expected['id'].decode()) != (image, label, name):
            raise UserError(f'{self._name}: TFDS reads its first record differently; {_hint(directory)}')

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source)

    def __getitem__(self, record: int) -> tuple[np.ndarray, int, str]:
        """Return the image, uint8 (side, side, 3), read-only if it is stored raw; label; id.

        Raises IndexError beyond the last record (and below 0), UserError if the record is damaged.
        """
        return self._read(record, None)

    def read_crop(self, record: int, out: np.ndarray, top: int = 0, left: int = 0) -> tuple[int, str]:
        """Do as RecordSource says, without memory of its own for each image. Raises as `__getitem__` does."""
        if self._is_raw:
            return super().read_crop(record, out, top, left)
        whole = out if out.shape == self._shape and out.flags.c_contiguous else _decoding_buffer(self._shape)
        image, label, name = self._read(record, whole)
        if not np.may_share_memory(image, out):
            out[...] = image_io.crop_image(image, top, left, len(out))
        return label, name

    def _read(self, record: int, buffer: np.ndarray | None) -> tuple[np.ndarray, int, str]:
        """Return image, label and id; a JPEG is decoded into `buffer`, if there is one."""
        data, label, name = self.encoded(record)
        if self._is_raw:
            if len(data) != self._shape[0] * self._shape[1] * 3:
                raise self._damaged(record, f'{len(data)} bytes of pixels')
            return np.frombuffer(data, np.uint8).reshape(self._shape), label, name
        described = f'{self._name}, record {record} ({name})'
        image = image_io.decode_square_jpeg(data, self._shape[0], name=described, buffer=buffer)
        if image.shape != self._shape:
            raise self._damaged(record, f'an image of {image.shape}')
        return image, label, name

    def encoded(self, record: int) -> tuple[memoryview, int, str]:
        """Return the image's bytes as they are stored (a JPEG file, or the pixels), label and id."""
        if not 0 <= record < len(self._source):
            raise IndexError(f'record {record} of {len(self._source)}')
        try:
            return example_proto.decode_example(self._source[record])
        except (RuntimeError, ValueError) as error:  # ArrayRecord's checksums, or our parser
            raise self._damaged(record, error) from error

    def _damaged(self, record: int, reason: object) -> UserError:
        return UserError(
            f'{self._name}: record {record} is damaged ({reason}); run --mode=verify, then prepare the dataset again.'
        )


_thread_memory = threading.local()


def _decoding_buffer(shape: tuple[int, int, int]) -> np.ndarray:
    """Return uint8 memory of that shape which this thread writes over and over: it stays in the cache."""
    buffer = getattr(_thread_memory, 'buffer', None)
    if buffer is None or buffer.shape != shape:
        buffer = _thread_memory.buffer = np.empty(shape, np.uint8)
    return buffer


def open_dataset(directory: str | os.PathLike) -> Dataset:
    """Open the dataset prepared in a directory.

    Checks the manifest and all small files by their SHA-256, the shards by their sizes (`find_problems` reads all of
    them). Raises UserError if there is no dataset, an unfinished one, or a file is missing or damaged.
    """
    directory = os.path.abspath(directory)
    manifest = read_manifest(directory)
    checks = (_check_file(directory, manifest, name, full=False) for name in manifest['files'])
    problems = [problem for problem in checks if problem]
    if problems:
        raise UserError(
            f'{problems[0]} {len(problems)} of {len(manifest["files"])} files are wrong; {_hint(directory)}'
        )
    with np.load(Path(directory, STATISTICS_FILE), allow_pickle=False) as file:
        mean, pca_basis = file['mean'], PcaBasis(file['eigenvalues'], file['eigenvectors'])
    return Dataset(
        directory=directory,
        class_names=tuple(manifest['classes']),
        class_descriptions=tuple(manifest['words'] or manifest['classes']),
        image_size=manifest['side'],
        mean=mean,
        pca_basis=pca_basis,
        checksum=training_checksum(manifest),
        manifest_checksum=manifest['checksum'],
        **{field: manifest[field] for field in ('name', 'encoding', 'note', 'counts')},
    )


def find_problems(directory: str | os.PathLike) -> dict[str, str]:
    """Return a sentence about each file of a prepared dataset that is wrong, '' for the others. Reads all of them."""
    directory = os.path.abspath(directory)
    try:
        manifest = read_manifest(directory)
    except UserError as error:
        return {MANIFEST_FILE: str(error)}
    files = {name: _check_file(directory, manifest, name, full=True) for name in manifest['files']}
    return {MANIFEST_FILE: '', **files}


def read_manifest(directory: str | os.PathLike) -> dict:
    """Return the manifest of a finished dataset. Raises UserError if it is missing, damaged or of another format."""
    path = Path(directory, MANIFEST_FILE)
    if not path.exists():
        state = 'holds no finished dataset' if path.parent.exists() else 'does not exist'
        raise UserError(
            f'{directory} {state}; prepare one with "python main.py --mode=prepare ...", which also continues an '
            'unfinished one, or set --config.data.directory to one.'
        )
    try:
        manifest = json.loads(path.read_text())
        intact = manifest['checksum'] == manifest_checksum(manifest)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f'{path} is damaged ({type(error).__name__}); {_hint(directory)}') from error
    if not intact:
        raise UserError(f'{path} is damaged (its checksum is wrong); {_hint(directory)}')
    if manifest['format'] != FORMAT_VERSION:
        raise UserError(f'{path} has format {manifest["format"]}, expected {FORMAT_VERSION}; {_hint(directory)}')
    return manifest


def manifest_checksum(manifest: dict) -> str:
    """Return the SHA-256 over everything in a manifest but the checksum itself."""
    rest = {key: value for key, value in manifest.items() if key != 'checksum'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def training_checksum(manifest: dict) -> str:
    """Return the SHA-256 over what decides a training: shards, statistics, classes, image size and encoding.

    Paths, names of files, notes, reports and versions of packages do not count.
    """
    files = manifest['files']
    shards = {
        split: [files[name]['sha256'] for name in sorted(files) if f'-{split}.array_record-' in name]
        for split in manifest['counts']
    }
    content = {'shards': shards, 'statistics': files[STATISTICS_FILE]['sha256']}
    content |= {key: manifest[key] for key in ('classes', 'side', 'encoding')}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_tfds_metadata(
    directory: str | os.PathLike, manifest: dict, *, shard_lengths: dict[str, list[int]], num_bytes: dict[str, int]
) -> None:
    """Write TFDS_FILES: features, classes, the number of records in each shard and of bytes in each split.

    Of the manifest it takes name, classes, side, encoding and note.
    """
    import tensorflow_datasets as tfds

    shape = (manifest['side'], manifest['side'], 3)
    if manifest['encoding'] == RAW:
        # A plain uint8 Tensor is stored as a list of numbers and reads fifteen times slower.
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding='bytes')
    else:
        image = tfds.features.Image(shape=shape, encoding_format=JPEG)
    label = tfds.features.ClassLabel(names=list(manifest['classes']))
    template = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
    files = {
        split: tfds.core.ShardedFileTemplate(
            data_dir=os.fspath(directory),
            dataset_name=manifest['name'],
            split=split,
            filetype_suffix='array_record',
            template=template,
        )
        for split in shard_lengths
    }
    tfds.folder_dataset.write_metadata(
        data_dir=os.fspath(directory),
        features=tfds.features.FeaturesDict({'id': tfds.features.Text(), 'image': image, 'label': label}),
        version='1.0.0',
        split_infos=[
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=num_bytes[split], filename_template=files[split]
            )
            for split, lengths in shard_lengths.items()
        ],
        filename_template=template,
        description=manifest['note'],
        homepage='',
        supervised_keys=('image', 'label'),
        check_data=False,
    )


def _check_file(directory: str, manifest: dict, name: str, *, full: bool) -> str:
    """Return a sentence that says what is wrong with a file of the dataset, '' if nothing is."""
    path, expected = Path(directory, name), manifest['files'][name]
    try:
        size = path.stat().st_size
        if size != expected['bytes']:
            return f'{path} has {size:,} bytes instead of {expected["bytes"]:,}.'
        is_shard = '.array_record-' in name
        if full or (size <= FULL_CHECK_MAX_BYTES and not is_shard):
            if file_checksum(path) != expected['sha256']:
                return f'{path} is damaged: its SHA-256 differs from the manifest.'
    except FileNotFoundError:
        return f'{path} is missing.'
    except OSError as error:
        return f'{path} cannot be read ({error}).'
    return ''


def _hint(directory: str | os.PathLike) -> str:
    return f'delete {directory} and prepare it again: "python main.py --mode=prepare ..."'
