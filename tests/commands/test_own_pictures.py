"""One's own pictures, as they lie about on a disk: every one of them is taken, and what is odd about them is said."""

import json
import logging
import shutil

import archives
import numpy as np
import pytest
from PIL import Image

from alexnet_jax import commands
from alexnet_jax.data import dataset
from alexnet_jax.report.plots import contact_sheet
from configs import folder

PICTURES = {  # path -> seed; where two have the same, they are the same picture
    'train/Katzen & Mäuse/1.jpg': 1,
    'train/Katzen & Mäuse/Урлаб 2019/июль/DSC 0001 (Kopie).JPG': 2,
    'train/Katzen & Mäuse/Урлаб 2019/août/.trashed/x.jpg': 99,  # hidden
    "train/Katzen & Mäuse/it's 100% #1 [final].png": 3,
    'train/Katzen & Mäuse/猫.WebP': 4,
    'train/Katzen & Mäuse/same as a dog.jpg': 5,
    'train/dog/nested/deeper/a.jpeg': 5,
    'train/dog/b.Jpeg': 6,
    'train/dog/📷.png': 7,
    'train/emu/only one.webp': 8,
    'val/Katzen & Mäuse/another name.png': 3,  # what is trained on
    'val/dog/c.jpg': 10,
    'val/emu/d.jpg': 11,
    'test/dog/e.PNG': 12,
    'test/emu/f.jpg': 13,
}


def picture(path, seed):
    """Of the format its ending names; without loss where the same one has to come out of two files."""
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (70, 90, 3)).astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {'jpg': 'JPEG', 'jpeg': 'JPEG'}.get(path.suffix[1:].lower(), path.suffix[1:].upper())
    image.save(path, form, **({'lossless': True} if form == 'WEBP' else {}))


@pytest.fixture
def home(tmp_path):
    root = tmp_path / 'My Pictures'
    for path, seed in PICTURES.items():
        picture(root / path, seed)
    (root / 'train/dog/Thumbs.db').write_bytes(b'x')
    (root / 'train/dog/film.MOV').write_bytes(b'x')
    (root / 'train/dog/notes').write_text('of a walk')
    return root


def prepared(root, workdir, **fields):
    config = folder.get_config()
    config.update_from_flattened_dict({'prepare.path': str(root), **fields})
    commands.run('prepare', config, str(workdir))
    data = dataset.open_dataset(workdir / 'dataset')
    return data, json.loads((workdir / 'dataset' / 'report.json').read_text())


def test_every_picture_is_taken_by_whatever_name_and_however_deep(home, tmp_path):
    data, report = prepared(home, tmp_path / 'run')
    ids = [data.split(split)[n][2] for split, count in data.counts.items() for n in range(count)]
    words = {'train': 'train', 'val': 'validation', 'test': 'test'}
    taken = [path for path in PICTURES if '.trashed' not in path]
    assert sorted(ids) == sorted(taken) and data.class_names == ('Katzen & Mäuse', 'dog', 'emu')
    assert data.counts == {word: sum(path.startswith(f'{split}/') for path in taken) for split, word in words.items()}
    assert report['forms'] == {'JPEG': 8, 'PNG': 4, 'WEBP': 2} and report['left_out'] == {}
    for split in data.counts:
        for number in range(data.counts[split]):
            image, label, name = data.split(split)[number]
            assert data.class_names[label] == name.split('/')[1] and image.shape == (64, 64, 3)
    assert '.db 1, .mov 1, no extension 1' in data.note


def test_pictures_that_are_in_two_splits_or_two_classes_are_found_by_content_and_named(home, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger='alexnet_jax'):
        _, report = prepared(home, tmp_path / 'run')
    cat = "train: train/Katzen & Mäuse/it's 100% #1 [final].png"
    assert report['identical']['in_two_splits']['first'] == [[cat, 'validation: val/Katzen & Mäuse/another name.png']]
    assert report['identical']['in_two_classes']['first'] == [
        ['train: train/Katzen & Mäuse/same as a dog.jpg', 'train: train/dog/nested/deeper/a.jpeg']
    ]
    assert f'1 image appears in two splits, which inflates accuracy: {cat}' in caplog.text
    assert '1 image appears in two classes: train: ' in caplog.text


def test_uneven_and_near_empty_classes_are_said_and_shown(home, tmp_path, caplog, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        contact_sheet, 'draw_contact_sheet', lambda rows, mean, most, file, **texts: shown.update(rows=rows, most=most)
    )
    with caplog.at_level(logging.INFO, logger='alexnet_jax'):
        _, report = prepared(home, tmp_path / 'run')
    assert report['training_images_of_a_class'] == {'least': 1, 'median': 3, 'most': 5}
    assert 'training images of a class: 1 to 5, the median 3' in caplog.text
    assert 'Classes with fewer than 10 training images: Katzen & Mäuse (5), dog (3), emu (1).' in caplog.text
    assert [(row.name, row.count, len(row.images)) for row in shown['rows']] == [
        ('Katzen & Mäuse', 5, 5), ('dog', 3, 3), ('emu', 1, 1)
    ]  # fmt: skip
    assert shown['most'] == 5


def test_without_a_split_of_its_own_a_folder_is_split_by_chance_and_no_class_is_lost_silently(home, tmp_path):
    for name in ('val', 'test'):
        shutil.rmtree(home / name)
    for number in range(60):
        for name in ('dog', 'emu', 'Katzen & Mäuse'):
            path = home / 'train' / name / f'{number} more.jpg'
            path.write_bytes(archives.make_jpeg(100 * len(name) + number))
    data, report = prepared(home / 'train', tmp_path / 'run')
    assert set(data.counts) == {'train', 'validation', 'test'} and sum(data.counts.values()) == 189
    assert all(of['train'] > 30 for of in report['images_by_class'].values())
