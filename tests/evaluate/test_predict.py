"""Predict files and folders: the most probable classes, in order, and an error for each unreadable file."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
from alexnet_jax.evaluate.predict import find_image_files, predict_files

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
    assert find_image_files([str(tmp_path)]) == sorted(images)
    assert find_image_files([images[0], str(tmp_path / 'b')]) == [images[0], images[2], images[0]]


def test_a_file_named_outright_is_taken_whatever_its_name(tmp_path):
    file = tmp_path / 'photograph'
    file.write_bytes(b'')
    assert find_image_files([str(file)]) == [str(file)]


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
    assert find_image_files(['~/[ab].png']) == images[:2]
    assert find_image_files([images[2]]) == [images[2]]
