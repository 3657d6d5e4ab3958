"""Fingerprints of shards are a format: builds that were killed under an earlier version continue under this one."""

import pytest

from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.prepare.shard_writer import ShardJob
from alexnet_jax.prepare.sources import Source, cifar10, cutouts, folder, parquet, tar, tfds, zip
from alexnet_jax.prepare.splits import Item

ITEMS = (Item('train/cat/ü.jpg', 1, ('train/cat/ü.jpg', (5, 7))), Item('b', 0, ('b', 2)))
CUTOUTS, FOLDER = cutouts.CutoutReader(3, 16), folder.FolderReader("/home/it's/images")
RAW, JPEG = EncodingSpec(16, 'raw', 90), EncodingSpec(16, 'jpeg', 90)


@pytest.mark.parametrize(
    'reader, count, spec, expected',
    [
        (CUTOUTS, 1, RAW, 'd60b787412a9faa8820a4b258722ca79c02571a60dc1e88e0e0804b4af93c062'),
        (CUTOUTS, 2, JPEG, '2564724e556f6e84099293779e678c5f0e77d82aeb79f0de1517eed0a0ffb87b'),
        (FOLDER, 1, JPEG, 'c7fb80a9800b4860ff848701a695b62bd48f2fe1bb0af329dca3d2dfd2c5233d'),
        (FOLDER, 2, RAW, 'd01c4b6b98666a161a6617c1e041b7b2e5abd3c71b99288c7755d62544993629'),
    ],
)
def test_fingerprints_are_those_of_version_0_2(reader, count, spec, expected):
    """Made by its code, for the same images and settings."""
    source = Source('x', ('a', 'b'), {}, '', 0, reader, True)
    assert ShardJob('p', 'm', source, ITEMS[:count], spec).fingerprint() == expected


def test_readers_have_the_identity_that_version_0_2_gave_them():
    packed = tar.CompressedTarReader('/p', (1, 2))
    identities = {
        tar.TarReader('/p'): "InArchives(root='/p')",
        packed: "InPacked(path='/p', version=(1, 2))",
        cifar10.Cifar10Reader(packed): "InCifar(archive=InPacked(path='/p', version=(1, 2)))",
        zip.ZipReader('/p', (1, 2)): "InZip(path='/p', version=(1, 2))",
        tfds.TfdsReader('/p', (1, 2)): "InTfds(folder='/p', version=(1, 2))",
        parquet.ParquetReader('/p', 'image'): "InParquet(root='/p', column='image')",
    }
    assert {reader: reader.identity for reader in identities} == identities
