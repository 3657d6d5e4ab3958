"""alexnet_jax.load: the same network from a run, a file and a preset, and images in every form that programs have."""

import jax
import numpy as np
import pytest
from PIL import Image
from slim_networks import CLASSES, assert_same_bits, network_inputs, photographs, slim_weights
from small_network import make_mesh

import alexnet_jax
from alexnet_jax import commands
from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.find_images import find_image_files
from alexnet_jax.network import Network, fresh_weights


@pytest.fixture(scope='module')
def network():
    return Network(slim_weights('miniature'))


def test_the_five_lines_of_the_readme(tmp_path):
    Image.fromarray(photographs()[0]).save(tmp_path / 'cat.png')
    network = alexnet_jax.load('miniature', seed=0)
    answer = network.predict([tmp_path / 'cat.png'])
    features = network.features([tmp_path / 'cat.png'], layers=['conv1', 'fc7'])
    network.save(tmp_path / 'alexnet.safetensors')
    assert len(answer.classes[0]) == 5 and answer.classes[0][0][0] in network.class_names
    assert {name: array.shape for name, array in features.items()} == {'conv1': (1, 26, 26, 32), 'fc7': (1, 256)}
    again = alexnet_jax.load(tmp_path / 'alexnet.safetensors')
    assert_same_bits(again.weights, network.weights)
    np.testing.assert_array_equal(again.predict([tmp_path / 'cat.png']).probabilities, answer.probabilities)


def test_a_run_is_the_network_that_its_modes_use(trained, tmp_path):
    config, workdir = trained
    network = alexnet_jax.load(workdir)
    assert network.architecture.name == 'miniature'
    for number, photo in enumerate(photographs()):
        Image.fromarray(photo).save(tmp_path / f'{number}.png')
    files = find_image_files([str(tmp_path)]).files
    run = commands.evaluate.load_run(*commands.evaluate.read_trained_run(config, workdir), workdir)
    evaluator = commands.factories.make_evaluator(run.config, run.info, run.model, run.mesh, views=10, num_images=3)
    squares = np.stack([image_io.resize_and_crop(photo, run.info.image_size) for photo in photographs()])
    expected = evaluator.probabilities(run.params, squares)
    np.testing.assert_allclose(network.predict(files).probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(network.predict(tmp_path).probabilities, expected, rtol=1e-5)
    assert network.class_names == run.info.class_names
    assert network.weights.notes['checkpoint_step'] == str(run.step)


def test_every_form_of_an_image_gives_the_same_bits(network, tmp_path):
    photos = photographs()
    paths = []
    for number, photo in enumerate(photos):
        paths.append(tmp_path / f'{number}.png')
        Image.fromarray(photo).save(paths[-1])
    expected = network.predict(photos).probabilities
    assert expected.shape == (3, CLASSES)
    forms = [paths, [str(path) for path in paths], tmp_path, [Image.open(path) for path in paths], tuple(photos)]
    for form in forms:
        np.testing.assert_array_equal(network.predict(form).probabilities, expected)
    side = network.preprocessing.image_size
    squares = np.stack([image_io.resize_and_crop(photo, side) for photo in photos])
    np.testing.assert_array_equal(network.predict(squares).probabilities, expected)
    one = network.predict(photos[1]).probabilities
    assert one.shape == (1, CLASSES)
    np.testing.assert_allclose(one[0], expected[1], rtol=1e-4)
    np.testing.assert_array_equal(one, network.predict(Image.fromarray(photos[1])).probabilities)


def test_prepared_arrays_are_the_input_as_it_is(network):
    inputs = network_inputs(network.weights)
    points = ['prob', 'conv1']
    expected = network.features(photographs(), points)
    for form in (inputs, inputs.astype(np.float32), list(inputs), jax.numpy.asarray(inputs, np.float32)):
        answer = network.features(form, points)
        np.testing.assert_allclose(answer['conv1'], expected['conv1'], atol=1e-4)
    np.testing.assert_allclose(network.predict(inputs).probabilities, expected['prob'], rtol=1e-3)
    np.testing.assert_allclose(network.predict(photographs(), views=1).probabilities, expected['prob'], rtol=1e-5)


def test_turned_and_transparent_pil_images_are_as_their_files_are(network, tmp_path):
    image = Image.fromarray(photographs()[2])
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / 'turned.png', exif=exif)
    transparent = image.convert('RGBA')
    transparent.putalpha(Image.linear_gradient('L').resize(image.size))
    transparent.save(tmp_path / 'transparent.png')
    for name in ('turned.png', 'transparent.png'):
        expected = network.predict(tmp_path / name).probabilities
        np.testing.assert_array_equal(network.predict(Image.open(tmp_path / name)).probabilities, expected)


