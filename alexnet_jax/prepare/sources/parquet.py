"""Parquet files of images and labels, as Hugging Face keeps datasets: ImageNet's among them.

A row has an image's bytes, the name its file had, and a label. ImageNet's names end with the WordNet id.
"""

import collections
import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import expected_counts, tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, source_from_paths, unique_class_names
from alexnet_jax.prepare.splits import SPLIT_NAMES, Item, LabeledImage

COLUMN_NAMES = ('image', 'img'), ('label', 'labels')  # by the names they may have
MAX_GROUP_BYTES = 2**33  # bytes that the rows of one group may unpack to
READ_ROWS = 32  # rows that are read at once


@dataclasses.dataclass(frozen=True)
class ParquetReader:
    """Reads rows, best in their order: `location` is file, version, group of rows, and row in it."""

    root: str
    column: str

    @property
    def identity(self) -> str:
        return f'InParquet(root={self.root!r}, column={self.column!r})'

    def __call__(self, item: Item) -> bytes:
        import pyarrow as pa

        path, version, group, row = item.location
        try:
            data = _open_row_group(f'{self.root}/{path}', version, group, self.column).row(row)
        except (pa.ArrowException, StopIteration) as error:
            raise OSError(f'row {row} of group {group} of {path}: {error}') from error
        if data is None:
            raise OSError(f'row {row} of group {group} of {path} has no bytes')
        return data


class _RowGroup:
    """A group of rows, read forward a few at a time."""

    def __init__(self, path: str, group: int, column: str):
        self._place = path, group, column
        self._begin()

    def _begin(self) -> None:
        import pyarrow.parquet as pq

        path, group, column = self._place
        file = pq.ParquetFile(path, pre_buffer=False)
        self._batches = file.iter_batches(READ_ROWS, row_groups=[group], columns=[column], use_threads=False)
        self._first, self._rows = 0, []

    def row(self, number: int) -> bytes | None:
        if number < self._first:
            self._begin()
        while number >= self._first + len(self._rows):
            self._first += len(self._rows)
            rows = next(self._batches).column(0)
            self._rows = rows.field(0) if rows.type.num_fields else rows  # a struct of the bytes alone
        return self._rows[number - self._first].as_py()


@functools.lru_cache(maxsize=1)
def _open_row_group(path: str, version: tuple[int, int], group: int, column: str) -> _RowGroup:
    """The group that is being read; one in each process."""
    return _RowGroup(path, group, column)


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    split: str  # of arrangement.SPLITS, as its file is called; empty where that tells none
    name: str  # of the image's file, empty where none is told
    label: int | str
    where: tuple


def open_parquet(path: Path, wanted: SourceOptions) -> Source:
    """A folder of files such as train-00000-of-00294.parquet, however deep, or one file."""
    files = sorted(path.rglob('*.parquet')) if path.is_dir() else [path]
    if not files:
        raise UserError(
            f'{path} holds no .parquet files; expected were such as train-00000-of-00294.parquet.'
        )
    root = path if path.is_dir() else path.parent
    _check_file_numbers([str(file.relative_to(root)) for file in files], str(path))
    tables = [_Table(file, root) for file in files]
    rows = [row for table in tables for row in table.rows()]
    if not rows or len({table.column for table in tables}) > 1:
        raise UserError(
            f'{path} holds no rows with labels, or files of several kinds; give a folder of one kind.'
        )
    names = tables[0].names
    classes = _classes_by_wnid(rows, str(path)) or _classes_by_name(rows, names, str(path))
    if wanted.expect != 'any' and len(classes) < len(names):
        lost = next(name for label, name in enumerate(names) if label not in classes)
        raise UserError(
            f'{path} has names for {len(names):,} classes and images of {len(classes):,}, none of {lost!r}; fetch what '
            f'is missing; {expected_counts.RELAX_HINT.format("any")}.'
        )
    is_imagenet = wordnet.are_wordnet_ids(classes.values())
    if is_imagenet and wanted.expect == 'official':
        images = collections.defaultdict(list)
        for row in rows:
            images[row.split].append(LabeledImage('', classes[row.label], ()))
        expected_counts.check_official_counts(images, 'ILSVRC-2012', str(path))
    reader = ParquetReader(str(root), tables[0].column)
    words = {classes[label]: names[label] for label in classes if names} if is_imagenet else {}
    found = _paths_of_rows(rows, classes, str(path))
    source = source_from_paths(path, found, (), wanted, reader, words=words, streamed=True)
    left = sum(table.unlabeled for table in tables)
    note = f' {left:,} images without labels are left out.' if left else ''
    return dataclasses.replace(source, note=source.note + note)


