"""Files of features: what a kill at any point leaves is gone on with, to the bit; damaged or other ones are refused."""

import itertools
import json
import os
import types

import numpy as np
import pytest

from alexnet_jax.analysis import feature_writer
from alexnet_jax.analysis.feature_files import column_slice, open_features
from alexnet_jax.analysis.feature_writer import FeatureWriter
from alexnet_jax.analysis.similarity import compare_columns, compare_rdms, correlation_rdm, debiased_linear_cka
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

SHAPES = {'conv1': (3, 3, 5), 'fc7': (6,)}
METADATA = {'layers': SHAPES, 'column': 'both', 'architecture': {'columns': 2}, 'class_names': ['cat', 'dog']}
DRAW = np.random.default_rng(0)
ROWS = {layer: DRAW.normal(size=(10, *shape)).astype(np.float32) for layer, shape in SHAPES.items()}
BATCHES = [slice(0, 4), slice(4, 8), slice(8, 10)]


class Killed(BaseException):
    """What no code of the writer survives."""


def make_writer(folder, metadata=METADATA, dtype='float32'):
    return FeatureWriter(folder, metadata, SHAPES, dtype, num_images=10)


def write_all(folder, **options):
    with make_writer(folder, **options) as writer:
        for batch in BATCHES:
            if batch.start >= writer.images_done:
                append_batch(writer, batch)
        if not writer.is_complete:
            writer.finish()


def append_batch(writer, batch):
    names = [f'{number}.png' for number in range(10)][batch]
    writer.append(
        {layer: rows[batch] for layer, rows in ROWS.items()}, names, [number % 3 - 1 for number in range(10)][batch]
    )


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_appended_is_read_back(tmp_path):
    write_all(tmp_path / 'f')
    features = open_features(tmp_path / 'f')
    assert features.layers == ('conv1', 'fc7') and len(features) == 10 and features.ids[9] == '9.png'
    assert [features.class_name(row) for row in range(3)] == [None, 'cat', 'dog']
    for layer, rows in ROWS.items():
        assert isinstance(features[layer], np.memmap)
        np.testing.assert_array_equal(features[layer], rows)
        np.testing.assert_array_equal(np.load(tmp_path / 'f' / f'{layer}.npy'), rows)
    with pytest.raises(UserError, match='has no features of fc8; it has conv1, fc7'):
        features['fc8']


def killed_at(call):
    """Return a wrapper of functions that raises at the call of that number to any of them."""
    count = itertools.count()

    def wrap(function):
        def wrapped(*args, **kwargs):
            if next(count) == call:
                raise Killed
            return function(*args, **kwargs)

        return wrapped

    return wrap


def test_a_kill_at_any_call_that_reaches_the_disk_is_gone_on_with(tmp_path, monkeypatch):
    """At each fsync, rename and unlink in turn; what the process did after its death (its exit) is undone."""
    write_all(tmp_path / 'whole')
    expected = files_of(tmp_path / 'whole')
    monkeypatch.setattr(feature_writer, 'SECONDS_BETWEEN_RECORDS', -1)
    reached = 0
    for call in range(200):
        folder = tmp_path / str(call)
        with monkeypatch.context() as patch:
            wrap = killed_at(call)
            for name in ('fsync', 'replace', 'unlink'):
                patch.setattr(os, name, wrap(getattr(os, name)))
            patch.setattr(FeatureWriter, '__exit__', lambda writer, *_: writer._close())
            try:
                write_all(folder)
            except Killed:
                reached += 1
            else:
                break
        write_all(folder)
        assert files_of(folder) == expected, f'killed at call {call}'
    assert reached > 15 and files_of(folder) == expected


def test_bytes_behind_the_record_are_cut_off(tmp_path):
    write_all(tmp_path / 'whole')
    with make_writer(tmp_path / 'f') as writer:
        append_batch(writer, BATCHES[0])
        writer.record_progress()
    for name in ('conv1.npy.partial', 'images.json.partial'):
        with open(tmp_path / 'f' / name, 'ab') as file:
            file.write(b'half a row')
    with pytest.raises(UserError, match='has unfinished features'):
        open_features(tmp_path / 'f')
    write_all(tmp_path / 'f')
    assert files_of(tmp_path / 'f') == files_of(tmp_path / 'whole')


def test_images_that_could_not_be_read_are_counted_and_kept_in_mind(tmp_path):
    with make_writer(tmp_path) as writer:
        writer.append({layer: rows[:3] for layer, rows in ROWS.items()}, ['0', '1', '2'], [0, 0, 0], ['3 is torn.'])
    with make_writer(tmp_path) as writer:
        assert (writer.images_done, writer.unreadable) == (4, ('3 is torn.',))
        writer.finish()
    with make_writer(tmp_path) as writer:
        assert writer.is_complete and writer.unreadable == ('3 is torn.',)
    assert open_features(tmp_path).metadata['unreadable'] == ['3 is torn.'] and len(open_features(tmp_path)) == 3


def test_other_features_foreign_files_and_short_ones_are_refused(tmp_path):
    write_all(tmp_path / 'f')
    with pytest.raises(UserError, match='holds other features: column differ'):
        write_all(tmp_path / 'f', metadata=METADATA | {'column': 'a'})
    (tmp_path / 'mine').mkdir()
    np.save(tmp_path / 'mine' / 'fc7.npy', np.zeros(3))
    with pytest.raises(UserError, match='fc7.npy exists and is not of this mode'):
        write_all(tmp_path / 'mine')
    with make_writer(tmp_path / 'short') as writer:
        append_batch(writer, BATCHES[0])
    os.truncate(tmp_path / 'short' / 'fc7.npy.partial', 130)
    with pytest.raises(UserError, match='fc7.npy.partial is shorter than progress.json says'):
        write_all(tmp_path / 'short')


def test_a_second_writer_and_a_full_disk_are_refused(tmp_path, monkeypatch):
    with (
        make_writer(tmp_path),
        pytest.raises(UserError, match='Another process writes features'),
        make_writer(tmp_path),
    ):
        pass
    monkeypatch.setattr(atomic_io.shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=100))
    with (
        pytest.raises(UserError, match='51 numbers for each of 10 images needs .* choose fewer layers'),
        make_writer(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('features.json', '{', 'cannot be read'),
        ('images.json', '{"id": ["a"], "label": [0]}', 'their parts do not fit one another'),
        ('fc7.npy', 'x', 'fc7.npy cannot be read'),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    write_all(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        open_features(tmp_path)['fc7']


def test_columns_are_compared_layer_by_layer(tmp_path):
    write_all(tmp_path)
    features = open_features(tmp_path)
    halves = {
        'conv1': (ROWS['conv1'][..., :3], ROWS['conv1'][..., 3:]),
        'fc7': (ROWS['fc7'][:, :3], ROWS['fc7'][:, 3:]),
    }
    compared = compare_columns(features)
    for layer, (column_a, column_b) in halves.items():
        np.testing.assert_array_equal(features.column(layer, 'a'), column_a)
        np.testing.assert_array_equal(features.column(layer, 'b'), column_b)
        assert compared[layer] == {
            'rsa': compare_rdms(correlation_rdm(column_a), correlation_rdm(column_b)),
            'cka': debiased_linear_cka(column_a, column_b),
        }
    assert column_slice(1, 5, 'both') == slice(0, 5)
    metadata = json.loads((tmp_path / 'features.json').read_text()) | {'column': 'a'}
    (tmp_path / 'features.json').write_text(json.dumps(metadata))
    with pytest.raises(UserError, match='has no two columns: its network has 2, and a was taken'):
        open_features(tmp_path).column('fc7', 'b')
