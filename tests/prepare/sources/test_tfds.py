"""Test TFDS datasets: found by name or folder, downloaded by TFDS, read without TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import archives
import pytest
import tensorflow_datasets as tfds
import tfds_builders

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources
from alexnet_jax.prepare.sources import tfds as tfds_source

ROOT = Path(__file__).resolve().parents[3]
NAMES = ['emu', 'ibis', 'owl']


def examples(train=12, test=6, **more):
    counts = {'train': train, 'test': test, **more}
    return {
        split: [
            (f'{split}_{number}.jpg', number % 3, archives.make_jpeg(100 * place + number)) for number in range(count)
        ]
        for place, (split, count) in enumerate(counts.items())
    }


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'home'))
    return tmp_path / 'home'


def opened(path='', kind='tfds', **options):
    return sources.open_source(
        kind, str(path), sources.SourceOptions(**{'validation_fraction': 0, 'test_fraction': 0, **options})
    )


def test_a_dataset_is_found_by_name_by_version_and_by_folder_with_all_its_images(home):
    wanted = examples()
    folder = tfds_builders.build_dataset(home, 'Birds', NAMES, wanted)
    for path in ('birds', 'birds:5.1.0', home / 'birds', folder):
        source = opened(path)
        assert source.name == 'birds' and source.class_names == tuple(NAMES)
        assert 'as TFDS prepared it in' in source.note
        for split, of_split in wanted.items():
            read = [(item.id, item.label, source.read(item)) for item in source.splits[split]]
            assert read == sorted((f'{split}/{NAMES[label]}/{own}', label, data) for own, label, data in of_split)


def test_tfrecords_give_the_same_images_as_arrayrecords(home):
    folder = tfds_builders.build_dataset(home, 'Birds', NAMES, examples())
    before = opened(folder)
    images = {item.id: before.read(item) for item in before.splits['train']}
    tfds_builders.convert_to_tfrecords(folder)
    tfds_source._open_builder.cache_clear(), tfds_source._open_records.cache_clear()
    after = opened(folder)
    assert {item.id: after.read(item) for item in after.splits['train']} == images
    (file,) = folder.glob('*train*tfrecord*')
    file.write_bytes(file.read_bytes()[:-1])
    tfds_source._open_records.cache_clear()
    with pytest.raises(UserError, match='tfrecord.* is damaged or cut off at byte'):
        opened(folder)


def test_the_newest_version_is_taken_and_another_where_it_is_named(home):
    folder = tfds_builders.build_dataset(home, 'Birds', NAMES, examples())
    newer = folder.parent / '10.0.0'
    os.rename(tfds_builders.build_dataset(home / 'other', 'Birds', NAMES, examples(train=6)), newer)
    assert len(opened('birds').splits['train']) == 6
    assert len(opened('birds:5.1.0').splits['train']) == 12


def test_one_of_several_configurations_has_to_be_named(home):
    folder = tfds_builders.build_dataset(home, 'Birds', NAMES, examples())
    for name in ('large', 'small'):
        (home / 'many' / name).mkdir(parents=True)
        os.symlink(folder, home / 'many' / name / '5.1.0')
    with pytest.raises(UserError, match='the configurations large, small; name one, as in .*=many/large'):
        opened('many')
    assert len(opened('many/small').splits['train']) == 12


def test_images_without_labels_and_splits_of_other_names_are_left_out_and_counted(home):
    wanted = examples(unsorted=2)
    wanted['test'] = [(own, -1, data) for own, _, data in wanted['test']]
    tfds_builders.build_dataset(home, 'Birds', NAMES, wanted)
    source = opened('birds')
    assert list(source.splits) == ['train']
    assert '6 images without labels are left out. The splits unsorted are left out.' in source.note


def test_images_without_names_are_called_by_their_numbers(home):
    tfds_builders.build_dataset(home, 'Birds', NAMES, examples(), file_name='')
    names = {item.id.rpartition('/')[2] for item in opened('birds').splits['train']}
    assert names == {f'{number:08d}' for number in range(12)}


def test_what_has_no_images_or_no_labels_is_refused(home):
    folder = tfds_builders.build_dataset(
        home, 'Words', NAMES, {'train': [('a', 0, b'x')]}, others=[('image', tfds.features.Text())]
    )
    with pytest.raises(UserError, match='has the features .*; expected an Image and a ClassLabel'):
        opened(folder)


def test_a_damaged_dataset_is_told(home):
    folder = tfds_builders.build_dataset(home, 'Birds', NAMES, examples())
    (file,) = folder.glob('*train*')
    file.write_bytes(b'')
    with pytest.raises(UserError, match='split train, of the format array_record, cannot be read|damaged'):
        opened(folder)
    (folder / 'dataset_info.json').write_text('{')
    with pytest.raises(UserError, match='no whole dataset of TFDS'):
        opened(folder)


@pytest.mark.parametrize(
    'path, sentence',
    [
        ('', "'tfds' needs a path; set --config.prepare.path to the name of a dataset"),
        ('/nowhere/birds', '/nowhere/birds does not exist; use a folder that TFDS prepared'),
        ('no_such_birds', r'is not in .*home.*TFDS knows no such dataset; .* --config.prepare.path=FOLDER'),
        ('imagenet2012', r'is not in .*home.*TFDS may not download it'),
    ],
)
def test_what_is_not_there_and_cannot_be_fetched_gets_a_sentence(path, sentence, home):
    with pytest.raises(UserError, match=sentence):
        opened(path)
    assert not home.exists()


def test_a_folder_that_tfds_did_not_prepare_is_refused(tmp_path, home):
    with pytest.raises(UserError, match='is no dataset that TFDS prepared; .* --config.prepare.source=folder'):
        opened(tmp_path)


def test_tfds_fetches_by_name_what_it_can_without_tensorflow(home):
    class Failing(tfds.core.GeneratorBasedBuilder):
        def _split_generators(self, dl_manager):
            raise OSError('no route to host\nand more')

    tfds_builders.make_builder_class('FetchedBirds', NAMES, examples())  # registers itself
    source = opened('fetched_birds')
    assert (home / 'fetched_birds' / '5.1.0' / 'dataset_info.json').exists()
    assert len(source.splits['train']) == 12
    body = tfds_builders.make_builder_class('FarBirds', NAMES, examples())
    body._split_generators = Failing._split_generators
    with pytest.raises(
        UserError, match=r'far_birds is not in .*TFDS could not download it \(OSError: no route to host\)'
    ):
        opened('far_birds')


DRIVER = """
import sys
import main
status = main.main(sys.argv)
loaded = 'tensorflow' in sys.modules
print('tensorflow:', loaded)
sys.exit(status)
"""
QUICK = (
    'model.preset=miniature prepare.image_size=64 prepare.encoding=raw train.num_epochs=0.02 train.batch_size=16 '
    'evaluate.batch_size=16 evaluate.views=1 log.tensorboard=False machine.cpu_devices=2'
).split()


def run(*words):
    words = [sys.executable, '-c', DRIVER, *words]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.extended
def test_the_imagenet_card_trains_on_what_tfds_keeps_with_no_path_given_and_no_tensorflow(home, tmp_path):
    wnids = [f'n{number:08d}' for number in range(1000)]
    small = [archives.make_jpeg(seed, size=(8, 8)) for seed in range(10)]
    train = [
        (f'{wnid}_{n}.JPEG', label, small[n])
        for label, wnid in enumerate(wnids)
        for n in range(2 if label < 100 else 1)
    ]
    held = [(f'ILSVRC2012_val_{n + 1:08d}.JPEG', n, small[n % 10]) for n in range(100)]
    tfds_builders.build_dataset(home, 'Imagenet2012', wnids, {'train': train, 'validation': held})
    done = run('--config=configs/imagenet.py', f'--workdir={tmp_path / "run"}', *(f'--config.{word}' for word in QUICK))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'tensorflow: False'
    result = json.loads((tmp_path / 'run/result.json').read_text())
    assert (result['classes'], result['split'], result['images']) == (1000, 'test', 100)


def test_the_imagenet_card_says_where_it_looked_and_how_images_are_given(home, tmp_path):
    done = run('--config=configs/imagenet.py', f'--workdir={tmp_path / "run"}')
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert f'{home}/imagenet2012, where TFDS keeps ImageNet' in done.stderr
    assert 'python main.py --mode=prepare --config=configs/imagenet.py' in done.stderr
    assert not (tmp_path / 'run').exists() and not home.exists()


def test_tfds_is_looked_for_in_its_default_folder_where_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert tfds_source.data_dir() == tmp_path / 'tensorflow_datasets'
    assert tfds.core.constants.DATA_DIR.endswith('tensorflow_datasets')  # TFDS's own
