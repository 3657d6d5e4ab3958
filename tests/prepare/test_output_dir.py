"""Output directory: the free space of the disk is checked before anything is written."""

import collections
import shutil

import pytest

from alexnet_jax.data.encoding import RAW, EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import builder, output_dir, sources

Usage = collections.namedtuple('Usage', 'total used free')


def with_free(monkeypatch, free):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(free, 0, free))


@pytest.mark.parametrize('copies', [1, 2])
def test_room_for_so_many_images_is_asked_for(copies, tmp_path, monkeypatch):
    needed = 1000 * (3 * 64**2 + 700) * copies + output_dir.MARGIN_BYTES
    with_free(monkeypatch, needed)
    output_dir.require_space_for_dataset(tmp_path / 'd', 1000, EncodingSpec(64, RAW), copies)
    with_free(monkeypatch, needed - 1)
    with pytest.raises(UserError, match='needs [34][0-9] MB.* MB free; free some space'):
        output_dir.require_space_for_dataset(tmp_path / 'd', 1000, EncodingSpec(64, RAW), copies)


def test_what_lies_there_already_counts(tmp_path, monkeypatch):
    (tmp_path / 'x-train.array_record-00000-of-00001').write_bytes(bytes(10**6))
    with_free(monkeypatch, 1000 * (3 * 64**2 + 700) + output_dir.MARGIN_BYTES - 10**6)
    output_dir.require_space_for_dataset(tmp_path, 1000, EncodingSpec(64, RAW), copies=1)


def test_a_disk_without_room_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    with_free(monkeypatch, 1000)
    source = sources.open_source('cutouts', options=sources.SourceOptions(image_size=16, num_cutouts=(10, 0, 0)))
    with pytest.raises(UserError, match='free some space'):
        builder.prepare_dataset(source, tmp_path / 'd', EncodingSpec(16), progress=False)
    assert not (tmp_path / 'd').exists()
