"""Say which source reads what lies at a path, where another one was set."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from alexnet_jax.data import file_format, image_io
from alexnet_jax.prepare.sources.compression import UNPACK_TOOLS
from alexnet_jax.prepare.split_names import EXPECTED_LAYOUT
from alexnet_jax.prepare.splits import count_extensions

MAX_NAMES = 10_000  # of the files of a folder that are looked at
_SET = 'set --config.prepare.source='
_NAME_IT = 'set --config.prepare.path to the archive itself and --config.prepare.source='
# Pattern of a file's name, the source that reads such files, and what to do; the first that matches holds.
_RULES = (
    (r'ILSVRC2012_img_train\.tar', 'imagenet2012', f'{_SET}imagenet2012'),
    (r'ILSVRC2010_images_train\.tar', 'imagenet2010', f'{_SET}imagenet2010'),
    (r'LOC_val_solution\.csv', 'kaggle', f'{_SET}kaggle'),
    (r'.*\.parquet', 'parquet', f'{_SET}parquet'),
    (r'.*\.(tfrecord|array_record).*', 'tfds', f'{_SET}tfds'),
    (r'.*\.tar', 'synsets', f'{_SET}synsets for a tar of each class; for one of all classes {_NAME_IT}tar'),
    (r'.*\.(tar\.\w+|tgz|tbz2?|txz)', 'tar', f'{_NAME_IT}tar; if each archive holds one class, unpack them first'),
    (r'.*\.zip', 'zip', f'{_NAME_IT}zip'),
    (rf'.*({"|".join(map(re.escape, image_io.IMAGE_EXTENSIONS))})', 'folder', f'{_SET}folder'),
)


def archive_kind(path: Path) -> str:
    """Return the source that reads a file, by its first bytes: 'tar', 'zip' or 'parquet'; '' if none does."""
    name = _file_kind(path)
    return 'tar' if name in UNPACK_TOOLS else name if name in ('tar', 'zip', 'parquet') else ''


def is_foreign_archive(path: Path) -> bool:
    """Return whether a file is an archive of a format that no source reads."""
    return _file_kind(path) in ('7z', 'rar')


def advise_on_file(path: Path) -> str:
    """Return what a file is that another source should read, and what to do."""
    if kind := archive_kind(path):
        return f'for a {kind} file {_SET}{kind}'
    if is_foreign_archive(path):
        return f'a {_file_kind(path)} archive cannot be read: unpack it and {_SET}folder'
    return 'set --config.prepare.path to a folder or an archive'


def advise_on_names(names: Iterable[str], source: str = '') -> str:
    """Return what to do about the files of these names, which `source` does not read; '' if no source does.

    The advice never leads back to `source`.
    """
    stems = {PurePosixPath(name).name for name in names}
    for pattern, reads, advice in _RULES:
        if reads != source and any(re.fullmatch(pattern, name, re.IGNORECASE) for name in stems):
            packed = source == 'zip' or (source == 'tar' and reads != 'synsets')
            return f'unpack it and {advice}' if packed else advice
    return ''


def describe_missing_images(path: Path | str, names: Iterable[str], source: str = '') -> str:
    """Return the message that none of these files, which lie at `path`, is an image, with what to do."""
    names = list(names)
    seen = f' (its files: {count_extensions(names)})' if names else ''
    return f'{path} holds no image{seen}; {advise_on_names(names, source) or EXPECTED_LAYOUT}.'


def _file_kind(path: Path) -> str:
    if not path.is_file():
        return ''
    with open(path, 'rb') as file:
        return file_format.detect_format(file.read(file_format.SIGNATURE_BYTES))
