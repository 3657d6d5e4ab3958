"""Recognize what a file is by its first bytes, whatever its name says."""

import re

SIGNATURE_BYTES = 512  # as many of a file's first bytes as tell its format
# Format (Pillow's name of those that are decoded) -> pattern of the first bytes. The first that matches holds.
_SIGNATURES = {
    'JPEG': rb'\xff\xd8\xff',
    'PNG': rb'\x89PNG\r\n\x1a\n',
    'WEBP': rb'RIFF....WEBP',
    'GIF': rb'GIF8[79]a',
    'BMP': rb'BM.{4}\0{4}',
    'TIFF': rb'II[*+]\0|MM\0[*+]',
    'AVIF': rb'....ftypavi[fs]',
    'HEIC': rb'....ftyp(he[iv][cxms]|mif1|msf1)',
    'JPEG 2000': rb'\0\0\0\x0cjP  |\xff\x4f\xff\x51',
    'JPEG XL': rb'\0\0\0\x0cJXL |\xff\x0a',
    'Photoshop': rb'8BPS',
    'video': rb'....ftyp|RIFF....AVI |\x1a\x45\xdf\xa3',
    'PDF': rb'%PDF',
    'SVG': rb'\s*(<\?xml.*)?<svg',
    'web page': rb'(?i)(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b',
    'Git LFS pointer': rb'version https://git-lfs',
    'gzip': rb'\x1f\x8b',
    'bzip2': rb'BZh[1-9]',
    'xz': rb'\xfd7zXZ\0',
    'zstd': rb'\x28\xb5\x2f\xfd',
    'lz4': rb'\x04\x22\x4d\x18',
    'compress': rb'\x1f[\x9d\xa0]',
    'lzip': rb'LZIP',
    'zip': rb'PK(\x03\x04|\x05\x06|\x07\x08)',
    '7z': rb'7z\xbc\xaf\x27\x1c',
    'rar': rb'Rar!\x1a\x07',
    'parquet': rb'PAR1',
    'tar': rb'.{257}ustar',
}
_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _SIGNATURES.items()}
_AGAIN = 'download it again or remove it'
# What to do about a file that should be an image and is this; any other one is to be converted.
_REMEDIES = {
    'empty file': _AGAIN,
    'file of zeros': _AGAIN,
    'web page': _AGAIN,
    'Git LFS pointer': 'fetch the image itself by `git lfs pull`',
}


def detect_format(data: bytes) -> str:
    """Return the format that the first bytes tell, a key of _SIGNATURES; '' if they tell none."""
    head = bytes(data[:SIGNATURE_BYTES])
    return next((name for name, pattern in _PATTERNS.items() if pattern.match(head)), '')


def describe_non_image(data: bytes) -> str:
    """Return what a file is that should be an image, and what to do about it."""
    head = bytes(data[:SIGNATURE_BYTES])
    if head.strip(b'\0'):
        name = detect_format(head)
    else:
        name = 'file of zeros' if head else 'empty file'
    return f'({name or f"it begins with {head[:8]!r}"}); {_REMEDIES.get(name, "convert it to one of them")}'
