"""A run is its config and its seed: mesh, threads and shares do not show in examples, draws and losses."""

import functools

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from alexnet_jax.commands import factories
from alexnet_jax.data import augment, pipeline, prefetch
from alexnet_jax.distributed.sharding import batch_sharding
from alexnet_jax.train import optimizer, train_step

STEPS = 20
# Twenty steps as far apart as roundings alone make them need a network without corners: a ReLU or a maximum that a
# rounding turns sends its gradient elsewhere, and even at a rate of 1e-6 losses are then 7e-4 apart. Single steps with
# ReLUs and maxima: tests/models/test_column_parallel.py.
SMOOTH = {'model.activation': 'tanh', 'model.pooling': 'average'}
RATE = 1e-3
MESHES = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1)]  # of up to eight devices, two columns
IN_THE_SUITE = [(1, 2), (4, 2)]


@pytest.fixture(scope='module')
def run(trained):
    """`run(mesh)` -> (losses, what is left of the state) of twenty steps with dropout, crops, flips and lighting."""
    _, workdir = trained

    @functools.cache
    def losses(shape, again=0):
        config = tiny_config()
        config.update_from_flattened_dict(SMOOTH)
        config.mesh = ','.join(map(str, shape))
        data = factories.open_or_prepare_dataset(config, workdir)
        arch = factories.make_architecture(config, data)
        mesh = factories.make_device_mesh(config, arch)
        stream = factories.make_train_pipeline(config, data, arch, mesh)
        key = jax.random.key(config.seed)
        network = factories.make_model(config, arch, key=jax.random.fold_in(key, 0))
        layers = tuple(arch.parameter_counts())
        rule = optimizer.paper_sgd(layers, momentum=0.9, weight_decay=0.0005)
        made = train_step.make_train_step(network, rule, mesh, mean=data.mean, key=jax.random.fold_in(key, 1))
        state = train_step.init_train_state(network, rule, mesh)
        rates = np.full((len(layers), 2), RATE, np.float32)
        read = []
        with prefetch.prefetch_to_device(stream.batches(0, STEPS), batch_sharding(mesh)) as batches:
            for number, batch in enumerate(batches):
                state, sums = made(state, batch, rates, np.uint32(number))
                read.append(float(sums['loss']))
        return np.array(read), jax.device_get(state)

    return losses


@pytest.mark.parametrize(
    'shape', [each if each in IN_THE_SUITE else pytest.param(each, marks=pytest.mark.slow) for each in MESHES[1:]]
)
def test_twenty_steps_have_the_same_losses_on_any_mesh(shape, run):
    losses, _ = run(shape)
    assert len(losses) == STEPS and len(set(losses)) == STEPS
    np.testing.assert_allclose(losses, run((1, 1))[0], rtol=1e-5)


def test_two_runs_on_one_mesh_are_equal_to_the_bit(run):
    (first, state), (second, again) = run((4, 2)), run((4, 2), 1)
    assert (first == second).all()
    jax.tree.map(np.testing.assert_array_equal, state, again)


@pytest.mark.parametrize('threads', [0, 1, 4])
@pytest.mark.parametrize('shares', [1, 2, 4])
def test_threads_and_shares_do_not_show_in_the_examples_and_their_draws(threads, shares, trained):
    config, workdir = trained
    data = factories.open_or_prepare_dataset(config, workdir)
    augmentation = augment.Augmentation(56, True, 'eigenvalues', 0.1, data.pca_basis)
    settings = {'augmentation': augmentation, 'seed': 3, 'batch_size': 8}
    whole = pipeline.TrainPipeline(data.split('train'), **settings)
    parts = [
        pipeline.TrainPipeline(
            data.split('train'), **settings, process_index=i, process_count=shares, threads=threads
        ).batches(0, STEPS)
        for i in range(shares)
    ]
    for number, pieces in enumerate(zip(*parts, strict=True)):
        for name, expected in whole.batch(number).items():
            np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), expected)
