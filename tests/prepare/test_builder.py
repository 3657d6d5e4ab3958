"""Preparation: the same bytes by any number of workers and through any kill; a half dataset never looks whole."""

import contextlib
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet_jax.data import dataset, image_io, statistics
from alexnet_jax.data.encoding import RAW, EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import builder, output_dir, shard_writer, sources
from alexnet_jax.runtime import atomic_io

ROOT = Path(__file__).parents[2]
SIDE = 16
SMALL = 10  # images a shard, in place of 1,024
few = settings(deadline=None, max_examples=20)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(builder, 'MIN_SHARD_SIZE', SMALL)


def cutouts(**changes):
    return sources.open_source(
        'cutouts', options=sources.SourceOptions(**{'image_size': SIDE, 'num_cutouts': (45, 15, 10), **changes})
    )


def prepare(directory, source=None, *, image_size=SIDE, encoding=RAW, jpeg_quality=95, **options):
    spec = EncodingSpec(image_size, encoding, jpeg_quality)
    return builder.prepare_dataset(source or cutouts(), directory, spec, **{'progress': False, **options})


def content(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.is_file()}


def picture(number, size=(30, 20)):
    return np.random.default_rng(number).integers(0, 256, (*size, 3)).astype(np.uint8)


def in_folder(root, count=12):
    for number in range(count):
        path = root / ('cat' if number % 2 else 'dog') / f'{number:02d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)
    return root


def folder(root):
    return sources.open_source('folder', str(root), sources.SourceOptions(validation_fraction=0, test_fraction=0))


# What a dataset holds


def test_every_image_of_the_source_is_a_record_in_its_place(tmp_path):
    numbers = prepare(tmp_path / 'd')
    seconds = numbers.pop('seconds')
    assert numbers == {'train': 45, 'validation': 15, 'test': 10, 'classes': 10, 'image_size': SIDE} and seconds > 0
    opened, source = dataset.open_dataset(tmp_path / 'd'), cutouts()
    assert opened.class_names == source.class_names and opened.note == source.note
    for split, items in source.splits.items():
        records = opened.split(split)
        assert len(records) == len(items)
        for number, item in enumerate(items):
            image, label, name = records[number]
            np.testing.assert_array_equal(image, source.read(item))
            assert (label, name) == (item.label, item.id)


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
def test_images_are_squared_and_stored_as_asked(encoding, tmp_path):
    source = folder(in_folder(tmp_path / 'pets'))
    prepare(tmp_path / 'd', source, encoding=encoding, jpeg_quality=80)
    records = dataset.open_dataset(tmp_path / 'd').split('train')
    for number, item in enumerate(source.splits['train']):
        square = image_io.resize_and_crop(picture(int(item.id[-6:-4])), SIDE)
        stored = square.tobytes() if encoding == 'raw' else image_io.encode_jpeg(square, 80)
        assert records.encoded(number)[0] == stored
        np.testing.assert_array_equal(
            records[number][0], square if encoding == 'raw' else image_io.decode_image(stored)
        )


def test_photographs_of_ones_own_are_turned_upright(tmp_path):
    root = in_folder(tmp_path / 'pets', 4)
    exif = Image.Exif()
    exif[274] = 3  # upside down
    Image.fromarray(picture(0)).save(root / 'dog' / '00.png', exif=exif)
    prepare(tmp_path / 'd', folder(root))
    records = dataset.open_dataset(tmp_path / 'd').split('train')
    upright = image_io.resize_and_crop(picture(0)[::-1, ::-1], SIDE)
    np.testing.assert_array_equal(
        next(r[0] for r in map(records.__getitem__, range(4)) if r[2] == 'dog/00.png'), upright
    )


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
def test_statistics_are_those_of_the_training_pixels_as_they_are_read(encoding, tmp_path):
    prepare(tmp_path / 'd', encoding=encoding)
    opened = dataset.open_dataset(tmp_path / 'd')
    records = opened.split('train')
    pixels = np.array([records[number][0] for number in range(len(records))], np.float64)
    assert opened.mean.dtype == np.float32
    np.testing.assert_array_equal(opened.mean, pixels.mean(axis=0).astype(np.float32))
    covariance = np.cov(pixels.reshape(-1, 3).T, bias=True)
    eigenvalues, eigenvectors = opened.pca_basis
    np.testing.assert_allclose(eigenvectors * eigenvalues @ eigenvectors.T, covariance, rtol=1e-9)
    assert (np.diff(eigenvalues) > 0).all()
    assert (np.abs(eigenvectors).max(axis=0) == eigenvectors.max(axis=0)).all()


