"""Object stores: a dataset goes there whole and comes back whole, or not at all. A folder stands in for the store."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem

from alexnet_jax import commands
from alexnet_jax.config import validate
from alexnet_jax.data import dataset, remote_storage
from alexnet_jax.data.encoding import RAW, EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import builder, sources
from configs import quickstart

URL = 'gs://bucket/pets/dataset'


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder that is gs:// and s3:// in this test."""
    root = tmp_path / 'store'
    root.mkdir()

    class StandIn(LocalFileSystem):
        cachable = False

        @classmethod
        def _strip_protocol(cls, path):
            path = os.fspath(path)
            return str(root / path.partition('://')[2]) if '://' in path else path

        def exists(self, path, **options):
            return os.path.exists(self._strip_protocol(path))

    monkeypatch.setattr(fsspec, 'filesystem', lambda name, **options: StandIn())
    backend.fsspec_backend._get_filesystem.cache_clear()
    yield root
    backend.fsspec_backend._get_filesystem.cache_clear()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp('whole') / 'dataset'
    source = sources.open_source('cutouts', options=sources.SourceOptions(image_size=16, num_cutouts=(30, 10, 10)))
    builder.prepare_dataset(source, directory, EncodingSpec(16, RAW), progress=False)
    return directory


def content(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.suffix != '.png'}


@pytest.mark.parametrize('url', [URL, 's3://bucket/dataset'])
def test_a_dataset_goes_to_the_store_and_comes_back_the_same(url, whole, bucket, tmp_path):
    assert not remote_storage.remote_dataset_exists(url)
    remote_storage.upload_dataset(whole, url)
    assert content(bucket / url.partition('://')[2]) == content(whole) and remote_storage.remote_dataset_exists(url)
    remote_storage.download_dataset(url, tmp_path / 'copy')
    (tmp_path / 'copy' / remote_storage.LOCK_FILE).unlink()
    assert content(tmp_path / 'copy') == content(whole) and not any(dataset.find_problems(tmp_path / 'copy').values())
    assert dataset.open_dataset(tmp_path / 'copy').checksum == dataset.open_dataset(whole).checksum


def test_the_manifest_comes_last_there_and_here(whole, bucket, tmp_path, monkeypatch):
    """So that what was broken off on the way is never taken for a dataset, and goes on where it was."""
    order = []
    monkeypatch.setattr(
        remote_storage,
        '_remote_path',
        lambda *names, at=remote_storage._remote_path: order.append(names[-1]) or at(*names),
    )
    remote_storage.upload_dataset(whole, URL)
    assert order[-1] == dataset.MANIFEST_FILE and len(order) > 8
    copied = remote_storage._copy_with_digest

    def breaking(source, out, size, done=[]):  # noqa: B006
        done.append(size)
        if len(done) == 4:
            raise OSError('the line is broken')
        return copied(source, out, size)

    monkeypatch.setattr(remote_storage, '_copy_with_digest', breaking)
    with pytest.raises(UserError, match='cannot be reached .*the line is broken'):
        remote_storage.download_dataset(URL, tmp_path / 'copy')
    with pytest.raises(UserError, match='holds no finished dataset'):
        dataset.open_dataset(tmp_path / 'copy')
    kept = {path.name: path.stat().st_ino for path in (tmp_path / 'copy').iterdir() if path.stat().st_size}
    monkeypatch.setattr(remote_storage, '_copy_with_digest', copied)
    remote_storage.download_dataset(URL, tmp_path / 'copy')
    assert not any(dataset.find_problems(tmp_path / 'copy').values())
    now = {path.name: path.stat().st_ino for path in (tmp_path / 'copy').iterdir()}
    assert len([name for name in kept if now.get(name) == kept[name]]) >= 3  # not copied again


def test_a_damaged_file_there_is_named_and_nothing_is_taken_for_a_dataset(whole, bucket, tmp_path):
    remote_storage.upload_dataset(whole, URL)
    shard = bucket / 'bucket/pets/dataset/cutouts-test.array_record-00000-of-00001'
    for damaged in (shard.read_bytes()[:-1], shard.read_bytes() + b'x', shard.read_bytes()[:-1] + b'?'):
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match='cutouts-test.array_record-00000-of-00001 is damaged'):
            remote_storage.download_dataset(URL, tmp_path / 'copy')
        assert not (tmp_path / 'copy' / dataset.MANIFEST_FILE).exists()


@pytest.mark.parametrize('change', [
    lambda manifest: {**manifest, 'checksum': '0'},
    lambda manifest: {**manifest, 'files': {'../../escaped': manifest['files']['report.json']}},
    lambda manifest: [],
])  # fmt: skip
def test_a_manifest_that_cannot_be_right_is_refused(change, whole, bucket, tmp_path):
    remote_storage.upload_dataset(whole, URL)
    file = bucket / 'bucket/pets/dataset' / dataset.MANIFEST_FILE
    changed = change(json.loads(file.read_text()))
    if isinstance(changed, dict) and changed['checksum'] != '0':
        changed['checksum'] = dataset.manifest_checksum(changed)
    file.write_text(json.dumps(changed))
    with pytest.raises(UserError, match='manifest.json is damaged'):
        remote_storage.download_dataset(URL, tmp_path / 'copy')
    assert not (tmp_path / 'copy').exists()


