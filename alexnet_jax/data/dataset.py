"""A prepared dataset: its records, counts, class names and statistics; whether it is whole and sound.

A dataset lies in a directory that any TFDS reader opens; this file alone speaks with TFDS about it. Knows how
datasets are described, read and checked, not how they come about, and nothing of batches.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from alexnet_jax.data import example_proto, image_io
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

MANIFEST_FILE = 'manifest.json'
STATISTICS_FILE = 'statistics.npz'
TFDS_FILES = ('dataset_info.json', 'features.json', 'label.labels.txt')  # what TFDS wants beside the shards
FORMAT_VERSION = 1  # of manifest and records; a dataset of another one is refused
FULL_CHECK_MAX_BYTES = 2**24  # bytes: files up to this are checked whole at every opening, shards by their size


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset, opened. Statistics are over the training split, pixels in 0..255."""

    directory: str
    name: str
    classes: tuple[str, ...]  # label -> name
    words: tuple[str, ...]  # label -> what the class is called: its name, or WordNet's words for it
    side: int  # pixels; images are (side, side, 3)
    encoding: str  # jpeg or raw
    note: str  # where it comes from and how its splits came about
    counts: dict[str, int]  # split -> images, in the order train, validation, test; those that exist
    mean: np.ndarray  # float32 (side, side, 3)
    covariance: np.ndarray  # float64 (3, 3), of RGB
    eigenvalues: np.ndarray  # float64 (3,), ascending
    eigenvectors: np.ndarray  # float64 (3, 3), as columns
    checksum: str  # SHA-256 over the manifest, which holds those of all files: the dataset's identity

    @property
    def captions(self) -> tuple[str, ...]:
        """Label -> a name short enough for a picture: the first of WordNet's words, else the class's name."""
        called = zip(self.classes, self.words, strict=True)
        return tuple(name if name == words else words.partition(',')[0] for name, words in called)

    def split(self, name: str) -> 'Records':
        """The records of a split. Raises UserError where there is none of the name or its files do not open."""
        if name not in self.counts:
            raise UserError(f'{self.directory} has no split {name!r}; it has {", ".join(self.counts)}.')
        return SplitRecords(self.directory, name, self.side, self.encoding)


class SplitRecords:
    """The records of one split, by number. May be read from several threads, and sent to other processes."""

    def __init__(self, directory: str, split: str, side: int, encoding: str):
        import tensorflow_datasets as tfds

        self._of = f'{directory}, split {split}'
        self._shape = (side, side, 3)
        self._is_raw = encoding == 'raw'
        try:
            builder = tfds.builder_from_directory(directory)
            undecoded = {'image': tfds.decode.SkipDecoding()}
            self._source = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
            # Taking records apart here costs a tenth of what it costs TFDS, which has to agree on what they say.
            theirs = builder.as_data_source(split, decoders=None if self._is_raw else undecoded)[0]
            image, label, name = example_proto.decode_example(self._source[0])
        except Exception as error:  # TFDS and ArrayRecord answer damage with many kinds of exceptions
            raise UserError(f'{self._of} cannot be opened ({error}); {_hint(directory)}') from error
        image_theirs = theirs['image'].tobytes() if self._is_raw else theirs['image']
        if (image_theirs, theirs['label'], theirs['id'].decode()) != (image, label, name):
            raise UserError(f'{self._of}: TFDS reads its first record differently; {_hint(directory)}')

    def __len__(self) -> int:
        """The number of images."""
        return len(self._source)

    def __getitem__(self, record: int) -> tuple[np.ndarray, int, str]:
        """Image, uint8 (side, side, 3), read-only where it is stored raw; label; id.

        Raises IndexError beyond the last record (and below 0), UserError where the record is damaged.
        """
        data, label, name = self._unpacked(record)
        if self._is_raw:
            if len(data) != self._shape[0] * self._shape[1] * 3:
                raise self._damaged(record, f'{len(data)} bytes of pixels')
            return np.frombuffer(data, np.uint8).reshape(self._shape), label, name
        side = self._shape[0]
        image = image_io.decode_square_jpeg(data, side, name=f'{self._of}, record {record} ({name})')
        if image.shape != self._shape:
            raise self._damaged(record, f'an image of {image.shape}')
        return image, label, name

    def raw(self, record: int) -> bytes:
        """The image's bytes as they are stored: a JPEG file, or the pixels."""
        return bytes(self._unpacked(record)[0])

    def _unpacked(self, record: int) -> tuple[memoryview, int, str]:
        if not 0 <= record < len(self._source):
            raise IndexError(f'record {record} of {len(self._source)}')
        try:
            return example_proto.decode_example(self._source[record])
        except (RuntimeError, ValueError) as error:  # ArrayRecord's checksums, or our parser
            raise self._damaged(record, error) from error

    def _damaged(self, record: int, what) -> UserError:
        return UserError(
            f'{self._of}: record {record} is damaged ({what}); see --mode=verify, then prepare it again.'
        )


