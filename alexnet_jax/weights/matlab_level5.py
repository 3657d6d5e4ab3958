"""Read MATLAB's files (.mat, version 5 to 7): numbers, texts, cells and structs, with bounded memory.

scipy.io reads more kinds, but takes the number of cells in an array on trust and makes room for them first. The format
is MathWorks' "MAT-File Format", level 5.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.weights.size_limits import MAX_RATIO, SMALL_BYTES, read_bounded_file, require_unpacked_fits

# Elements of a file, cells and fields of structs among them; a network of this family has some hundreds.
MAX_ELEMENTS = 100_000
MAX_DEPTH = 16
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8', 16: 'u1'}
_TYPES |= {17: 'u2', 18: 'u4'}
_ENCODINGS = {2: 'utf-8', 4: 'utf-16', 16: 'utf-8', 17: 'utf-16', 18: 'utf-32'}
# Classes of arrays; every other one (sparse, objects, functions) is read as None.
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_MATLAB_TYPES = dict(zip(_NUMERIC, ('f8', 'f4', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8'), strict=True))


class _Element(NamedTuple):
    """One tagged piece of the file: its type, its bytes, and where the next one begins."""

    type: int
    data: memoryview
    end: int


class _MatReader:
    def __init__(self, path: str | os.PathLike[str], order: str):
        self.path, self._order, self._left = path, order, MAX_ELEMENTS

    def error(self, problem: str) -> UserError:
        return UserError(f'{self.path} is damaged: {problem}. Fetch or write it again, and compare its sum.')

    def read_element(self, data: memoryview, position: int) -> _Element:
        """Return the element at `position`; small ones have type and size in four bytes."""
        self._left -= 1
        if self._left < 0:
            raise self.error(f'it has more than {MAX_ELEMENTS:,} elements, where a network has some hundreds')
        if len(data) - position < 8:
            raise self.error('an element is cut off')
        kind, size = (int(each) for each in np.frombuffer(data[position : position + 8], f'{self._order}u4'))
        start = position + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
            end = position + 8
        else:
            # Compressed elements alone are not padded to eight bytes.
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data) or (start == position + 4 and size > 4):
            raise self.error(f'an element of {size:,} bytes is cut off')
        return _Element(kind, data[start : start + size], min(end, len(data)))

    def read_elements(self, data: memoryview, position: int = 0) -> list[_Element]:
        """Return the elements one after another to the end of the data."""
        found = []
        while position < len(data):
            found.append(self.read_element(data, position))
            position = found[-1].end
        return found

    def read_numbers(self, element: _Element) -> np.ndarray:
        """Return the numbers of an element, flat."""
        dtype = _TYPES.get(element.type)
        if dtype is None or len(element.data) % np.dtype(dtype).itemsize:
            raise self.error(f'{len(element.data):,} bytes of the type {element.type} are no numbers')
        return np.frombuffer(element.data, self._order + dtype)

    def read_matrix(self, data: memoryview, depth: int = 0) -> tuple[str, Any]:
        """Return name and value of an array: an ndarray, a str, a list of cells, a dict of fields, or a list of them.

        The order of cells and structs is MATLAB's, by columns.
        """
        if not data:
            return '', np.zeros((0, 0))
        if depth > MAX_DEPTH:
            raise self.error(f'its cells are nested more than {MAX_DEPTH} deep')
        parts = self.read_elements(data)
        if len(parts) < 3:
            raise self.error('an array has no dimensions or no name')
        flags, shape = self.read_numbers(parts[0]), [int(side) for side in self.read_numbers(parts[1])]
        name, content = bytes(parts[2].data).decode('latin-1'), parts[3:]
        if not flags.size or len(shape) < 2 or min(shape) < 0:
            raise self.error(f'{name or "an array"} has the dimensions {shape[:8]}')
        count = 1
        for side in shape:
            count *= side
        kind = int(flags[0]) & 0xFF
        if kind in _NUMERIC:
            return name, self._read_array(name, kind, content, shape, count)
        if kind == _CHAR:
            return name, self._read_text(content)
        if kind == _CELL:
            self._require_parts(name, len(content), count)
            return name, [self._read_nested(part, depth) for part in content]
        if kind == _STRUCT:
            return name, self._read_structs(name, content, count, depth)
        return name, None

    def _read_array(self, name: str, kind: int, content: list[_Element], shape: list[int], count: int) -> np.ndarray:
        numbers = self.read_numbers(content[0]) if content else np.zeros(0)
        if numbers.size != count:
            raise self.error(f'{name or "an array"} of {shape} has {numbers.size:,} numbers')
        # MATLAB stores whole numbers in fewer bytes than their class has.
        return numbers.astype(_MATLAB_TYPES[kind], copy=False).reshape(shape, order='F')

    def _read_text(self, content: list[_Element]) -> str:
        if not content:
            return ''
        encoding = _ENCODINGS.get(content[0].type)
        if encoding is None:
            raise self.error(f'a text is of the type {content[0].type}')
        if encoding != 'utf-8':
            encoding += '-le' if self._order == '<' else '-be'
        return bytes(content[0].data).decode(encoding, 'replace')

    def _read_structs(self, name: str, content: list[_Element], count: int, depth: int) -> Any:
        if len(content) < 2 or self.read_numbers(content[0]).size != 1:
            raise self.error(f'{name or "a struct"} has no field names')
        width = int(self.read_numbers(content[0])[0])
        text = bytes(content[1].data)
        if not 0 < width <= 256 or len(text) % width:
            raise self.error(f'{name or "a struct"} has field names of {width} letters')
        fields = [text[at : at + width].partition(b'\0')[0].decode('latin-1') for at in range(0, len(text), width)]
        if len(set(fields)) < len(fields):
            raise self.error(f'{name or "a struct"} has two fields of one name')
        self._require_parts(name, len(content) - 2, count * len(fields))
        values = [self._read_nested(part, depth) for part in content[2:]]
        structs = [
            dict(zip(fields, values[at : at + len(fields)], strict=True))
            for at in range(0, len(values), len(fields) or 1)
        ]
        return structs[0] if len(structs) == 1 else structs

    def _require_parts(self, name: str, found: int, expected: int) -> None:
        if found != expected:
            raise self.error(f'{name or "an array"} has {found:,} of {expected:,} elements')

    def _read_nested(self, element: _Element, depth: int) -> Any:
        if element.type != _MATRIX:
            raise self.error(f'a cell is of the type {element.type}')
        return self.read_matrix(element.data, depth + 1)[1]


def read_mat(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return the variables of a .mat file by name: arrays, texts, lists (cells) and dicts (structs).

    Raises UserError if it is damaged, or of version 4 or 7.3.
    """
    data = memoryview(read_bounded_file(path, '.mat'))
    head = bytes(data[:_HEADER_BYTES])
    if head.startswith(b'\x89HDF') or b'MATLAB 7.3' in head:
        raise UserError(f"{path} is of MATLAB's version 7.3, which is HDF5; save it by save(..., '-v7').")
    if len(head) < _HEADER_BYTES or head[126:128] not in (b'IM', b'MI'):
        raise UserError(f'{path} is no .mat file of version 5 to 7; fetch or write it again, and compare its sum.')
    reader = _MatReader(path, '<' if head[126:128] == b'IM' else '>')
    variables: dict[str, Any] = {}
    budget = max(SMALL_BYTES, MAX_RATIO * len(data))
    for element in reader.read_elements(data, _HEADER_BYTES):
        if element.type == _COMPRESSED:
            unpacked = _unpack_element(reader, element.data, len(data), budget)
            budget -= len(unpacked)
            element = reader.read_element(unpacked, 0)
        if element.type != _MATRIX:
            raise reader.error(f'a variable is of the type {element.type}')
        name, value = reader.read_matrix(element.data)
        if name in variables:
            raise reader.error(f'the variable {name!r} occurs twice')
        variables[name] = value
    return variables


def _unpack_element(reader: _MatReader, data: memoryview, packed: int, budget: int) -> memoryview:
    """Return what one compressed element holds, at most `budget` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, budget + 1)
    except zlib.error as error:
        raise reader.error(f'a compressed element cannot be unpacked ({error})') from None
    if len(unpacked) > budget:
        require_unpacked_fits(reader.path, max(SMALL_BYTES, MAX_RATIO * packed) + 1, packed)
    if not unpacker.eof:
        raise reader.error('a compressed element is cut off')
    return memoryview(unpacked)