def test_another_dataset_is_left_alone_here_and_there(whole, bucket, tmp_path):
    other = tmp_path / 'other'
    source = sources.open_source('cutouts', options=sources.SourceOptions(image_size=16, num_cutouts=(31, 10, 10)))
    builder.prepare_dataset(source, other, EncodingSpec(16, RAW), progress=False)
    remote_storage.upload_dataset(whole, URL)
    before = content(bucket / 'bucket/pets/dataset'), content(other)
    with pytest.raises(UserError, match='gs://bucket/pets/dataset holds another dataset'):
        remote_storage.upload_dataset(other, URL)
    with pytest.raises(UserError, match='other holds another dataset than gs://'):
        remote_storage.download_dataset(URL, other)
    remote_storage.upload_dataset(whole, URL)
    assert before == (content(bucket / 'bucket/pets/dataset'), content(other))


def test_a_disk_without_room_is_refused_before_anything_is_copied(whole, bucket, tmp_path, monkeypatch):
    remote_storage.upload_dataset(whole, URL)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10, 0, 10))
    with pytest.raises(UserError, match='The dataset at gs://.* needs 0 MB .* free some space'):
        remote_storage.download_dataset(URL, tmp_path / 'copy')
    assert [path.name for path in (tmp_path / 'copy').iterdir()] == [remote_storage.LOCK_FILE]


def config_of(**fields):
    config = quickstart.get_config()
    config.update_from_flattened_dict({
        'prepare.num_cutouts': '30,10,10', 'train.batch_size': 10, 'train.num_epochs': 1.0, 'evaluate.batch_size': 10,
        'evaluate.views': 1, 'log.tensorboard': False, 'mesh': '1,1', 'data.directory': URL, **fields,
    })  # fmt: skip
    return config


def test_a_run_prepares_into_the_store_and_another_machine_reads_from_it(bucket, tmp_path, without_plots):
    commands.run('prepare', config_of(), str(tmp_path / 'here'))
    there = bucket / 'bucket/pets/dataset'
    assert content(there) == content(tmp_path / 'here' / 'dataset') and (there / 'contact.png').exists()
    without_source = {'prepare.source': 'folder'}  # nothing to prepare from
    commands.run('train', config_of(**without_source), str(tmp_path / 'elsewhere'))
    figures = commands.run('evaluate', config_of(**without_source), str(tmp_path / 'elsewhere'))
    assert figures['images'] == 10 and figures['checkpoint_step'] == 3
    assert json.loads((tmp_path / 'elsewhere' / 'run.json').read_text())['data.directory'] == URL


def test_who_waited_while_another_process_copied_reads_no_file_again(whole, bucket, tmp_path, monkeypatch):
    remote_storage.upload_dataset(whole, URL)
    lock, copied = remote_storage.lock_file, []

    @contextlib.contextmanager
    def after_another(path):
        with lock(path):
            shutil.copytree(whole, path.parent, dirs_exist_ok=True)
            yield copied.append(path.parent)

    monkeypatch.setattr(remote_storage, 'lock_file', after_another)
    monkeypatch.setattr(
        remote_storage, '_is_up_to_date', lambda path, _: pytest.fail(f'{path} is read whole once more')
    )
    remote_storage.download_dataset(URL, tmp_path / 'copy')
    assert copied and dataset.open_dataset(tmp_path / 'copy').checksum == dataset.open_dataset(whole).checksum


def test_where_nothing_lies_there_and_nothing_says_from_what_it_is_said(bucket, tmp_path):
    with pytest.raises(UserError, match='no prepared dataset'):
        commands.run('train', config_of(**{'prepare.source': 'folder'}), str(tmp_path / 'run'))
    with pytest.raises(UserError, match='Set --workdir'):
        commands.run('prepare', config_of())


def test_a_store_that_cannot_be_reached_is_said_before_any_work(tmp_path, monkeypatch):
    def missing(name, **options):
        raise ImportError(f'Please install {name}fs')

    backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setattr(fsspec, 'filesystem', missing)
    with pytest.raises(UserError, match='gs://bucket.* cannot be reached without gcsfs .*; run: pip install gcsfs'):
        commands.run('prepare', config_of(), str(tmp_path / 'run'))
    with pytest.raises(UserError, match='without s3fs'):
        remote_storage.upload_dataset(tmp_path, 's3://b') if remote_storage.remote_dataset_exists('s3://b') else None
    with pytest.raises(UserError, match='not in a supported store; choose one of gs://, s3://'):
        commands.run('prepare', config_of(**{'data.directory': 'ftp://x/y'}), str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_what_has_to_lie_on_a_disk_is_refused_in_a_store():
    with pytest.raises(UserError, match='images are read from a disk'):
        validate.validate_config(config_of(**{'prepare.source': 'tar', 'prepare.path': 'gs://bucket/images.tar'}))
    with pytest.raises(UserError, match='is not a folder on a disk'):
        validate.validate_workdir('gs://bucket/run', needed=True)
