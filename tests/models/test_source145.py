"""Run 145 of the 2012 source against plain NumPy, float64: value, gradient, and the way of an image to its input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slim_networks
import witness

from alexnet_jax.data import augment, normalize
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.models import layers
from alexnet_jax.models.alexnet import AlexNet, with_parameters
from alexnet_jax.models.architecture import ResponseNormalization, SpatialResponseNormalization
from alexnet_jax.models.initializers import INITIALIZATIONS
from alexnet_jax.models.presets import SOURCE145

# Windows of conv1, pool2 and pool5 hang over the edge at this crop: 17, 8, 4, 2.
CROP, BATCH = 72, 2


@pytest.fixture(scope='module')
def slim():
    """The network with a sixteenth of its features, random weights of order one, images, labels and masks."""
    arch = dataclasses.replace(slim_networks.slim_architecture('source145'), crop_size=CROP)
    chance = np.random.default_rng(145)
    weights = {}
    for name, shape in arch.kernel_shapes().items():
        kernel = chance.normal(size=(2, *shape)) * np.sqrt(2 / np.prod(shape[:-1]))
        weights[name] = (kernel, chance.normal(size=(2, shape[-1])) / 5)
    images = 60 * chance.normal(size=(BATCH, CROP, CROP, 3))
    masks = {name: chance.integers(0, 2, (2, BATCH, 128)).astype(bool) for name in ('drop6', 'drop7')}
    return arch, weights, images, np.array([3, 6]), masks


def package_logits(arch, weights, images, masks):
    model = AlexNet(arch, key=jax.random.key(0))
    parameters = {name: {'kernel': kernel, 'bias': bias} for name, (kernel, bias) in weights.items()}
    return with_parameters(model, parameters)(images, masks)[0]


def witness_logits(weights, images, masks):
    return witness.run145(weights, images, masks=masks)[:, : slim_networks.CLASSES]


@pytest.mark.parametrize('training', [False, True])
def test_its_logits_are_those_of_the_source(slim, training):
    arch, weights, images, _, masks = slim
    masks = masks if training else None
    expected = witness_logits(weights, images, masks)
    with jax.enable_x64(True):
        found = jax.jit(lambda x: package_logits(arch, weights, x, masks))(jnp.asarray(images))
    assert np.abs(np.asarray(found) - expected).max() < 1e-10 * np.abs(expected).max()


@pytest.mark.extended
def test_its_gradients_are_those_of_the_source(slim):
    arch, weights, images, labels, masks = slim
    chance = np.random.default_rng(1)
    with jax.enable_x64(True):

        def loss(weights, images):
            logits = package_logits(arch, weights, images, masks)
            picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
            return jnp.mean(jax.nn.logsumexp(logits, axis=1) - picked)

        for_weights, for_images = jax.jit(jax.grad(loss, argnums=(0, 1)))(
            jax.tree.map(jnp.asarray, weights), jnp.asarray(images)
        )

    def expected_loss(weights, images):
        return witness.cross_entropy(witness_logits(weights, images, masks), labels)

    for name, (kernel, bias) in weights.items():
        for part, array in enumerate((kernel, bias)):
            direction = chance.normal(size=array.shape) / np.sqrt(array.size)

            def moved(x, name=name, part=part):
                pair = [*weights[name]]
                pair[part] = x
                return expected_loss({**weights, name: tuple(pair)}, images)

            slope = np.sum(np.asarray(for_weights[name][part]) * direction)
            assert slope == pytest.approx(witness.slope(moved, array, direction), rel=1e-4, abs=1e-8), (name, part)
    direction = chance.normal(size=images.shape)
    slope = np.sum(np.asarray(for_images) * direction)
    assert slope == pytest.approx(witness.slope(lambda x: expected_loss(weights, x), images, direction), rel=1e-4)


@pytest.mark.parametrize('n', [3, 4, 5])
def test_a_window_within_a_map_is_clipped_at_its_edges(n):
    """For an even n the square begins n // 2 before the pixel, as windows across maps do."""
    x = np.random.default_rng(n).normal(size=(1, 4, 6, 2)) * 20
    before, after = n // 2, (n - 1) // 2
    expected = np.empty_like(x)
    for i, j in np.ndindex(4, 6):
        square = x[:, max(0, i - before) : i + after + 1, max(0, j - before) : j + after + 1]
        expected[:, i, j] = x[:, i, j] / (1 + 4e-5 * np.sum(square**2, axis=(1, 2))) ** 0.75
    with jax.enable_x64(True):
        found = layers.spatial_response_normalization(jnp.asarray(x), k=1.0, n=n, alpha=4e-5, beta=0.75)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_its_constants_are_those_of_the_files():
    across = [layer for layer in SOURCE145.layers if isinstance(layer, ResponseNormalization)]
    assert [(each.k, each.n, each.alpha / each.n, each.alpha_over_n) for each in across] == [(2, 5, 2e-5, True)] * 2
    within = [layer for layer in SOURCE145.layers if isinstance(layer, SpatialResponseNormalization)]
    assert [(each.name, each.k, each.n, each.alpha) for each in within] == [('norm2b', 1, 5, 1e-3)]
    first = {name: INITIALIZATIONS['source2012'](name, 1)[:2] for name in SOURCE145.kernel_shapes()}
    assert first == {
        'conv1': (0.01, 0),
        'conv2': (0.01, 1),
        'conv3': (0.03, 0),
        'conv4': (0.03, 1),
        'conv5': (0.03, 1),
        'fc6': (0.01, 1),
        'fc7': (0.01, 1),
        'fc8': (0.01, 0),
    }


