"""Parse XLA's optimized HLO, as `compiled.as_text()` prints it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

ITEM_BITS = {'pred': 8, 's4': 4, 'u4': 4, 'bf16': 16, 'token': 0}
_CALLED = re.compile(r'(?:calls|to_apply|body|branch_computations|called_computations)=\{?((?:%[\w.\-]+(?:, )?)+)')
_ARRAY = re.compile(r'([a-z]\w*)\[([\d,]*)\](\{[^{}]*\})?')


@dataclasses.dataclass(frozen=True)
class ArrayShape:
    """An array of a program. `in_memory` is False in a TPU's vector memory."""

    dtype: str
    sizes: tuple[int, ...]
    in_memory: bool = True

    @property
    def numbers(self) -> int:
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        """Return the bytes that are read or written in memory."""
        digits = re.search(r'\d+', self.dtype)
        bits = ITEM_BITS.get(self.dtype, int(digits[0]) if digits else 0)
        return math.ceil(self.numbers * bits / 8) if self.in_memory else 0


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a computation."""

    name: str
    opcode: str
    results: tuple[ArrayShape, ...]
    operands: tuple[str, ...]
    line: str
    is_root: bool

    @property
    def called(self) -> tuple[str, ...]:
        """Return the names of the computations that it calls."""
        return tuple(name for group in _CALLED.findall(self.line) for name in re.findall(r'%([\w.\-]+)', group))

    @property
    def op_name(self) -> str:
        """Return the path of scopes that JAX gave it."""
        found = re.search(r'op_name="([^"]*)"', self.line)
        return found[1] if found else ''


Computation = dict[str, Instruction]


def parse_computations(text: str) -> Iterator[tuple[str, Computation]]:
    """Yield (name, instructions by name); the entry's name begins with 'ENTRY '."""
    name, found = '', {}
    for line in text.splitlines():
        if header := re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$', line):
            name, found = (header[1] or '') + header[2], {}
        elif line == '}':
            yield name, found
        elif name and ' = ' in line and (instruction := _parse_instruction(line)):
            found[instruction.name] = instruction


def _parse_instruction(line: str) -> Instruction | None:
    left, _, rest = line.strip().partition(' = ')
    end = _matching_end(rest) if rest.startswith('(') else rest.index(' ')
    shape, rest = rest[:end], rest[end:].lstrip()
    if not (opcode := re.match(r'([a-z][\w\-]*)\(', rest)):
        return None
    arguments = rest[opcode.end() - 1 :]
    operands = re.findall(r'%([\w.\-]+)', arguments[: _matching_end(arguments)])
    return Instruction(
        left.removeprefix('ROOT ').lstrip('%'),
        opcode[1],
        parse_shapes(shape),
        tuple(operands),
        line,
        left.startswith('ROOT '),
    )


def _matching_end(text: str) -> int:
    """Return the position behind the parenthesis that closes the first character."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == '(') - (character == ')')
        if depth == 0:
            return place + 1
    return len(text)


def parse_shapes(text: str) -> tuple[ArrayShape, ...]:
    """Return the arrays of a shape as XLA prints it: 'bf16[8,128]{1,0:T(8,128)S(1)}', or a tuple of them."""
    return tuple(
        ArrayShape(dtype, tuple(int(size) for size in sizes.split(',') if size), not re.search(r'S\([1-9]', layout))
        for dtype, sizes, layout in _ARRAY.findall(text)
    )