@few
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_statistics_from_sums_are_those_from_pixels(count, side, seed):
    batch = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.int64)
    pixels = batch.reshape(-1, 3)
    found = statistics.compute_statistics(batch.sum(axis=0), pixels.T @ pixels, count)
    np.testing.assert_allclose(found['mean'], batch.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found['covariance'], np.cov(pixels.T, bias=True), rtol=1e-9, atol=1e-9)


def test_the_shards_have_the_names_and_lengths_that_are_promised(tmp_path):
    prepare(tmp_path / 'd')
    names = [f'cutouts-train.array_record-{shard:05d}-of-00005' for shard in range(5)]
    names += [f'cutouts-validation.array_record-{shard:05d}-of-00002' for shard in range(2)]
    names += ['cutouts-test.array_record-00000-of-00001']
    others = ['dataset_info.json', 'features.json', 'label.labels.txt', 'manifest.json', 'statistics.npz']
    others += ['README.md', 'report.json']
    assert sorted(os.listdir(tmp_path / 'd')) == sorted(names + others)


def test_a_split_has_no_more_shards_than_images_in_one():
    parts = builder._divide_into_shards(tuple(range(SMALL * SMALL * 3 + 1)))
    assert len(parts) <= SMALL and sum(parts, ()) == tuple(range(SMALL * SMALL * 3 + 1))


# The same bytes


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp('unbroken') / 'd'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, 'MIN_SHARD_SIZE', SMALL)
        prepare(directory)
    return content(directory)


def test_two_workers_write_the_bytes_of_one(unbroken, tmp_path):
    prepare(tmp_path / 'd', num_workers=2)
    assert content(tmp_path / 'd') == unbroken


class Killed(BaseException):
    """As if the process ended here, but for what `finally` does."""


def killing(monkeypatch, happens):
    """Ends the preparation when a file is about to be put in its place (path, False) or just was (path, True)."""
    put = atomic_io.replace_file

    def put_or_die(partial, path):
        if happens(Path(path).name, False):
            raise Killed
        put(partial, path)
        if happens(Path(path).name, True):
            raise Killed

    monkeypatch.setattr(atomic_io, 'replace_file', put_or_die)


def test_killed_before_or_after_any_file_it_goes_on_to_the_same_bytes(unbroken, tmp_path, monkeypatch):
    moments = []
    with monkeypatch.context() as patch:
        killing(patch, lambda *moment: moments.append(moment))
        prepare(tmp_path / 'counted')
    assert len(moments) == 2 * (2 * 8 + 4)  # shards with their metadata, statistics, report, README, manifest

    for number, moment in enumerate(moments):
        directory = tmp_path / str(number)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killing(patch, lambda *now, at=moment: now == at)
            prepare(directory)
        if moment != ('manifest.json', True):
            with pytest.raises(UserError, match='holds no finished dataset'):
                dataset.open_dataset(directory)
        prepare(directory)
        assert content(directory) == unbroken, moment
        assert not (directory / builder.STAGING_DIR).exists()


SCRIPT = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from alexnet_jax.data import image_io
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.prepare import builder, sources
builder.MIN_SHARD_SIZE = {SMALL}
resize = image_io.resize_and_crop
def slowly(image, side):
    time.sleep(0.03)
    return resize(image, side)
image_io.resize_and_crop = slowly
if __name__ == '__main__':
    source = sources.open_source('cutouts', options=sources.SourceOptions(image_size={SIDE}, num_cutouts=(45, 15, 10)))
    spec = EncodingSpec({SIDE}, 'raw')
    builder.prepare_dataset(source, sys.argv[1], spec, num_workers=int(sys.argv[2]))
"""


def children(process):
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f'/proc/{process}/task/{process}/children').read_text().split()]
    return []


def is_running(process):
    with contextlib.suppress(OSError):
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    return False


def wait_until(happened, seconds=30):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, 'it did not happen'
        time.sleep(0.005)


@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='looks for orphans in /proc')
@pytest.mark.parametrize('workers', [1, 2])
def test_killed_by_the_system_it_leaves_no_orphans_and_goes_on_to_the_same_bytes(workers, unbroken, tmp_path):
    script, directory = tmp_path / 'script.py', tmp_path / 'd'
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(directory), str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        wait_until(lambda: len(list(directory.glob('*of-00005'))) >= 2)
        wait_until(lambda: list(directory.glob('*.partial')))
        born = children(process.pid)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: not any(map(is_running, born)))
    whole = list(directory.glob('*of-0000?'))
    assert 2 <= len(whole) < 8
    with pytest.raises(UserError, match='holds no finished dataset'):
        dataset.open_dataset(directory)
    kept = {path.name: path.stat().st_ino for path in whole if (directory / '.preparing' / f'{path.name}.npz').exists()}
    prepare(directory)
    assert content(directory) == unbroken
    assert {name: (directory / name).stat().st_ino for name in kept} == kept  # not written again
    assert not any(dataset.find_problems(directory).values())


def half(directory, monkeypatch, **options):
    """A preparation that was killed when it had all shards and nothing else."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killing(patch, lambda name, after: name == dataset.STATISTICS_FILE)
        prepare(directory, **options)


