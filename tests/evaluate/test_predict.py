"""Predict files and folders: the most probable classes, in order, and an error for each unreadable file."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import image_io
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
from alexnet_jax.evaluate.image_files import BATCHES_AHEAD, NO_LABEL, ImageFiles
from alexnet_jax.evaluate.predict import predict_files

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
    return list(predict_files(evaluator, np.float32(0.05), ImageFiles(files, '', SIDE, CLASSES), CLASSES, **options))


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


def test_labels_pixels_and_the_class_of_the_folder_come_along(tmp_path, evaluator):
    files = [write(tmp_path / 'blue' / '1.png', 'blue'), write(tmp_path / 'elsewhere' / '2.png', 'red')]
    found = predict(evaluator, files, top_k=2)
    assert [each.labels[0] for each in found] == [2, 0]
    assert [each.label for each in found] == [2, NO_LABEL]
    assert found[0].pixels.shape == (SIDE, SIDE, 3) and (found[0].pixels == (0, 0, 255)).all()


@pytest.mark.parametrize('threads', [1, 3])
def test_of_ten_thousand_images_few_are_held_at_a_time(threads, evaluator):
    """The reader stays a few batches ahead of whoever takes the predictions."""
    total, read, ahead = 10_000, [], []
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)

    class Counting(ImageFiles):
        def __getitem__(self, record):
            read.append(record)
            return pixels, NO_LABEL, ''

    evaluator.batch_size = 50
    evaluator.iterate_probabilities = lambda params, batches: (np.zeros((len(batch), 3)) for batch in batches)
    images = Counting([str(number) for number in range(total)], '', SIDE, CLASSES)
    for done, found in enumerate(predict_files(evaluator, None, images, CLASSES, threads=threads), 1):
        assert found.file == str(done - 1)
        ahead.append(len(read) - done)
    assert done == len(read) == total and max(ahead) <= (BATCHES_AHEAD + 1) * 50


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


def test_a_large_photograph_is_prepared_as_in_a_dataset(tmp_path, evaluator, monkeypatch):
    file = write(tmp_path / 'large.jpg', 'lime', (1200, 900))
    monkeypatch.setattr(image_io, 'MAX_PIXELS', 10**6)
    assert predict(evaluator, [file])[0].classes[0][0] == 'green'