class _Table:
    """A file and its columns, by the names they have."""

    def __init__(self, file: Path, root: Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path, self._relative, self.unlabeled = file, file.relative_to(root), 0
        try:
            self._file = pq.ParquetFile(file)
            schema = self._file.schema_arrow
            features = json.loads((schema.metadata or {}).get(b'huggingface', b'{}')).get('info', {})
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f'{file} is no whole parquet file ({error}); fetch it again.') from error
        image, label = (next((name for name in names if name in schema.names), '') for names in COLUMN_NAMES)
        if not image or not label:
            expected = ' and '.join(' or '.join(names) for names in COLUMN_NAMES)
            raise UserError(f'{file} has the columns {", ".join(schema.names)}; expected were {expected}.')
        kind = schema.field(image).type
        parts = [part.name for part in kind] if pa.types.is_struct(kind) else []
        self.column = f'{image}.bytes' if 'bytes' in parts else image
        self._label, self._name = label, image if 'path' in parts else ''
        self.names: list[str] = features.get('features', {}).get(label, {}).get('names', [])

    def rows(self) -> Iterator[_Row]:
        """The rows that have labels, their bytes unread; the others are counted."""
        import pyarrow as pa

        split, place = _split_of_path(self._relative), (str(self._relative), tar.file_version(self._path))
        columns = [self._label, *([f'{self._name}.path'] if self._name else [])]
        for group in range(self._file.metadata.num_row_groups):
            size = self._file.metadata.row_group(group).total_byte_size
            if not 0 <= size <= MAX_GROUP_BYTES:
                raise UserError(
                    f'{self._path} announces {size:,} bytes in a group; {MAX_GROUP_BYTES:,} are the most.'
                )
            try:
                rows = self._file.read_row_group(group, columns, use_threads=False).to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise UserError(f'{self._path} is damaged ({error}); fetch it again.') from error
            for number, row in enumerate(rows):
                if row[self._label] in (None, -1):
                    self.unlabeled += 1
                    continue
                name = (row[self._name] or {}).get('path') if self._name else ''
                yield _Row(split, PurePosixPath(name or '').name, row[self._label], (*place, group, number))


def _check_file_numbers(names: Sequence[str], origin: str) -> None:
    """Raises UserError where of train-00000-of-00294.parquet and so on one is missing."""
    numbers = collections.defaultdict(set)
    for name in names:
        if told := re.fullmatch(r'(.*?)-?(\d+)-of-(\d+)(.*)', name):
            numbers[told[1], told[3], told[4]].add(int(told[2]))
    for (prefix, total, ending), there in numbers.items():
        if lost := sorted(set(range(int(total))) - there) if int(total) <= 10**6 else ():
            raise UserError(
                f'{origin} has {len(there):,} of the {int(total):,} files {prefix}-*-of-{total}{ending}, and lacks '
                f'number {lost[0]}; fetch what is missing.'
            )


def _split_of_path(relative: Path) -> str:
    """The split that a file's folder or name tells: train-00000-of-00294.parquet, or default/train/0000.parquet."""
    words = (re.match(r'[a-z]*', part.lower())[0] for part in relative.parts)
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), '')


def _classes_by_wnid(rows: Iterable[_Row], origin: str) -> dict[int | str, str]:
    """Label -> WordNet id, as the names of the images tell; empty where they do not."""
    classes: dict[int | str, str] = {}
    for row in rows:
        stem = PurePosixPath(row.name).stem
        told = wordnet.CLASS_SUFFIX.search(stem) or wordnet.TRAINING_IMAGE.fullmatch(stem)
        if told and classes.setdefault(row.label, told[1]) != told[1]:
            raise UserError(
                f'{origin}: {row.name} has label {row.label}, which other images of class {classes[row.label]} have; '
                'fetch it again.'
            )
    if {row.label for row in rows} != set(classes):
        return {}
    if [classes[label] for label in sorted(classes)] != sorted(set(classes.values())):
        raise UserError(f'{origin}: its labels are not in the order of the WordNet ids; fetch it again.')
    return classes


def _classes_by_name(rows: Iterable[_Row], names: Sequence[str], origin: str) -> dict[int | str, str]:
    """Label -> the class's name, with the label before it where two have the same."""
    labels, called = sorted({row.label for row in rows}), unique_class_names(names)
    if not names:
        return {
            label: f'{label:04d}' if isinstance(label, int) else label.replace('/', '-') for label in labels
        }
    for label in labels:
        if not (isinstance(label, int) and 0 <= label < len(names)):
            raise UserError(f'{origin} has an image of label {label!r}, but names for {len(names)} classes.')
    return {label: called[label] for label in labels}


def _paths_of_rows(rows: Sequence[_Row], classes: Mapping[int | str, str], origin: str) -> dict[str, tuple]:
    """Where rows are, by the path that each image would have as a file: split/class/name."""
    has_splits = all(row.split for row in rows)
    found: dict[str, tuple] = {}
    for number, row in enumerate(rows):
        above = [row.split] * has_splits + [classes[row.label]]
        path = '/'.join([*above, row.name or f'{number:08d}'])
        if path in found and wordnet.are_wordnet_ids(classes.values()):
            raise UserError(f'{origin} holds {row.name!r} twice; fetch it again.')
        if path in found:
            path = '/'.join([*above, f'{number:08d}_{row.name}'])
        found[path] = row.where
    return found
