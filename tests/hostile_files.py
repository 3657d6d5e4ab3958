"""Changes tars and images as damaged downloads and hostile archives do, for the tests of sources."""

import io
import struct
import tarfile
import zlib


def tar_member(path, content=b'', **fields):
    """Return a member of a tar, of any kind, and its bytes, for `append_to_tar`."""
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def append_to_tar(data, *members):
    """Return the bytes of a tar, gzipped if it was, with more members."""
    file, is_gzipped = io.BytesIO(), data[:2] == b'\x1f\x8b'
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=file, mode='w:gz' if is_gzipped else 'w') as new,
    ):
        for info in old:
            new.addfile(info, old.extractfile(info))
        for info, content in members:
            new.addfile(info, io.BytesIO(content))
    return file.getvalue()


def make_fake_png(width, height):
    """Return a PNG of a few bytes whose header claims a size."""

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(bytes(100))) + chunk(b'IEND', b'')