def open_dataset(directory: str | os.PathLike) -> Dataset:
    """The dataset prepared in a directory.

    Checks the manifest and all small files by their SHA-256, the shards by their sizes (`verify` reads them whole).
    Raises UserError where there is none, where its preparation has not ended, or where something is missing or damaged.
    """
    directory = os.path.abspath(directory)
    manifest = read_manifest(directory)
    wrong = [
        fault for name in manifest['files'] if (fault := _check_file(directory, manifest, name, thorough=False))
    ]
    if wrong:
        raise UserError(
            f'{wrong[0]} {len(wrong)} of {len(manifest["files"])} files are wrong; {_hint(directory)}'
        )
    with np.load(Path(directory, STATISTICS_FILE), allow_pickle=False) as file:
        statistics = {name: file[name] for name in ('mean', 'covariance', 'eigenvalues', 'eigenvectors')}
    return Dataset(
        directory=directory,
        classes=tuple(manifest['classes']),
        words=tuple(manifest['words'] or manifest['classes']),
        checksum=manifest['checksum'],
        **{field: manifest[field] for field in ('name', 'side', 'encoding', 'note', 'counts')},
        **statistics,
    )


def verify(directory: str | os.PathLike) -> list[str]:
    """A sentence for each file of a prepared dataset that is wrong; reads all of them. Empty: it is sound."""
    return [fault for fault in find_problems(directory).values() if fault]


def find_problems(directory: str | os.PathLike) -> dict[str, str]:
    """What is wrong with each file of a prepared dataset, in a sentence; '' where nothing is. Reads all of them."""
    directory = os.path.abspath(directory)
    try:
        manifest = read_manifest(directory)
    except UserError as mistake:
        return {MANIFEST_FILE: str(mistake)}
    files = {name: _check_file(directory, manifest, name, thorough=True) or '' for name in manifest['files']}
    return {MANIFEST_FILE: '', **files}


def read_manifest(directory: str | os.PathLike) -> dict:
    """The manifest of a whole dataset. Raises UserError where there is none, or a damaged or foreign one."""
    path = Path(directory, MANIFEST_FILE)
    if not path.exists():
        state = 'holds no whole dataset' if path.parent.exists() else 'does not exist'
        raise UserError(
            f'{directory} {state}; prepare one with "python main.py --mode=prepare ..." (a half one is continued so).'
        )
    try:
        manifest = json.loads(path.read_text())
        sound = manifest['checksum'] == manifest_checksum(manifest)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f'{path} is damaged ({type(error).__name__}); {_hint(directory)}') from error
    if not sound:
        raise UserError(f'{path} is damaged (its checksum is not right); {_hint(directory)}')
    if manifest['format'] != FORMAT_VERSION:
        raise UserError(
            f'{path} has format {manifest["format"]}, expected was {FORMAT_VERSION}; {_hint(directory)}'
        )
    return manifest


def manifest_checksum(manifest: dict) -> str:
    """SHA-256 over everything in a manifest but the checksum itself."""
    rest = {key: value for key, value in manifest.items() if key != 'checksum'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_tfds_metadata(
    directory: str | os.PathLike,
    *,
    name: str,
    classes: tuple[str, ...],
    side: int,
    encoding: str,
    note: str,
    shard_lengths: dict[str, list[int]],
    payloads: dict[str, int],
) -> None:
    """Writes DESCRIPTION: features, classes, how many records each shard has and how many bytes each split."""
    import tensorflow_datasets as tfds

    image = {
        'jpeg': lambda: tfds.features.Image(shape=(side, side, 3), encoding_format='jpeg'),
        # A plain uint8 Tensor is stored as a list of numbers and reads fifteen times slower.
        'raw': lambda: tfds.features.Tensor(shape=(side, side, 3), dtype=np.uint8, encoding='bytes'),
    }
    features = tfds.features.FeaturesDict(
        {
            'id': tfds.features.Text(),
            'image': image[encoding](),
            'label': tfds.features.ClassLabel(names=list(classes)),
        }
    )
    template = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
    files = {
        split: tfds.core.ShardedFileTemplate(
            data_dir=directory,
            dataset_name=name,
            split=split,
            filetype_suffix='array_record',
            template=template,
        )
        for split in shard_lengths
    }
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features,
        version='1.0.0',
        split_infos=[
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=payloads[split], filename_template=files[split]
            )
            for split, lengths in shard_lengths.items()
        ],
        filename_template=template,
        description=note,
        homepage='',
        supervised_keys=('image', 'label'),
        check_data=False,
    )


def _check_file(directory: str, manifest: dict, name: str, *, thorough: bool) -> str | None:
    """What is wrong with a file of the dataset, in a sentence that names it."""
    path, expected = Path(directory, name), manifest['files'][name]
    try:
        size = path.stat().st_size
        if size != expected['bytes']:
            return f'{path} has {size:,} bytes instead of {expected["bytes"]:,}.'
        if (thorough or size <= FULL_CHECK_MAX_BYTES and not _is_shard(name)) and atomic_io.file_checksum(path) != expected['sha256']:
            return f'{path} is damaged: its SHA-256 is not that of the manifest.'
    except FileNotFoundError:
        return f'{path} is missing.'
    except OSError as error:
        return f'{path} cannot be read ({error}).'
    return None


def _is_shard(name: str) -> bool:
    return '.array_record-' in name


def _hint(directory: str | os.PathLike) -> str:
    return f'delete {directory} and prepare it again: "python main.py --mode=prepare ..."'