def test_the_input_is_that_of_the_source_with_noise_and_without():
    chance, epochs, records = np.random.default_rng(0), np.array([66, 67, 66, 67]), np.arange(4)
    basis = PcaBasis(np.array([389.0, 1376.0, 14830.0]), np.linalg.qr(chance.normal(size=(3, 3)))[0])
    augmentation = augment.Augmentation(
        16, True, 'deviations', 0.1, basis, lighting_rescale=True, lighting_edits=((67.0, False),)
    )
    drawn = augment.sample_augmentations(145, epochs, records, augmentation, image_size=20)
    crops, mean = chance.integers(0, 256, (4, 16, 16, 3), np.uint8), chance.uniform(90, 140, (20, 20, 3))
    batch = {'image': crops, **drawn._asdict(), 'scale': augmentation.image_scale(epochs)}
    selected, static = augment.select_mean(mean, 'center', 16)
    found = normalize.normalize_batch(jax.tree.map(jnp.asarray, batch), jnp.asarray(selected), static=static)
    # The noise of the source: eigenvectors times deviations times a normal number; the strength comes on top.
    normal = augment._standard_normal(augment._philox_words(145, epochs, records)[:, 3:])
    noise = (normal * np.sqrt(basis.eigenvalues)) @ basis.eigenvectors.T
    with_noise = witness.noisy_crops(crops, mean, noise, 0.1, drawn.mirror)
    without = witness.noisy_crops(crops, mean, noise, 0.0, drawn.mirror)
    expected = np.where((epochs < 67)[:, None, None, None], with_noise, without)
    assert 0 < drawn.mirror.sum() < 4 and np.abs(with_noise - without).max() > 5
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_blocks_share_crop_and_flip_but_not_lighting():
    basis = PcaBasis(np.array([400.0, 1400.0, 14800.0]), np.eye(3))
    augmentation = augment.Augmentation(16, True, 'deviations', 0.1, basis, crop_block=32)
    epochs, places = np.repeat([0, 1], 96), np.tile(np.arange(96), 2)
    records = np.random.default_rng(0).permutation(192)
    drawn = augment.sample_augmentations(3, epochs, records, augmentation, image_size=48, places=places)
    blocks = np.stack([drawn.top, drawn.left, drawn.mirror], axis=1).reshape(6, 32, 3)
    assert (blocks == blocks[:, :1]).all() and len(np.unique(blocks[:, 0], axis=0)) == 6
    assert len(np.unique(drawn.lighting, axis=0)) == 192
    with pytest.raises(ValueError, match='places'):
        augment.sample_augmentations(3, epochs, records, augmentation, image_size=48)
