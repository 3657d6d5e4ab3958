"""Statistics: the colors that lighting draws along, the dataset's own or the published ones of ImageNet."""

import numpy as np
import pytest

from alexnet_jax import commands
from alexnet_jax.commands import factories, prepare
from alexnet_jax.data import dataset, statistics
from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.models import presets
from configs import quickstart

MESH = make_mesh((1, 1), columns=2, batch_size=8)
PLANES = np.array([[0.41796, -0.81698, 0.39731], [-0.71258, -0.02354, 0.7012], [-0.56351, -0.57618, -0.592]])


def test_the_published_colors_are_those_of_the_2012_source():
    """Standard deviations and directions of cuda-convnet2's input_meta, one direction in each row here."""
    own = statistics.PcaBasis(np.ones(3), np.eye(3))
    eigenvalues, eigenvectors = statistics.select_pca_basis('imagenet2012', own)
    np.testing.assert_array_equal(np.sqrt(eigenvalues), [19.721, 37.094, 121.780])
    np.testing.assert_array_equal(eigenvectors.T, PLANES)
    np.testing.assert_allclose(eigenvectors.T @ eigenvectors, np.eye(3), atol=2e-5)
    np.testing.assert_allclose(eigenvalues / 255**2, [0.00598, 0.02116, 0.22807], atol=5e-6)


def test_the_datasets_own_are_given_back():
    own = statistics.PcaBasis(np.array([1.0, 2.0, 3.0]), np.eye(3)[::-1])
    assert statistics.select_pca_basis('dataset', own) is own


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    config = config_of('dataset', 'none')
    config.data.directory = str(tmp_path_factory.mktemp('colors') / 'dataset')
    commands.run('prepare', config)
    return dataset.open_dataset(config.data.directory)


def config_of(colors, lighting):
    config = quickstart.get_config()
    config.prepare.num_cutouts = '30,10,10'
    config.train.batch_size = 8
    config.augment.lighting = lighting
    config.augment.pca_basis = colors
    return config


@pytest.mark.parametrize('lighting, of_an_eigenvalue', [
    ('eigenvalues', lambda value: value / 255),  # the paper's: of pixels in 0 to 1, and back to gray levels
    ('deviations', np.sqrt),  # the 2012 source's
])  # fmt: skip
def test_batches_are_lit_along_the_colors_that_were_chosen(lighting, of_an_eigenvalue, data):
    """A third of the shift along each direction is what the seed drew times that direction's strength."""
    arch, drawn = presets.get_architecture('miniature', num_classes=10), {}
    for colors in statistics.PCA_BASES:
        batch = factories.make_train_pipeline(config_of(colors, lighting), data, arch, MESH).batch(0)
        values, directions = statistics.select_pca_basis(colors, data.pca_basis)
        drawn[colors] = batch['lighting'] @ directions / of_an_eigenvalue(values)
    assert np.abs(drawn['dataset']).max() > 0.01  # a tenth of a normal draw
    np.testing.assert_allclose(drawn['imagenet2012'], drawn['dataset'], rtol=1e-3, atol=1e-4)


def test_the_contact_sheet_is_lit_like_the_batches(data):
    seen = {
        colors: prepare._augmented_samples(config_of(colors, 'deviations'), data, np.arange(3), 56)
        for colors in statistics.PCA_BASES
    }
    assert (seen['dataset'] != seen['imagenet2012']).any()
