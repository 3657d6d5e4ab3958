"""The device cache: the same batches and steps as from the host, on any mesh; what does not fit is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from alexnet_jax.data import augment, device_cache, image_io, pipeline, prefetch
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError
from alexnet_jax.models import presets
from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.train import optimizer, train_step

SIDE, CROP, BATCH, IMAGES = 64, 56, 16, 40


class Made:
    """Records made of their number; no two alike, and counted as they are read."""

    def __init__(self, images=IMAGES, side=SIDE):
        self.pixels = np.random.default_rng(1).integers(0, 256, (images, side, side, 3), np.uint8)
        self.read = 0

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, record):
        self.read += 1
        return self.pixels[record], record % 10, str(record)


def mesh_of(shape):
    return jax.make_mesh(
        shape, ('data', 'column'), (AxisType.Auto,) * 2, devices=jax.devices()[: shape[0] * shape[1]]
    )


def everywhere(mesh):
    return NamedSharding(mesh, PartitionSpec())


def stream_of(records):
    eigenvectors = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    basis = PcaBasis(np.array([200.0, 900.0, 4000.0]), eigenvectors)
    return pipeline.TrainPipeline(
        records,
        augment.Augmentation(CROP, True, 'eigenvalues', 0.1, basis),
        seed=3,
        batch_size=BATCH,
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
    stream = stream_of(records)
    labels = np.arange(IMAGES, dtype=np.int32) % 10
    bare, read = stream.metadata_only(labels), records.read
    found = [bare.batch(number) for number in range(6)]
    assert records.read == read
    for number, each in enumerate(found):
        whole = stream.batch(number)
        assert set(whole) - set(each) == {'image'}
        for name, array in each.items():
            np.testing.assert_array_equal(array, whole[name])
            assert array.dtype == whole[name].dtype


@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (2, 2), (8, 1)])
def test_steps_from_the_cache_are_the_steps_from_the_host(shape):
    """Equal losses and parameters after three steps with dropout, to float32's rounding in another program."""
    mesh, records = mesh_of(shape), Made()
    from_host = trained(mesh, stream_of(records), None)
    held = device_cache.load_to_devices(records, everywhere(mesh), threads=3)
    from_cache = trained(mesh, stream_of(records).metadata_only(held.labels), held.images)
    np.testing.assert_allclose(from_cache[0], from_host[0], rtol=1e-6)
    for found, expected in zip(*map(jax.tree.leaves, (from_cache[1], from_host[1])), strict=True):
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@functools.cache
def network():
    return AlexNet(presets.get_architecture('miniature'), key=jax.random.key(3), initialization='he')


def rule():
    return optimizer.paper_sgd(tuple(network().arch.parameter_counts()), momentum=0.9, weight_decay=5e-4)


def made(mesh, images):
    mean = np.random.default_rng(1).uniform(90, 140, (SIDE, SIDE, 3)).astype(np.float32)
    return train_step.make_train_step(
        network(), rule(), mesh, mean=mean, key=jax.random.key(5), cached_images=images
    )


def trained(mesh, stream, images, steps=3):
    state, losses = train_step.init_train_state(network(), rule(), mesh), []
    rates = np.full((len(network().arch.parameter_counts()), 2), 1e-6, np.float32)
    one = made(mesh, images)
    with prefetch.prefetch_to_device(
        stream.batches(0, steps), NamedSharding(mesh, PartitionSpec('data'))
    ) as batches:
        for number, batch in enumerate(batches):
            state, sums = one(state, batch, rates, np.uint32(number))
            losses.append(float(sums['loss']))
    return losses, jax.device_get(state.params)


def test_the_cache_crosses_no_link():
    """Each device cuts its own share out of its own copy: no more is moved than without a cache."""
    mesh, records = mesh_of((2, 2)), Made()
    held = device_cache.load_to_devices(records, everywhere(mesh))
    rates = np.ones((len(network().arch.parameter_counts()), 2), np.float32)
    ways = ((None, stream_of(records)), (held.images, stream_of(records).metadata_only(held.labels)))
    kinds = r'(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\('
    moved = []
    for images, stream in ways:
        batch = jax.device_put(stream.batch(0), NamedSharding(mesh, PartitionSpec('data')))
        arguments = (train_step.init_train_state(network(), rule(), mesh), batch, rates, np.uint32(0))
        moved.append(sorted(re.findall(kinds, made(mesh, images).lower(*arguments).compile().as_text())))
    assert moved[0] == moved[1]


def test_what_does_not_fit_is_refused_with_its_size_and_nothing_is_read(monkeypatch):
    records, mesh = Made(), mesh_of((1, 2))
    monkeypatch.setattr(device_cache, 'free_device_memory', lambda device, devices_sharing_memory: 400_000)
    with pytest.raises(UserError, match=r'40 images of 64 pixels take .* GiB, but cpu:0 has .* GiB'):
        device_cache.load_to_devices(records, everywhere(mesh))
    assert records.read == 1  # for the images' size
    with pytest.raises(UserError, match=r'1,281,167 images of 256 pixels take 234\.6 GiB'):
        device_cache.require_device_memory((1_281_167, 256, 256, 3), everywhere(mesh))


def test_memory_that_nobody_knows_refuses_nothing(monkeypatch):
    monkeypatch.setattr(device_cache, 'free_device_memory', lambda device, devices_sharing_memory: None)
    device_cache.require_device_memory((1_281_167, 256, 256, 3), everywhere(mesh_of((1, 1))))


def test_cpu_devices_share_the_hosts_memory():
    alone, shared = (
        device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=n) for n in (1, 7)
    )
    assert 3 < alone / shared < 5


def test_files_that_the_host_would_drop_count_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(device_cache, 'MEMINFO', tmp_path / 'meminfo')
    (tmp_path / 'meminfo').write_text('MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n')
    assert device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=1) == 1024 * 2000
    (tmp_path / 'meminfo').write_text('MemFree: 10 kB\n')  # an old kernel's, and no file elsewhere
    assert device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=1) > 0
    (tmp_path / 'meminfo').unlink()
    assert device_cache.free_device_memory(jax.devices()[0], devices_sharing_memory=1) > 0
