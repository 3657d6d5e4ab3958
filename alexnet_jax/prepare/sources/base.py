"""The interface of a source of images, and how one is built from the paths in a folder or archive."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import advice, compression, expected_counts
from alexnet_jax.prepare.sources.tiny_imagenet import VALIDATION_LIST, sort_validation
from alexnet_jax.prepare.splits import (
    Item,
    SplitAssignment,
    assign_splits,
    find_labels,
    sibling_folders,
    skipped_files_note,
)

COUNT_CHECKS = ('official', 'listed', 'any')
# Two files by which the folder of a run, a benchmark and a dataset of this program is known.
RESULT_FILES = {'run.json': 'config.json', 'benchmark.json': 'benchmark.png', 'manifest.json': 'statistics.npz'}


class Reader(Protocol):
    """Reads the items of one source; plain data, so that it can go to other processes."""

    @property
    def identity(self) -> str:
        """Return the text that stands for the reader in fingerprints of shards.

        It never changes, whatever the class and its fields are called: a preparation that was killed goes on
        with the shards whose fingerprints are still the same.
        """

    def __call__(self, item: Item) -> bytes | np.ndarray:
        """Return what `Source.read` returns; raises one of compression.UNPACK_ERRORS if that fails."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Labeled images in splits. Plain data, so that it can go to other processes."""

    name: str  # letters, digits and underscores: it begins the names of the dataset's files
    class_names: tuple[str, ...]  # by label
    splits: dict[str, tuple[Item, ...]]  # the non-empty ones of SPLITS
    note: str  # where the splits come from, and which files were skipped
    seed: int
    reader: Reader
    upright: bool = False  # turn images as their EXIF orientation says
    class_descriptions: tuple[str, ...] = ()  # by label: WordNet's synonyms; empty if there are only names
    sequential: bool = False  # fast only if items are read in the order of their locations

    def read(self, item: Item) -> bytes | np.ndarray:
        """Return the file's bytes, or pixels, uint8 (height, width, 3), if the image is not a file.

        Raises UnreadableImage, with the item's id, if the file is gone or cannot be read.
        """
        try:
            return self.reader(item)
        except compression.UNPACK_ERRORS as error:
            raise image_io.UnreadableImage(f'{item.id}: cannot be read ({error}); repair or remove it.') from error


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """Options of a source beside its path, named as in config.prepare; each source uses those it needs."""

    seed: int = 0
    # Fractions of the training images that become these splits if the source lacks them.
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    expected_counts: str = 'official'  # one of COUNT_CHECKS
    verify_md5: bool = False
    # Of cutouts: pixels, and images by split.
    image_size: int = 256
    num_cutouts: tuple[int, int, int] = (8000, 1000, 1000)

    def __post_init__(self) -> None:
        validation, test = self.validation_fraction, self.test_fraction
        if self.seed < 0:
            raise UserError(f'config.prepare.seed is {self.seed}; expected 0 or more.')
        if validation < 0 or test < 0 or validation + test >= 1:
            raise UserError(
                f'config.prepare.validation_fraction is {validation} and test_fraction is {test}; expected 0 or more '
                'each, and together less than 1.'
            )

    @property
    def fractions(self) -> dict[str, float]:
        """Return split -> fraction of the training images."""
        return {'validation': self.validation_fraction, 'test': self.test_fraction}


@dataclasses.dataclass(frozen=True)
class SourceSpec:
    """A kind of source, as its file registers it; chosen by config.prepare.source."""

    name: str
    path_help: str  # what config.prepare.path must be
    # Opens the source from its absolute path (None without one) and SourceOptions; raises UserError.
    open: Callable[[Any, SourceOptions], Source]
    needs_path: bool = True
    path_must_exist: bool = True  # if not, the path may be a name, and is passed on as given
    lacks_validation: bool = False  # has no validation split if validation_fraction is 0


