"""The orientation of a photograph, read from its EXIF metadata.

An EXIF block is a TIFF file: byte order, the offset of the first directory, and there entries of twelve bytes each
(tag, type, count, value or its offset). TIFF 6.0, sections 2 and 8; tag 274 is the orientation, 1 (as stored) to 8.

Own parser, as Pillow's costs more: `Image.open(...).getexif()` takes 60 to 80 us, 9 % of decoding a 500 x 375 JPEG with
simplejpeg, this one 7 to 11 us; and Pillow does not say that a block is broken.
"""

ORIENTATION = 274
PREFIX = b'Exif\0\0'
SHORT = 3
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes by type
END, SCAN, APP1 = 0xD9, 0xDA, 0xE1  # markers of JPEG


def find_exif(data: bytes) -> bytes | None:
    """Return the EXIF block of a JPEG file, None if there is none before its pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], 'big')
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in (END, SCAN) or length < 2:
            return None
        if marker == APP1 and data[at + 4 : at + 10] == PREFIX:
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return None


def parse_orientation(block: bytes) -> tuple[int, bool]:
    """Return the orientation in an EXIF block, 1 if it has none, and whether the block is intact.

    A block is not intact if it is cut off, or if its first directory or one of that directory's values lies outside;
    the orientation is returned if it can be read.
    """
    block = block.removeprefix(PREFIX)
    order = {b'II': 'little', b'MM': 'big'}.get(block[:2])
    if order is None:
        return 1, False

    def number(at: int, size: int) -> int:
        if at + size > len(block):
            raise EOFError
        return int.from_bytes(block[at : at + size], order)

    orientation, intact = 1, True
    try:
        directory = number(4, 4)
        for entry in range(number(directory, 2)):
            at = directory + 2 + 12 * entry
            tag, kind, count, offset = number(at, 2), number(at + 2, 2), number(at + 4, 4), number(at + 8, 4)
            size = SIZES.get(kind, 1) * count
            intact = intact and (size <= 4 or offset + size <= len(block))
            if tag == ORIENTATION and kind == SHORT:
                orientation = number(at + 8, 2)
    except EOFError:
        intact = False
    return (orientation, intact) if orientation in range(1, 9) else (1, False)
