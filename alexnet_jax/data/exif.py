"""EXIF: how the camera was held. Reads one number out of a photograph's metadata; knows nothing of pixels.

An EXIF block is a TIFF file: byte order, the place of the first directory, and there entries of twelve bytes each (tag,
type, count, value or its place). TIFF 6.0, sections 2 and 8; tag 274 is the orientation, 1 (as stored) to 8.
"""

ORIENTATION = 274
PREFIX = b'Exif\0\0'
SHORT = 3
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes by type
START_OF_FRAMES, END, SCAN, APP1 = 0xD8, 0xD9, 0xDA, 0xE1  # markers of JPEG


def find_exif(data: bytes) -> bytes | None:
    """The EXIF block of a JPEG file; None where there is none before its pixels begin."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], 'big')
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        if marker in (END, SCAN) or length < 2:
            return None
        if marker == APP1 and data[at + 4 : at + 10] == PREFIX:
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return None


def parse_orientation(block: bytes) -> tuple[int, bool]:
    """The orientation that a block asks for, 1 where it asks for none, and whether the block is sound.

    Unsound: cut off, or its first directory or one of that directory's values lies outside; what can be read counts.
    """
    block = block.removeprefix(PREFIX)
    order = {b'II': 'little', b'MM': 'big'}.get(block[:2])
    if order is None:
        return 1, False

    def number(at: int, size: int) -> int:
        if at + size > len(block):
            raise EOFError
        return int.from_bytes(block[at : at + size], order)

    found, sound = 1, True
    try:
        directory = number(4, 4)
        for entry in range(number(directory, 2)):
            at = directory + 2 + 12 * entry
            tag, kind, count, place = number(at, 2), number(at + 2, 2), number(at + 4, 4), number(at + 8, 4)
            size = SIZES.get(kind, 1) * count
            sound = sound and (size <= 4 or place + size <= len(block))
            if tag == ORIENTATION and kind == SHORT:
                found = number(at + 8, 2)
    except EOFError:
        sound = False
    return (found, sound) if found in range(1, 9) else (1, False)
