"""A run continues with its dataset wherever its images lie and however their path is spelled, never with others."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import run_dir
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError


@pytest.fixture
def begun(tmp_path):
    """A folder with a run that began on a dataset of a few photographs, in `photos`."""
    rng = np.random.default_rng(0)
    for split, number in (('train', 3), ('test', 2)):
        for name in ('oak', 'elm'):
            (tmp_path / 'photos' / split / name).mkdir(parents=True)
            for i in range(number):
                image = Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8))
                image.save(tmp_path / 'photos' / split / name / f'{i}.png')
    config = config_at(str(tmp_path / 'photos'))
    commands.run('prepare', config, str(tmp_path / 'run'))
    continue_run(tmp_path, config)
    return tmp_path


def config_at(path):
    config = tiny_config()
    config.update_from_flattened_dict({'prepare.source': 'folder', 'prepare.image_size': 16, 'prepare.path': path})
    return config


def continue_run(folder, config):
    run_dir.init_or_validate(str(folder / 'run'), config, dataset.open_dataset(folder / 'run' / 'dataset'))


def test_the_same_images_under_another_path_are_the_same_dataset(begun, monkeypatch):
    shutil.copytree(begun / 'photos', begun / 'elsewhere')
    os.symlink(begun / 'photos', begun / 'link')
    monkeypatch.chdir(begun)
    spellings = [f'{begun}/photos/', 'photos', './run/../photos', f'{begun}/link', f'{begun}/elsewhere', '']
    for path in spellings:
        continue_run(begun, config_at(path))
    recorded = json.loads((begun / 'run' / 'run.json').read_text())
    assert recorded['prepare.path'] == str(begun / 'elsewhere')  # where they were last
    shutil.rmtree(begun / 'photos')
    continue_run(begun, config_at(str(begun / 'elsewhere')))


def test_a_path_to_other_images_is_refused(begun):
    shutil.copytree(begun / 'photos', begun / 'more')
    shutil.copy(begun / 'more' / 'train' / 'elm' / '0.png', begun / 'more' / 'train' / 'elm' / 'new.png')
    shutil.copytree(begun / 'photos', begun / 'renamed')
    for split in ('train', 'test'):
        (begun / 'renamed' / split / 'elm').rename(begun / 'renamed' / split / 'ash')
    for name in ('more', 'renamed'):
        with pytest.raises(UserError, match=f'{name}.* has other images than the dataset of this run'):
            continue_run(begun, config_at(str(begun / name)))
    with pytest.raises(UserError, match='does not exist'):
        continue_run(begun, config_at(str(begun / 'nowhere')))


def test_a_run_of_an_older_version_knew_its_dataset_by_another_checksum_and_its_path_to_the_letter(begun):
    file, data = begun / 'run' / 'run.json', dataset.open_dataset(begun / 'run' / 'dataset')
    written = json.loads(file.read_text())
    del written['prepare.path']
    written['deciding'] |= {'dataset': data.manifest_checksum, 'prepare.path': str(begun / 'photos')}
    file.write_text(json.dumps(written))
    continue_run(begun, config_at(f'{begun}/photos/'))
    assert json.loads(file.read_text())['deciding']['dataset'] == data.checksum
    written['deciding']['dataset'] = 'of another dataset'
    file.write_text(json.dumps(written))
    with pytest.raises(UserError, match='holds another run: dataset was'):
        continue_run(begun, config_at(f'{begun}/photos/'))
