"""Parquet files of images and labels, as Hugging Face keeps datasets, ImageNet among them.

A row has an image's bytes, the name its file had, and a label. ImageNet's names end with the WordNet id.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import split_names, wordnet
from alexnet_jax.prepare.sources import advice, expected_counts, folder
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, source_from_paths, unique_class_names
from alexnet_jax.prepare.sources.parquet_table import Row, Table
from alexnet_jax.prepare.splits import Item, LabeledImage

READ_ROWS = 32  # read at once


@dataclasses.dataclass(frozen=True)
class ParquetReader:
    """Reads rows, fast in their order: `location` is file, version, row group, and row in it."""

    root: str
    column: str

    @property
    def identity(self) -> str:
        return f'InParquet(root={self.root!r}, column={self.column!r})'

    def __call__(self, item: Item) -> bytes:
        import pyarrow as pa

        path, version, group, row = item.location
        try:
            data = _open_row_group(f'{self.root}/{path}', version, group, self.column).read_row(row)
        except (pa.ArrowException, StopIteration) as error:
            raise OSError(f'row {row} of group {group} of {path}: {error}') from error
        if data is None:
            raise OSError(f'row {row} of group {group} of {path} has no bytes')
        return data


class _RowGroup:
    """A group of rows, read forward a few at a time."""

    def __init__(self, path: str, group: int, column: str):
        self._path, self._group, self._column = path, group, column
        self._rewind()

    def _rewind(self) -> None:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self._path, pre_buffer=False)
        self._batches = file.iter_batches(
            READ_ROWS, row_groups=[self._group], columns=[self._column], use_threads=False
        )
        self._first, self._rows = 0, []

    def read_row(self, number: int) -> bytes | None:
        if number < self._first:
            self._rewind()
        while number >= self._first + len(self._rows):
            self._first += len(self._rows)
            rows = next(self._batches).column(0)
            self._rows = rows.field(0) if rows.type.num_fields else rows  # a struct of only the bytes
        return self._rows[number - self._first].as_py()


@functools.lru_cache(maxsize=1)
def _open_row_group(path: str, version: tuple[int, int], group: int, column: str) -> _RowGroup:
    """Open the group that is being read, one in each process."""
    return _RowGroup(path, group, column)


def open_parquet(path: Path, options: SourceOptions) -> Source:
    """Open a folder of files such as train-00000-of-00294.parquet, in any depth, or one file."""
    files = [path]
    if path.is_dir():
        names = (name for name, _ in folder.iter_files(path, ()))
        files = sorted(path / name for name in names if name.endswith('.parquet'))
    if not files:
        names = (name for name, _ in folder.iter_files(path, ()))
        remedy = advice.advise_on_names(names, 'parquet') or 'expected some like train-00000-of-00294.parquet'
        raise UserError(f'{path} holds no .parquet files; {remedy}.')
    root = path if path.is_dir() else path.parent
    relative = [file.relative_to(root) for file in files]
    _check_file_numbers([str(name) for name in relative], str(path))
    splits = _splits_of_files(relative, str(path))
    tables = [Table(file, root) for file in files]
    names = _common_names(tables, str(path))
    rows = [row for table, split in zip(tables, splits, strict=True) for row in table.iter_rows(split)]
    if not rows:
        raise UserError(f'{path} holds no rows with labels.')
    classes = _classes_by_wnid(rows, str(path)) or _classes_by_name(rows, names, str(path))
    if options.expected_counts != 'any' and len(classes) < len(names):
        lost = next(name for label, name in enumerate(names) if label not in classes)
        raise UserError(
            f'{path} has names for {len(names):,} classes and images of {len(classes):,}, none of {lost!r}; download '
            f'what is missing; {expected_counts.RELAX_HINT.format("any")}.'
        )
    is_imagenet = wordnet.are_wordnet_ids(classes.values())
    if is_imagenet and options.expected_counts == 'official':
        images = collections.defaultdict(list)
        for row in rows:
            images[row.split].append(LabeledImage('', classes[row.label], ()))
        expected_counts.check_official_counts(images, 'ILSVRC-2012', str(path))
    reader = ParquetReader(str(root), tables[0].column)
    synonyms = {classes[label]: names[label] for label in classes if names} if is_imagenet else {}
    found = _paths_of_rows(rows, classes, str(path))
    source = source_from_paths(path, found, (), options, reader, synonyms=synonyms, sequential=True)
    unlabeled = sum(table.num_unlabeled for table in tables)
    note = f' {unlabeled:,} images without labels are left out.' if unlabeled else ''
    return dataclasses.replace(source, note=source.note + note)


def _common_names(tables: Sequence[Table], origin: str) -> list[str]:
    """Return the names of the classes. Raises UserError unless all files have the same columns, labels and names."""
    names = {tuple(table.names) for table in tables if table.names}
    if len(names) > 1 or len({(table.column, table.has_text_labels) for table in tables}) > 1:
        different = 'class names' if len(names) > 1 else 'columns'
        raise UserError(f'{origin} holds files of several kinds, with different {different}; use a folder of one kind.')
    return list(names.pop()) if names else []


def _check_file_numbers(names: Sequence[str], origin: str) -> None:
    """Raise UserError if one of train-00000-of-00294.parquet and so on is missing."""
    numbers = collections.defaultdict(set)
    for name in names:
        if match := re.fullmatch(r'(.*?)-?(\d+)-of-(\d+)(.*)', name):
            numbers[match[1], match[3], match[4]].add(int(match[2]))
    for (prefix, total, suffix), present in numbers.items():
        if missing := sorted(set(range(int(total))) - present) if int(total) <= 10**6 else ():
            raise UserError(
                f'{origin} has {len(present):,} of the {int(total):,} files {prefix}-*-of-{total}{suffix} and lacks '
                f'number {missing[0]}; download what is missing.'
            )


def _splits_of_files(files: Sequence[Path], origin: str) -> list[str]:
    """Return the split that each name tells, or else the nearest folder's: train-00000-of-00294, default/train/0000.

    All are '' if none tells one. Raises UserError if only some do.
    """
    splits = []
    for file in files:
        told = [split_names.parse_split_name(part)[0] for part in (file.stem, *reversed(file.parts[:-1]))]
        splits.append(next(filter(None, told), ''))
    silent = [str(file) for file, split in zip(files, splits, strict=True) if not split]
    if silent and any(splits):
        more = f' and {len(silent) - 3:,} more' if len(silent) > 3 else ''
        raise UserError(
            f'{origin}: the names of {", ".join(silent[:3])}{more} do not say which split they belong to, and those of '
            'other files do. Put train, val or test into these names, or move these files elsewhere.'
        )
    return splits


def _classes_by_wnid(rows: Iterable[Row], origin: str) -> dict[int | str, str]:
    """Return label -> WordNet id from the names of the images; empty if they have none."""
    classes: dict[int | str, str] = {}
    for row in rows:
        stem = PurePosixPath(row.name).stem
        match = wordnet.CLASS_SUFFIX.search(stem) or wordnet.TRAINING_IMAGE.fullmatch(stem)
        if match and classes.setdefault(row.label, match[1]) != match[1]:
            raise UserError(
                f'{origin}: {row.name} has label {row.label}, which other images of class {classes[row.label]} have; '
                'download it again.'
            )
    if {row.label for row in rows} != set(classes):
        return {}
    if [classes[label] for label in sorted(classes)] != sorted(set(classes.values())):
        raise UserError(f'{origin}: its labels are not in the order of the WordNet ids; download it again.')
    return classes


def _classes_by_name(rows: Iterable[Row], names: Sequence[str], origin: str) -> dict[int | str, str]:
    """Return label -> the class's name, preceded by the label if two are equal."""
    labels, unique = sorted({row.label for row in rows}), unique_class_names(names)
    if not names:
        return {label: f'{label:04d}' if isinstance(label, int) else label.replace('/', '-') for label in labels}
    for label in labels:
        if not (isinstance(label, int) and 0 <= label < len(names)):
            raise UserError(f'{origin} has an image of label {label!r}, but names for {len(names)} classes.')
    return {label: unique[label] for label in labels}


def _paths_of_rows(rows: Sequence[Row], classes: Mapping[int | str, str], origin: str) -> dict[str, tuple]:
    """Return the locations of rows by the path that each image would have as a file: split/class/name."""
    has_splits = all(row.split for row in rows)
    found: dict[str, tuple] = {}
    for number, row in enumerate(rows):
        folders = [row.split] * has_splits + [classes[row.label]]
        path = '/'.join([*folders, row.name or f'{number:08d}'])
        if path in found and wordnet.are_wordnet_ids(classes.values()):
            raise UserError(f'{origin} holds {row.name!r} twice; download it again.')
        if path in found:
            path = '/'.join([*folders, f'{number:08d}_{row.name}'])
        found[path] = row.location
    return found


SPEC = SourceSpec('parquet', 'a folder of .parquet files', open_parquet)