def test_other_settings_over_a_half_dataset_start_clean(unbroken, tmp_path, monkeypatch):
    for number, options in enumerate(
        (
            {'encoding': 'jpeg'},
            {'image_size': 8},
            {'source': cutouts(seed=1)},
            {'source': cutouts(num_cutouts=(75, 15, 10))},
            {'source': folder(in_folder(tmp_path / 'pets', 30))},
        )
    ):
        directory = tmp_path / f'd{number}'
        half(directory, monkeypatch, **options)
        prepare(directory)
        assert content(directory) == unbroken, options


def test_a_shard_that_was_damaged_meanwhile_is_made_again(unbroken, tmp_path, monkeypatch):
    half(tmp_path / 'd', monkeypatch)
    shard = tmp_path / 'd' / 'cutouts-train.array_record-00003-of-00005'
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    prepare(tmp_path / 'd')
    assert content(tmp_path / 'd') == unbroken


def test_an_image_that_was_changed_meanwhile_is_read_again(tmp_path):
    root = in_folder(tmp_path / 'pets', 24)
    (root / 'dog' / '22.png').write_bytes(b'not yet')
    with pytest.raises(UserError, match='1 image cannot be read'):
        prepare(tmp_path / 'd', folder(root))
    Image.fromarray(picture(22)).save(root / 'dog' / '22.png')
    Image.fromarray(picture(99)).save(root / 'cat' / '01.png')
    prepare(tmp_path / 'd', folder(root))
    prepare(tmp_path / 'afresh', folder(root))
    assert content(tmp_path / 'd') == content(tmp_path / 'afresh')


# What is refused, and what is left alone


def test_leftovers_of_killed_preparations_are_cleared_and_only_those(tmp_path, monkeypatch):
    directory = tmp_path / 'd'
    half(directory, monkeypatch)
    (directory / 'cutouts-train.array_record-00001-of-00005.partial').write_bytes(b'half')
    (directory / 'manifest.json.partial').write_bytes(b'half')
    (directory / '.cutouts-train.array_record-00001-of-00005.12.partial').write_bytes(b'half')
    (directory / '.contact.png.12').write_bytes(b'half')
    (directory / 'old-train.array_record-00000-of-00002').write_bytes(b'of another source')
    (directory / 'notes.txt').write_text('mine')
    (directory / 'mine.partial').write_text('mine')
    (directory / 'folder').mkdir()
    prepare(directory)
    assert {'notes.txt', 'mine.partial', 'folder'} < set(os.listdir(directory))
    assert (
        not list(directory.glob('old*'))
        + list(directory.glob('cutouts*.partial'))
        + list(directory.glob('m*.json.*'))
        + list(directory.glob('.c*'))
    )
    assert not any(dataset.find_problems(directory).values())


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path):
    in_folder(tmp_path / 'pets')
    before = sorted(path for path in (tmp_path / 'pets').rglob('*'))
    with pytest.raises(UserError, match="holds other files, such as 'cat'"):
        prepare(tmp_path / 'pets')
    assert sorted(path for path in (tmp_path / 'pets').rglob('*')) == before


def test_a_path_that_cannot_become_a_directory_gets_a_sentence(tmp_path):
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(UserError, match='cannot hold a dataset'):
            prepare(path)


def test_the_same_dataset_is_not_made_again(tmp_path, monkeypatch):
    prepare(tmp_path / 'd')
    monkeypatch.setattr(shard_writer, 'write_shard', None)
    assert prepare(tmp_path / 'd')['train'] == 45


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'encoding': 'jpeg'}, 'encoding raw, not jpeg'),
        ({'image_size': 8}, 'side 16, not 8'),
        ({'source': 'seed'}, 'seed 0, not 1'),
        ({'source': 'counts'}, "'test': 10}, not {'train': 45, 'validation': 15, 'test': 11}"),
    ],
)
def test_another_dataset_in_the_same_place_gets_a_sentence(options, sentence, tmp_path):
    prepare(tmp_path / 'd')
    before = content(tmp_path / 'd')
    made = {'seed': cutouts(seed=1), 'counts': cutouts(num_cutouts=(45, 15, 11))}
    if 'source' in options:
        options = {'source': made[options['source']]}
    with pytest.raises(UserError, match=sentence):
        prepare(tmp_path / 'd', **options)
    assert content(tmp_path / 'd') == before