def source_from_paths(
    path: Path,
    found: Mapping[str, tuple],
    skipped: Iterable[str],
    options: SourceOptions,
    reader: Reader,
    *,
    synonyms: Mapping[str, str] | None = None,
    sequential: bool = False,
) -> Source:
    """Build a source of the images found in a folder or archive (path -> location), in the order of their ids.

    `skipped` are the paths of other files, counted in the note; `synonyms` is class -> synonyms.
    Folders of runs and datasets among them are left out, and Tiny ImageNet's validation images get their classes.
    Raises UserError if the classes are ImageNet's 1,000, official counts are expected, and images are missing.
    """
    found, skipped, results_note = leave_out_results(found, tuple(skipped))
    lists = [name for name in found if PurePosixPath(name).name == VALIDATION_LIST]
    unlabeled_note = ''
    for name in lists:
        text = bytes(reader(Item(name, 0, found.pop(name)))).decode(errors='replace')
        found, unlabeled_note = sort_validation(found, name, text, str(path))
    if not found:
        kind = 'folder' if path.is_dir() else advice.archive_kind(path)
        raise UserError(advice.describe_missing_images(path, skipped, kind))
    images, has_splits = find_labels(found, origin=str(path))
    label = next(iter(images.values()))[0].label
    if options.expected_counts == 'official':
        expected_counts.check_imagenet_counts(images, str(path))
    assignment = assign_splits(
        images,
        origin=str(path),
        seed=options.seed,
        fractions=options.fractions,
        has_splits=has_splits,
        siblings=sibling_folders(found, skipped, label),
    )
    source = build_source(source_name(path), assignment, options, reader, synonyms=synonyms)
    note = source.note + unlabeled_note + results_note + skipped_files_note(skipped)
    return dataclasses.replace(source, note=note, sequential=sequential)


def leave_out_results(found: Mapping[str, Any], skipped: Sequence[str]) -> tuple[dict[str, Any], list[str], str]:
    """Return images (by path) and other files without those that this program wrote, and a note of its folders."""
    found, others = dict(found), set(skipped)
    prefixes = set()
    for path in skipped:
        folder, slash, name = path.rpartition('/')
        other = f'{folder}{slash}{RESULT_FILES.get(name)}'
        if other in others or other in found:
            prefixes.add(f'{folder}{slash}')
    # Of a folder around all images only the files directly in it are results.
    around = {prefix for prefix in prefixes if all(path.startswith(prefix) for path in found)}
    inner = tuple(prefixes - around)

    def is_result(path: str) -> bool:
        return path.startswith(inner) or path[: path.rfind('/') + 1] in around

    if not prefixes:
        return found, list(skipped), ''
    return (
        {path: location for path, location in found.items() if not is_result(path)},
        [path for path in skipped if not is_result(path)],
        f' Left out, as results of this program: {", ".join(prefix or "./" for prefix in sorted(prefixes))}.',
    )


def build_source(
    name: str,
    assignment: SplitAssignment,
    options: SourceOptions,
    reader: Reader,
    *,
    synonyms: Mapping[str, str] | None = None,
) -> Source:
    """Build a source of assigned images. ImageNet's are used as stored, all others turned upright."""
    return Source(
        name=name,
        class_names=assignment.class_names,
        splits=assignment.splits,
        note=assignment.note,
        seed=options.seed,
        reader=reader,
        upright=not assignment.is_imagenet,
        class_descriptions=tuple(synonyms.get(name, name) for name in assignment.class_names) if synonyms else (),
    )


def source_name(path: Path) -> str:
    """Return the name of a source from that of its folder or archive."""
    name = re.sub(r'\W+', '_', path.name.split('.')[0].lower(), flags=re.ASCII).strip('_')
    return name if name[:1].isalpha() else f'images_{name}'.strip('_')


def unique_class_names(names: Sequence[str]) -> list[str]:
    """Return names, by label, that folders could have; equal ones are preceded by their labels."""
    numbered = (f'{label:04d} {name}' if names.count(name) > 1 else name for label, name in enumerate(names))
    return [name.replace('/', '-') for name in numbered]


def is_hidden(name: str) -> bool:
    """Return True for what operating systems leave behind: .DS_Store, ._cat.jpg, __MACOSX."""
    return name.startswith('.') or name == '__MACOSX'
