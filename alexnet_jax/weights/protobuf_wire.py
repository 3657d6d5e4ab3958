"""Read protobuf messages without their schemas: fields by number, as Caffe's and ONNX's files hold them.

Only what is asked for is decoded, nothing nested by itself, and the number of fields of a file is bounded, so that no
file of a given size costs more than a small multiple of it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.weights.size_limits import read_bounded_file

# Of a whole file; a network of this family has some hundreds.
MAX_FIELDS = 100_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message:
    """The fields of one message. Every method takes a field's number; what is damaged raises UserError."""

    def __init__(self, data: memoryview, source: _Source):
        self._source = source
        self._fields: dict[int, list[tuple[int, int | memoryview]]] = {}
        position = 0
        while position < len(data):
            source.count_field()
            key, position = source.read_varint(data, position)
            value: int | memoryview
            if (wire_type := key & 7) == _VARINT:
                value, position = source.read_varint(data, position)
            else:
                if wire_type == _BYTES:
                    size, position = source.read_varint(data, position)
                elif wire_type in (_FIXED32, _FIXED64):
                    size = 4 if wire_type == _FIXED32 else 8
                else:
                    raise source.error(f'a field has the wire type {wire_type}')
                if size > len(data) - position:
                    raise source.error(f'a field of {size:,} bytes has only {len(data) - position:,} left')
                value = data[position : position + size]
                position += size
            self._fields.setdefault(key >> 3, []).append((wire_type, value))

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integers(self, number: int) -> list[int]:
        """Return a repeated integer, packed or not, as int64."""
        found = []
        for wire_type, value in self._fields.get(number, ()):
            if isinstance(value, int):
                found.append(value)
            elif wire_type == _BYTES:
                position = 0
                while position < len(value):
                    self._source.count_field()
                    each, position = self._source.read_varint(value, position)
                    found.append(each)
            else:
                raise self._source.error(f'field {number} is no integer')
        return [value - 2**64 if value >= 2**63 else value for value in found]

    def integer(self, number: int, default: int = 0) -> int:
        """Return an integer; the last one where there are several."""
        return (self.integers(number) or [default])[-1]

    def float32(self, number: int, default: float = 0.0) -> float:
        """Return a float as its shortest decimal: 1e-4 for the float32 nearest to it."""
        chunk = self.chunk(number)
        if not chunk:
            return default
        if len(chunk) != 4:
            raise self._source.error(f'field {number} is no float')
        return float(str(np.float32(struct.unpack('<f', chunk)[0])))

    def chunk(self, number: int) -> bytes | memoryview:
        """Return the bytes of a field, those of all its occurrences one after another: of repeated fixed numbers."""
        parts = self._views(number)
        return parts[0] if len(parts) == 1 else b''.join(parts)

    def strings(self, number: int) -> list[str]:
        """Return a repeated string."""
        return [bytes(view).decode('utf-8', 'replace') for view in self._views(number)]

    def string(self, number: int, default: str = '') -> str:
        """Return a string; the last one where there are several."""
        return (self.strings(number) or [default])[-1]

    def messages(self, number: int) -> list[Message]:
        """Return a repeated message."""
        return [Message(view, self._source) for view in self._views(number)]

    def message(self, number: int) -> Message:
        """Return a message; an empty one where there is none."""
        return (self.messages(number) or [Message(memoryview(b''), self._source)])[-1]

    def _views(self, number: int) -> Sequence[memoryview]:
        found = self._fields.get(number, ())
        if any(isinstance(value, int) for _, value in found):
            raise self._source.error(f'field {number} is an integer')
        return [value for _, value in found if not isinstance(value, int)]


class _Source:
    """A file while its messages are read: its name for errors, and how many fields it may still have."""

    def __init__(self, path: str | os.PathLike[str], kind: str):
        self._path, self._kind, self._left = path, kind, MAX_FIELDS

    def error(self, problem: str) -> UserError:
        return UserError(
            f'{self._path} is damaged or no {self._kind} file: {problem}. Fetch or write it again, and compare its sum.'
        )

    def count_field(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self.error(f'it has more than {MAX_FIELDS:,} fields, where a network has some hundreds')

    def read_varint(self, data: memoryview, position: int) -> tuple[int, int]:
        """Return the integer at `position`, and where it ends."""
        value = 0
        for index, byte in enumerate(data[position : position + 10]):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value & (2**64 - 1), position + index + 1
        raise self.error('an integer has no end')


def read_message(path: str | os.PathLike[str], kind: str) -> Message:
    """Return the message that a whole file is; `kind` names the format in errors. Raises UserError."""
    return Message(memoryview(read_bounded_file(path, kind)), _Source(path, kind))
