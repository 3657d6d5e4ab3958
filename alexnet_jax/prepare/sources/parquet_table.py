"""One parquet file of images and labels: its columns, their types, and its rows without the images' bytes."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import advice, tar

COLUMN_NAMES = ('image', 'img'), ('label', 'labels')  # the names each column may have
# Types of Arrow, as pyarrow.types calls them: of an image, or of the field `bytes` of a struct; and of a label.
IMAGE_TYPES = ('binary', 'large_binary', 'binary_view')
TEXT_TYPES = ('string', 'large_string', 'string_view')
NUMBER_TYPES = ('integer', 'boolean', 'floating')
MAX_GROUP_BYTES = 2**33  # that the rows of one group may unpack to


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One labeled image."""

    split: str  # of SPLITS, by the name of its file; '' if that has none
    name: str  # of the image's file; '' if unknown
    label: int | str
    location: tuple


class Table:
    """A file and its columns, by their names."""

    def __init__(self, file: Path, root: Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path, self._relative, self.num_unlabeled = file, file.relative_to(root), 0
        try:
            self._file = pq.ParquetFile(file)
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError, ValueError) as error:
            remedy = advice.advise_on_file(file) if advice.archive_kind(file) in ('tar', 'zip') else 'download it again'
            raise UserError(f'{file} is no whole parquet file ({error}); {remedy}.') from error
        image, label = (next((name for name in names if name in schema.names), '') for names in COLUMN_NAMES)
        if not image or not label:
            expected = ' and '.join(' or '.join(names) for names in COLUMN_NAMES)
            raise UserError(f'{file} has the columns {", ".join(schema.names)}; expected {expected}.')
        kind = schema.field(image).type
        parts = {part.name: part.type for part in kind} if pa.types.is_struct(kind) else {}
        self.column = f'{image}.bytes' if 'bytes' in parts else image
        if not _is_of_type(parts.get('bytes', kind), IMAGE_TYPES):
            self._refuse_column(image, kind, "the files' bytes (binary, or a struct with binary bytes)")
        if self._has_only_nulls():
            raise UserError(
                f'{file}: all of its column {self.column} is empty; write the bytes of the image files into it.'
            )
        self._label, self._label_type = label, schema.field(label).type
        self.has_text_labels = _is_of_type(self._label_type, TEXT_TYPES)
        if not self.has_text_labels and not _is_of_type(self._label_type, NUMBER_TYPES):
            self._refuse_column(label, self._label_type, 'one whole number or text for each image')
        self._name = image if _is_of_type(parts.get('path'), TEXT_TYPES) else ''
        self.names = _metadata_class_names(schema.metadata, label)

    def _refuse_column(self, name: str, kind: Any, expected: str) -> NoReturn:
        raise UserError(
            f'{self._path} has a column {name} of the type {_shorten_type(kind)}; expected {expected}. Convert it.'
        )

    def _has_only_nulls(self) -> bool:
        """Return True if the file's statistics say that no image has bytes."""
        metadata = self._file.metadata
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
        chunks = [chunk for chunk in chunks if chunk.path_in_schema == self.column and chunk.num_values]
        statistics = [chunk.statistics for chunk in chunks]
        nulls = [one.null_count if one and one.has_null_count else 0 for one in statistics]
        return bool(chunks) and nulls == [chunk.num_values for chunk in chunks]

    def iter_rows(self, split: str) -> Iterator[Row]:
        """Yield the rows that have labels, without reading their bytes; count the others."""
        import pyarrow as pa

        file = str(self._relative), tar.file_version(self._path)
        columns = [self._label, *([f'{self._name}.path'] if self._name else [])]
        for group in range(self._file.metadata.num_row_groups):
            size = self._file.metadata.row_group(group).total_byte_size
            if not 0 <= size <= MAX_GROUP_BYTES:
                raise UserError(
                    f'{self._path} has a row group of {size:,} bytes; at most {MAX_GROUP_BYTES:,} are read.'
                )
            try:
                rows = self._file.read_row_group(group, columns, use_threads=False).to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise UserError(f'{self._path} is damaged ({error}); download it again.') from error
            for number, row in enumerate(rows):
                label = row[self._label]
                if label in (None, -1, '') or label != label:  # pandas writes NaN for none
                    self.num_unlabeled += 1
                    continue
                if isinstance(label, float):
                    if not label.is_integer():
                        self._refuse_column(self._label, f'{self._label_type} with {label}', 'whole numbers')
                    label = int(label)
                name = (row[self._name] or {}).get('path') if self._name else ''
                yield Row(split, PurePosixPath(name or '').name, label, (*file, group, number))


def _is_of_type(kind: Any, names: Sequence[str]) -> bool:
    """Return True if an Arrow type, or that of a dictionary's values, is one of these; None is of no type."""
    import pyarrow as pa

    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind is not None and any(getattr(pa.types, f'is_{name}')(kind) for name in names)


def _shorten_type(kind: Any) -> str:
    text = str(kind)
    return text if len(text) <= 80 else f'{text[:80]}...'


def _metadata_class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> list[str]:
    """Return label -> the class's name as Hugging Face's metadata has it; empty if it has none."""
    try:
        names = json.loads((metadata or {})[b'huggingface'])['info']['features'][label]['names']
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return []
