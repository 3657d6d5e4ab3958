"""TFRecord files, in which TFDS keeps datasets by default, read by record number without TensorFlow.

A record is its length (8 bytes), a checksum of that (4), its bytes, and a checksum of them (4). The checksums are
CRC-32C, which Python lacks; a damaged image is detected when it is decoded.
"""

import os
import struct
from collections.abc import Iterator, Sequence

from alexnet_jax.errors import UserError

HEADER_BYTES, FOOTER_BYTES = 12, 4


class TFRecordFiles:
    """The records of some files, in order."""

    def __init__(self, files: Sequence[str]):
        self._records = [(file, *record) for file in files for record in _iter_records(file)]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> bytes:
        file, offset, length = self._records[number]
        with open(file, 'rb') as stream:
            stream.seek(offset)
            return stream.read(length)


def _iter_records(file: str) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each record. Raises UserError if the file is cut off or damaged."""
    size, offset = os.path.getsize(file), 0
    with open(file, 'rb') as stream:
        while offset < size:
            stream.seek(offset)
            header = stream.read(HEADER_BYTES)
            length = struct.unpack('<Q', header[:8])[0] if len(header) == HEADER_BYTES else size
            if offset + HEADER_BYTES + length + FOOTER_BYTES > size:
                raise UserError(f'{file} is damaged or cut off at byte {offset:,}; prepare or download it again.')
            yield offset + HEADER_BYTES, length
            offset += HEADER_BYTES + length + FOOTER_BYTES