def test_a_dataset_that_lost_a_file_is_not_taken_for_whole(tmp_path):
    prepare(tmp_path / 'd')
    (tmp_path / 'd' / 'cutouts-test.array_record-00000-of-00001').unlink()
    with pytest.raises(UserError, match='test.array_record-00000-of-00001 is missing'):
        prepare(tmp_path / 'd')


def test_two_preparations_at_once_get_a_sentence(tmp_path):
    (tmp_path / 'd' / builder.STAGING_DIR).mkdir(parents=True)
    with open(tmp_path / 'd' / builder.STAGING_DIR / output_dir.LOCK_FILE, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match='is being prepared by another process'):
            prepare(tmp_path / 'd')


@pytest.mark.parametrize('workers', [1, 2])
def test_all_images_that_cannot_be_read_are_named_and_the_others_kept(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, 'MIN_SHARDS_TO_KEEP', 3)
    root = in_folder(tmp_path / 'pets', 30)
    (root / 'cat' / '03.png').write_bytes(b'no image')
    (root / 'cat' / '05.png').write_bytes((root / 'cat' / '05.png').read_bytes()[:300])
    with pytest.raises(UserError, match='2 images cannot be read') as caught:
        prepare(tmp_path / 'd', folder(root), num_workers=workers)
    assert 'cat/03.png: not a JPEG' in str(caught.value) and 'cat/05.png: a damaged' in str(caught.value)
    assert not (tmp_path / 'd' / dataset.MANIFEST_FILE).exists()
    assert len(list((tmp_path / 'd').glob('*of-00003'))) == 3
    assert not list((tmp_path / 'd').glob('*.partial'))


def test_a_full_disk_gets_a_sentence_and_leaves_nothing_half(tmp_path):
    script = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.prepare import builder, sources
source = sources.open_source('cutouts', options=sources.SourceOptions(image_size=64, num_cutouts=(100, 0, 0)))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, 2**19))
builder.prepare_dataset(source, {str(tmp_path / 'd')!r}, EncodingSpec(64, 'raw'))
"""
    ended = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert (
        'UserError' in ended.stderr and 'cannot be written' in ended.stderr and 'Free some disk space' in ended.stderr
    )
    assert os.listdir(tmp_path / 'd') == ['.preparing']


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'encoding': 'png'}, "Unknown encoding 'png'; expected one of: jpeg, raw"),
        ({'image_size': 0}, 'must be at least 1'),
        ({'num_workers': 0}, 'must be at least 1'),
        ({'jpeg_quality': 101}, '1 to 100'),
    ],
)
def test_settings_that_make_no_sense_get_a_sentence_before_anything_is_written(options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        prepare(tmp_path / 'd', **options)
    assert not (tmp_path / 'd').exists()


def test_an_error_in_a_worker_stops_the_others_and_comes_through(tmp_path):
    source = cutouts(num_cutouts=(200, 0, 0))
    broken = sources.Item('train/broken', 0, ('nowhere', 0))
    object.__setattr__(source, 'splits', {'train': (broken, *source.splits['train'])})
    with pytest.raises(ValueError, match='nowhere|not in'):
        prepare(tmp_path / 'd', source, num_workers=2)
    assert not (tmp_path / 'd' / dataset.MANIFEST_FILE).exists()


@pytest.mark.parametrize('workers', [1, 2])
def test_progress_is_printed_in_plain_lines_up_to_the_last_image(workers, tmp_path, capsys):
    prepare(tmp_path / 'd', progress=True, num_workers=workers)
    assert 'prepared 70 of 70 images' in capsys.readouterr().err


def test_progress_is_a_bar_on_a_terminal(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', terminal)
    prepare(tmp_path / 'd', progress=True)
    assert 'prepared: 100%' in terminal.getvalue() and '70/70' in terminal.getvalue()


def test_the_manifest_says_what_was_done_by_which_versions(tmp_path):
    prepare(tmp_path / 'd')
    manifest = json.loads((tmp_path / 'd' / 'manifest.json').read_text())
    assert manifest['versions']['numpy'] == np.__version__
    assert (manifest['side'], manifest['encoding'], manifest['seed']) == (SIDE, 'raw', 0)
    assert sorted(manifest['files']) == sorted(set(os.listdir(tmp_path / 'd')) - {'manifest.json'})
