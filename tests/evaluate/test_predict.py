"""Predict files and folders: the most probable classes, in order, and an error for each unreadable file."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
from alexnet_jax.evaluate.predict import find_image_files, predict_files, split_paths

SIDE, CROP = 8, 6
CLASSES = ('red', 'green', 'blue')


def brightest_color(parameters, images):
    """A network of three classes: how much of each color there is."""
    return images.mean(axis=(1, 2)) * parameters


@pytest.fixture
def evaluator():
    mean = np.full((SIDE, SIDE, 3), 100, np.float32)
    return Evaluator(brightest_color, mean, ViewOptions(CROP, 10), batch_size=2)


def write(file, color, size=(12, 10), **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, color).save(file, **options)
    return str(file)


def predict(evaluator, files, **options):
    return list(predict_files(evaluator, np.float32(0.05), files, CLASSES, image_size=SIDE, **options))


def test_each_file_gets_its_classes_most_probable_first_in_the_order_given(tmp_path, evaluator):
    colors = ['green', 'red', 'blue', 'red', 'lime']  # an uneven number of batches of two
    files = [write(tmp_path / f'{number}.png', color) for number, color in enumerate(colors)]
    found = predict(evaluator, files)
    assert [each.file for each in found] == files
    assert [each.classes[0][0] for each in found] == ['green', 'red', 'blue', 'red', 'green']
    for each in found:
        probabilities = [probability for _, probability in each.classes]
        assert {name for name, _ in each.classes} == set(CLASSES)
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, rel=1e-5)
    # green is (0, 128, 0): 128 gray levels of it less the mean's 100, times 0.05
    logits = 0.05 * (np.array([0, 128, 0]) - 100)
    assert found[0].classes[0][1] == pytest.approx(np.exp(logits[1]) / np.exp(logits).sum(), rel=1e-4)


def test_no_more_classes_than_asked_for(tmp_path, evaluator):
    (found,) = predict(evaluator, [write(tmp_path / 'one.png', 'red')], top_k=2)
    assert len(found.classes) == 2


def test_what_cannot_be_read_gets_a_sentence_and_the_others_their_answer(tmp_path, evaluator):
    good = [write(tmp_path / 'a.png', 'red'), write(tmp_path / 'z.jpg', 'blue')]
    text, gone = tmp_path / 'text.jpg', tmp_path / 'gone.png'
    text.write_text('not an image')
    found = predict(evaluator, [good[0], str(text), str(gone), good[1]])
    assert [bool(each.error) for each in found] == [False, True, True, False]
    assert found[1].classes == () and str(text) in found[1].error
    assert str(gone) in found[2].error
    assert [found[place].classes[0][0] for place in (0, 3)] == ['red', 'blue']


def test_photographs_are_turned_upright(tmp_path):
    """Left half red and right half blue as stored; held upright, the red half is on top."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, 'JPEG', exif=exif, quality=95)
    file = tmp_path / 'turned.jpg'
    file.write_bytes(data.getvalue())

    def upper_half(parameters, images):
        return images[:, :2].mean(axis=(1, 2)) * parameters

    mean = np.zeros((SIDE, SIDE, 3), np.float32)
    evaluator = Evaluator(upper_half, mean, ViewOptions(CROP), batch_size=1)
    (found,) = predict(evaluator, [str(file)])
    assert found.classes[0][0] == 'red'


def test_a_folder_gives_the_images_in_it_and_below_sorted(tmp_path):
    images = [write(tmp_path / name, 'red') for name in ('b/2.png', 'a.JPG', 'b/1.jpeg', 'c.webp')]
    for other in ('notes.txt', '.hidden.png', '._a.jpg', '.cache/x.png'):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b'')
    assert find_image_files([str(tmp_path)]).files == sorted(images)
    assert find_image_files([images[0], str(tmp_path / 'b')]).files == [images[0], images[2], images[0]]


def test_pictures_that_a_run_drew_are_left_out_of_a_folder_and_that_is_said(tmp_path):
    photographs = [write(tmp_path / name, 'red') for name in ('a.png', 'holiday/b.png')]
    drawn = write(tmp_path / 'runs/one/curves.png', 'red')
    for name in ('runs/one/run.json', 'runs/one/config.json'):
        (tmp_path / name).touch()
    found = find_image_files([str(tmp_path)])
    assert (found.files, found.skipped) == (photographs, [])
    assert found.notes == ['Left out, as results of this program: runs/one/.']
    assert find_image_files([drawn]).files == [drawn]
    with pytest.raises(UserError, match=r'has no images\. Left out, as results of this program: \./\.'):
        find_image_files([str(tmp_path / 'runs/one')])


def test_a_pattern_counts_below_the_folders_that_exist_as_they_stand(tmp_path):
    images = [write(tmp_path / 'photos [2024]' / name, 'red') for name in ('1.png', 'b*/2.png')]
    write(tmp_path / 'photos 2' / '3.png', 'red')
    assert find_image_files([str(tmp_path / 'photos [2024]' / '*.png')]).files == images[:1]
    assert find_image_files([str(tmp_path / 'photos [2024]' / 'b*' / '?.png')]).files == images[1:]
    assert find_image_files([str(tmp_path / 'photos [0-9]' / '*.png')]).files == [str(tmp_path / 'photos 2' / '3.png')]


