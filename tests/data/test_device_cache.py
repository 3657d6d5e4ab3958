"""The device cache: the same batches and steps as from the host, on any mesh; what does not fit is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec
from small_network import EVERY_LAYER, make_mesh

from alexnet_jax.data import augment, device_cache, image_io, pipeline, prefetch
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError
from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.train import optimizer
from alexnet_jax.train.train_step import init_train_state, make_train_step

CROP = EVERY_LAYER.crop_size
SIDE, BATCH, IMAGES = CROP + 8, 16, 40


class Made(RecordSource):
    """Records made of their number; no two alike, and counted as they are read."""

    def __init__(self, images=IMAGES, side=SIDE):
        self.pixels = np.random.default_rng(1).integers(0, 256, (images, side, side, 3), np.uint8)
        self.read = 0

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, record):
        self.read += 1
        return self.pixels[record], record % 10, str(record)


def everywhere(mesh):
    return NamedSharding(mesh, PartitionSpec())


def train_data_of(records):
    eigenvectors = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    basis = PcaBasis(np.array([200.0, 900.0, 4000.0]), eigenvectors)
    return pipeline.TrainPipeline(
        records, augment.Augmentation(CROP, True, 'eigenvalues', 0.1, basis), seed=3, batch_size=BATCH
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, IMAGES - 1), st.integers(0, 8), st.integers(0, 8))
def test_the_device_cuts_as_the_host_does(record, top, left):
    pixels = Made().pixels
    expected = image_io.crop_image(pixels[record], top, left, CROP)
    place = (jnp.array([number], np.int32) for number in (record, top, left))
    found = device_cache.gather_crops(pixels, *place, crop_size=CROP)
    np.testing.assert_array_equal(found[0], expected)


def test_batches_without_pixels_are_the_same_otherwise_and_read_nothing():
    records = Made()
    train_data = train_data_of(records)
    labels = np.arange(IMAGES, dtype=np.int32) % 10
    bare, read = train_data.metadata_only(labels), records.read
    found = [bare.batch(number) for number in range(6)]
    assert records.read == read
    for number, each in enumerate(found):
        whole = train_data.batch(number)
        assert set(whole) - set(each) == {'image'}
        for name, array in each.items():
            np.testing.assert_array_equal(array, whole[name])
            assert array.dtype == whole[name].dtype


@functools.cache
def model():
    return AlexNet(EVERY_LAYER, key=jax.random.key(3), initialization='he')


def train(mesh, train_data, images, steps=3):
    """Return the losses, the parameters, and the collectives of the compiled step."""
    layers = tuple(model().arch.parameter_counts())
    sgd = optimizer.paper_sgd(layers, momentum=0.9, weight_decay=5e-4)
    mean = np.random.default_rng(1).uniform(90, 140, (SIDE, SIDE, 3)).astype(np.float32)
    key, learning_rates = jax.random.key(5), np.full((len(layers), 2), 1e-6, np.float32)
    train_step = make_train_step(model(), sgd, mesh, mean=mean, key=key, cached_images=images)
    state, losses, compiled = init_train_state(model(), sgd, mesh), [], None
    sharding = NamedSharding(mesh, PartitionSpec('data'))
    with prefetch.prefetch_to_device(train_data.batches(0, steps), sharding) as batches:
        for step, batch in enumerate(batches):
            args = state, batch, learning_rates, np.uint32(step)
            compiled = compiled or train_step.lower(*args).compile()
            state, sums = compiled(*args, *train_step.constants)
            losses.append(float(sums['loss']))
    kinds = r'(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\('
    return losses, jax.device_get(state.params), sorted(re.findall(kinds, compiled.as_text()))


@pytest.mark.parametrize('shape', [(4, 1), (2, 2)])
def test_steps_from_the_cache_are_the_steps_from_the_host(shape):
    """Equal losses and parameters after three steps with dropout, to float32's rounding in another program.

    Each device crops its own share out of its own copy: no more is moved between devices than without a cache.
    """
    mesh, records = make_mesh(*shape), Made()
    cache = device_cache.load_to_devices(records, everywhere(mesh), threads=3)
    from_host = train(mesh, train_data_of(records), None)
    from_cache = train(mesh, train_data_of(records).metadata_only(cache.labels), cache.images)
    np.testing.assert_allclose(from_cache[0], from_host[0], rtol=1e-6)
    for found, expected in zip(*map(jax.tree.leaves, (from_cache[1], from_host[1])), strict=True):
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert from_host[2] == from_cache[2] != []


def test_what_does_not_fit_is_refused_with_its_size_and_nothing_is_read(monkeypatch):
    records, mesh = Made(), make_mesh(1, 2)
    monkeypatch.setattr(device_cache, 'free_device_memory', lambda device, devices_sharing_memory: 80_000)
    with pytest.raises(UserError, match=r'40 images of 27 pixels take .* GiB, but cpu:0 has .* GiB'):
        device_cache.load_to_devices(records, everywhere(mesh))
    assert records.read == 1  # for the images' size
    with pytest.raises(UserError, match=r'1,281,167 images of 256 pixels take 234\.6 GiB'):
        device_cache.require_device_memory((1_281_167, 256, 256, 3), everywhere(mesh))


def test_memory_that_nobody_knows_refuses_nothing(monkeypatch):
    monkeypatch.setattr(device_cache, 'free_device_memory', lambda device, devices_sharing_memory: None)
    device_cache.require_device_memory((1_281_167, 256, 256, 3), everywhere(make_mesh(1, 1)))


def test_cpu_devices_share_the_hosts_memory():
    alone, shared = (device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=n) for n in (1, 7))
    assert 3 < alone / shared < 5


def test_files_that_the_host_would_drop_count_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(device_cache, 'MEMINFO', tmp_path / 'meminfo')
    (tmp_path / 'meminfo').write_text('MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n')
    assert device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=1) == 1024 * 2000
    (tmp_path / 'meminfo').write_text('MemFree: 10 kB\n')  # an old kernel's, and no file elsewhere
    assert device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=1) > 0
    (tmp_path / 'meminfo').unlink()
    assert device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=1) > 0
