"""Sources: where images come from, as classes, splits and items in a fixed order, read one by one.

One file for each form in which people have their images; none decodes, resizes or writes anything.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import (
    checksums,
    cifar10,
    cutouts,
    folder,
    imagenet,
    kaggle,
    parquet,
    synsets,
    tar,
    tfds,
    zip,
)
from alexnet_jax.prepare.sources.base import COUNT_CHECKS, Source, SourceOptions
from alexnet_jax.prepare.splits import SPLITS, Item

__all__ = [
    'EXPECTATIONS',
    'KINDS',
    'PATHS',
    'SPLITS',
    'UNSTEERED',
    'WITHOUT_PATH',
    'Item',
    'Source',
    'open_source',
]

AT_PATH: Mapping[str, Callable[[Path, SourceOptions], Source]] = {
    'folder': folder.open_folder,
    'tar': tar.open_tar,
    'zip': zip.open_zip,
    'cifar10': cifar10.open_cifar10,
    'imagenet2012': imagenet.open_2012,
    'imagenet2010': imagenet.open_2010,
    'synsets': synsets.open_synsets,
    'kaggle': kaggle.open_kaggle,
    'parquet': parquet.open_parquet,
}
KINDS = ('cutouts', *AT_PATH, 'tfds')
PATHS: Mapping[str, str] = {  # what prepare.path is to be
    'folder': 'a folder with one folder inside for each class',
    'tar': 'an archive of class folders',
    'zip': 'an archive of class folders',
    'cifar10': 'cifar-10-binary.tar.gz',
    'imagenet2012': 'the folder that holds its archives, or none where TFDS keeps it',
    'imagenet2010': 'the folder that holds its archives',
    'synsets': 'a folder that holds a tar for each class',
    'kaggle': "the folder where Kaggle's archive was unpacked",
    'parquet': 'a folder of .parquet files',
    'tfds': 'the name of a dataset, or its folder',
}
WITHOUT_PATH = ('cutouts', 'imagenet2012')  # are found without one
UNSTEERED = (
    'cifar10',
    'imagenet2012',
    'kaggle',
)  # have a validation split only by a share of their training images


def open_source(
    kind: str,
    path: str = '',
    *,
    side: int,
    seed: int = 0,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    counts: tuple[int, int, int] = (8000, 1000, 1000),
    expect: str = 'official',
    md5: bool = False,
) -> Source:
    """The source of a kind (KINDS) at a path.

    cutouts: made here (cutouts.py), `side` pixels, so many for train, validation and test as `counts` says.
    folder, tar (also gzipped), zip: split/class/image or class/image; arrangement.py tells what becomes of them, and to
    which images `seed` and the two shares apply.
    cifar10: the archive cifar-10-binary.tar.gz. tfds: a folder that TFDS prepared, or a name that TFDS knows.
    imagenet2012, imagenet2010, synsets, kaggle, parquet: as their owners ship them, each in a file of its own here.
    imagenet2012 without a path is the one that TFDS keeps.
    `expect` is how many images ImageNet's own forms must have: what the challenge had (official), what their own lists
    say (listed), or any. With `md5` archives are held against the sums that are known of them.
    Raises UserError where there is nothing to be found, and tells what was expected.
    """
    if kind not in KINDS:
        raise UserError(f'Unknown source {kind!r}; there are: {", ".join(KINDS)}.')
    if seed < 0:
        raise UserError(f'The seed (--config.prepare.seed) must be at least 0, not {seed}.')
    if kind == 'cutouts':
        return cutouts.open_cutouts(side, seed, counts)
    by_name = kind == 'tfds' or (kind == 'imagenet2012' and not path)
    if not by_name and (not path or not os.path.exists(path)):
        raise UserError(
            f'The source {kind!r} needs an existing path (--config.prepare.path), {PATHS[kind]}, not {path!r}.'
        )
    if validation_share < 0 or test_share < 0 or validation_share + test_share >= 1:
        raise UserError(
            f'The shares {validation_share} for validation and {test_share} for test must be at least 0 and '
            'together less than 1.'
        )
    wanted = SourceOptions(seed, {'validation': validation_share, 'test': test_share}, expect)
    if by_name:
        return tfds.open_tfds(path, wanted) if kind == 'tfds' else tfds.open_local_imagenet(wanted)
    if md5:
        checksums.check_known_archives(Path(path))
    return AT_PATH[kind](Path(path).absolute(), wanted)