def test_a_file_named_outright_is_taken_whatever_its_name(tmp_path):
    file = tmp_path / 'photograph'
    file.write_bytes(b'')
    assert find_image_files([str(file)]).files == [str(file)]


def test_what_names_no_image_is_refused_by_its_name(tmp_path):
    with pytest.raises(UserError, match=r'nowhere.jpg does not exist'):
        find_image_files([str(tmp_path / 'nowhere.jpg')])
    with pytest.raises(UserError, match='has no images'):
        find_image_files([str(tmp_path)])
    with pytest.raises(UserError, match='No images were named'):
        find_image_files([])


def test_signs_that_a_shell_would_have_read_are_read_here(tmp_path, monkeypatch):
    images = [write(tmp_path / name, 'red') for name in ('a.png', 'b.png', 'c[1].png')]
    monkeypatch.setenv('HOME', str(tmp_path))
    assert find_image_files(['~/[ab].png']).files == images[:2]
    assert find_image_files([images[2]]).files == [images[2]]


def test_what_lies_in_a_folder_and_is_no_image_is_counted_and_what_cannot_be_opened_named(tmp_path, monkeypatch):
    """As prepare has it; links to folders are followed."""
    images = [write(tmp_path / 'in' / name, 'red') for name in ('a.jpg', 'linked.d/c.png', 'z.webp')]
    for name in ('b.JPE', 'c.jfif'):
        images.append(write(tmp_path / 'in' / name, 'red', format='JPEG'))
    (tmp_path / 'in' / 'linked.d').rename(tmp_path / 'elsewhere')
    (tmp_path / 'in' / 'linked.d').symlink_to(tmp_path / 'elsewhere')
    for name in ('1.HEIC', '2.heic', 'scan.tiff', 'README'):
        (tmp_path / 'in' / name).write_bytes(b'x')
    (tmp_path / 'in' / 'gone.jpg').symlink_to('nowhere.jpg')
    os.mkfifo(tmp_path / 'in' / 'pipe.png')
    (tmp_path / 'in' / 'locked').mkdir()
    scandir = os.scandir

    def refuse_locked(path):
        if os.path.basename(path) == 'locked':
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse_locked)  # root may read any folder
    found = find_image_files([str(tmp_path / 'in')])
    assert found.files == sorted(images)
    assert sorted(found.skipped) == ['1.HEIC', '2.heic', 'README', 'scan.tiff']
    told = ' '.join(found.errors)
    assert len(found.errors) == 3 and f'{tmp_path}/in/locked cannot be read (Permission denied).' in told
    assert 'gone.jpg is not a regular file' in told and 'pipe.png is not a regular file' in told
    (tmp_path / 'scans').mkdir()
    (tmp_path / 'scans' / 'a.tiff').write_bytes(b'x')
    with pytest.raises(UserError, match=r'scans has no images\. Skipped, .*: \.tiff 1\. Names of images end in \.jpg'):
        find_image_files([str(tmp_path / 'scans')])
    with pytest.raises(UserError, match=r'locked has no images\. .*locked cannot be read \(Permission denied\)'):
        find_image_files([str(tmp_path / 'in' / 'locked')])


def test_a_name_that_exists_as_it_stands_is_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    for name in ('Paris, France.jpg', ' first.jpg', 'last.jpg ', 'a.jpg', 'b.jpg', 'b.jpg,c', 'June, July,'):
        (tmp_path / name).write_bytes(b'')
    for value, paths in {
        'a.jpg,b.jpg': ['a.jpg', 'b.jpg'],
        'a.jpg, b.jpg ,': ['a.jpg', 'b.jpg'],
        'Paris, France.jpg': ['Paris, France.jpg'],
        'a.jpg,~/Paris, France.jpg,b.jpg': ['a.jpg', f'{tmp_path}/Paris, France.jpg', 'b.jpg'],
        ' first.jpg,last.jpg ': [' first.jpg', 'last.jpg '],
        'b.jpg,c,a.jpg': ['b.jpg,c', 'a.jpg'],
        'June, July,,a.jpg': ['June, July,', 'a.jpg'],
        'nowhere.jpg, *.jpg': ['nowhere.jpg', '*.jpg'],
        ' , ': [],
    }.items():
        assert split_paths(value) == paths, value
    assert len(split_paths(','.join(f'{number}.jpg' for number in range(400)))) == 400
    assert find_image_files(split_paths('last.jpg , first.jpg')).files == ['last.jpg ', ' first.jpg']


def test_a_large_photograph_is_prepared_as_in_a_dataset(tmp_path, evaluator, monkeypatch):
    file = write(tmp_path / 'large.jpg', 'lime', (1200, 900))
    monkeypatch.setattr(image_io, 'MAX_PIXELS', 10**6)
    assert predict(evaluator, [file])[0].classes[0][0] == 'green'
