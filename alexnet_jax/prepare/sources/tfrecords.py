"""TFRecord files, in which TFDS keeps datasets by default, read without TensorFlow: records by their numbers.

A record is stored as its length (8 bytes), a checksum of that (4), its bytes, and a checksum of them (4). The checksums
are of a kind (CRC-32C) that Python has not; an image that is damaged is noticed when it is decoded.
"""

import os
import struct
from collections.abc import Iterator, Sequence

from alexnet_jax.errors import UserError

HEADER_BYTES, FOOTER_BYTES = 12, 4  # bytes about a record


class TFRecordFiles:
    """The records of some files, in order."""

    def __init__(self, files: Sequence[str]):
        self._places = [(file, *place) for file in files for place in _iter_records(file)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> bytes:
        file, offset, length = self._places[number]
        with open(file, 'rb') as stream:
            stream.seek(offset)
            return stream.read(length)


def _iter_records(file: str) -> Iterator[tuple[int, int]]:
    """Offset and length of each record. Raises UserError where the file is cut off or damaged."""
    size, at = os.path.getsize(file), 0
    with open(file, 'rb') as stream:
        while at < size:
            stream.seek(at)
            head = stream.read(HEADER_BYTES)
            length = struct.unpack('<Q', head[:8])[0] if len(head) == HEADER_BYTES else size
            if at + HEADER_BYTES + length + FOOTER_BYTES > size:
                raise UserError(f'{file} is damaged or cut off at byte {at:,}; prepare or fetch it again.')
            yield at + HEADER_BYTES, length
            at += HEADER_BYTES + length + FOOTER_BYTES