def test_the_most_probable_classes_come_first(network):
    answer = network.predict(photographs(), top_k=3)
    assert answer.labels.shape == (3, 3)
    for row, probabilities in zip(answer.labels, answer.probabilities, strict=True):
        assert list(row) == sorted(range(CLASSES), key=lambda label: -probabilities[label])[:3]
    name, probability = answer.classes[0][0]
    assert name == network.weights.class_descriptions[answer.labels[0, 0]]
    assert probability == answer.probabilities[0].max()
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_many_images_go_through_in_batches():
    network = Network(slim_weights('miniature'), batch_size=4)
    images = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8)
    together = network.features(images, ['fc7'])['fc7']
    assert together.shape[0] == 11
    for start in (0, 4, 8):
        np.testing.assert_array_equal(
            together[start : start + 4], network.features(images[start : start + 4], 'fc7')['fc7']
        )


@pytest.mark.parametrize('shape', [(2, 2)])
def test_a_mesh_gives_the_same_answers(shape, network):
    on_mesh = Network(network.weights, mesh=make_mesh(*shape))
    np.testing.assert_allclose(
        on_mesh.predict(photographs()).probabilities, network.predict(photographs()).probabilities, rtol=1e-5
    )
    for name, array in on_mesh.features(photographs(), ['conv3', 'fc8']).items():
        expected = network.features(photographs(), ['conv3', 'fc8'])[name]
        assert np.abs(array - expected).max() / np.abs(expected).max() < 1e-5


def test_a_preset_begins_as_a_training_by_that_seed_does(trained):
    from alexnet_jax.commands.resume_point import weights_key
    from alexnet_jax.models.alexnet import AlexNet, get_parameters
    from alexnet_jax.models.presets import PRESETS

    parameters = get_parameters(AlexNet(PRESETS['miniature'], key=weights_key(3)))
    for name, parts in fresh_weights('miniature', seed=3).parameters.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(array, parameters[name][part])
    assert not np.array_equal(
        fresh_weights('miniature', seed=4).parameters['fc8']['kernel'], parameters['fc8']['kernel']
    )


@pytest.mark.parametrize(
    'images, message',
    [
        ([], 'No images were given'),
        (np.zeros((0, 8, 8, 3), np.uint8), r'The images are uint8 \(0, 8, 8, 3\)'),
        (np.zeros((2, 8, 8, 4), np.uint8), r'An image is uint8 \(8, 8, 4\)'),
        (np.zeros((8, 8), np.uint8), r'The images are uint8 \(8, 8\)'),
        (np.zeros((1, 8, 8, 3), np.int64), 'The images are int64'),
        (np.zeros((1, 8, 8, 3), np.float32), r'must be \(N, 56, 56, 3\)'),
        ([np.zeros((8, 8, 3), np.uint8), 'a'], 'a cannot be read'),
        ('missing.jpg', 'missing.jpg does not exist'),
        (7, 'The images are int64'),
    ],
)
def test_what_is_no_image_is_named(network, images, message):
    with pytest.raises(UserError, match=message):
        network.predict(images)


def test_a_file_that_is_no_image_is_named(network, tmp_path):
    (tmp_path / 'text.jpg').write_text('no image')
    with pytest.raises(UserError, match='text.jpg'):
        network.predict([tmp_path / 'text.jpg'])


def test_what_is_no_network_is_named(tmp_path):
    for source, message in (
        ('papr', 'neither the folder of a run, nor a file of weights'),
        (tmp_path, 'has no trained run'),
        (tmp_path / 'missing.safetensors', 'missing.safetensors does not exist'),
        ('bvlc_alexnet.caffemodel', 'or fetch bvlc_alexnet.caffemodel of BVLC'),
    ):
        with pytest.raises(UserError, match=message):
            alexnet_jax.load(source)
    with pytest.raises(UserError, match='has no fc9'):
        Network(slim_weights('miniature')).features(photographs(), ['fc9'])
