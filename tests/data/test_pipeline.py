import dataclasses
import hashlib
import threading
import time

import grain
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from alexnet_jax.data import augment, pipeline
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.data.normalize import normalize_batch
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError

few = hypothesis.settings(deadline=None, max_examples=15)
BASIS = PcaBasis(np.array([389.0, 1376.0, 14830.0]), np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]))
AUGMENTATION = augment.Augmentation(7, True, 'eigenvalues', 0.1, BASIS)
SMALL = {'augmentation': AUGMENTATION, 'seed': 3, 'batch_size': 8}


class Records(RecordSource):
    """Small images of chance, made at once."""

    def __init__(self, length, side=9):
        words = np.random.Philox(key=length).random_raw(length * side * side * 3)
        self.images = (words >> np.uint64(56)).astype(np.uint8).reshape(length, side, side, 3)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, record):
        return self.images[record], record % 7, f'record {record}'


def training(length=37, **changes):
    return pipeline.TrainPipeline(Records(length), **(SMALL | changes))


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def grain_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith('grain-prefetch')]


def test_a_batch_has_the_names_shapes_and_types_that_the_step_expects():
    batch = training().batch(0)
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        'image': ((8, 7, 7, 3), 'uint8'),
        'label': ((8,), 'int32'),
        'id': ((8,), 'int32'),
        'top': ((8,), 'int32'),
        'left': ((8,), 'int32'),
        'mirror': ((8,), 'bool'),
        'lighting': ((8, 3), 'float32'),
        'valid': ((8,), 'bool'),
    }
    assert batch['valid'].all()


@pytest.mark.parametrize('threads', [0, 1, 3])
@pytest.mark.parametrize('first', [0, 4])
def test_the_batch_of_a_step_depends_on_seed_and_step_alone(threads, first):
    expected = training()
    batches = training(threads=threads).batches(first, 9)
    numbers = range(first, 9)
    for step, batch in zip(numbers, batches, strict=True):
        same(batch, expected.batch(step))


def test_batches_stay_in_order_when_reading_takes_unequal_times():
    class Slow(Records):
        def __getitem__(self, record):
            time.sleep(0.003 * (record % 5))
            return super().__getitem__(record)

    slow = pipeline.TrainPipeline(Slow(37), **(SMALL | {'threads': 4}))
    for step, batch in enumerate(slow.batches(0, 8)):
        same(batch, slow.batch(step))


def test_without_a_last_step_the_train_data_has_no_end():
    batches = training(threads=0).batches(10**12)
    same(next(batches), training().batch(10**12))


def test_another_seed_gives_another_order_in_every_epoch():
    orders = {
        tuple(pipeline.epoch_order(seed, np.full(37, epoch), np.arange(37), 37))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


@few
@hypothesis.given(length=st.integers(1, 300), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6))
def test_each_epoch_is_a_permutation(length, seed, epoch):
    records = pipeline.epoch_order(seed, np.full(length, epoch), np.arange(length), length)
    assert sorted(records) == list(range(length))


@pytest.mark.parametrize('length', [pipeline.SMALL_EPOCH - 1, pipeline.SMALL_EPOCH, pipeline.SMALL_EPOCH + 1, 9000])
def test_each_epoch_is_a_permutation_on_both_sides_of_few(length):
    orders = [pipeline.epoch_order(5, np.full(length, epoch), np.arange(length), length) for epoch in range(2)]
    for records in orders:
        assert np.array_equal(np.sort(records), np.arange(length))
        assert abs(np.corrcoef(records, np.arange(length))[0, 1]) < 0.06
    assert abs(np.corrcoef(*orders)[0, 1]) < 0.06


def test_the_order_of_many_is_grains_own_shuffle():
    length, seed, epoch = 5000, 3, 2
    shuffled = grain.MapDataset.range(length).shuffle(seed=pipeline._shuffle_seed(seed, epoch))
    records = pipeline.epoch_order(seed, np.full(length, epoch), np.arange(length), length)
    assert [shuffled[i] for i in range(length)] == records.tolist()


def test_every_place_of_an_epoch_is_as_good_as_any_other():
    # Where record 0 comes to stand over many epochs: chi-squared over eight stretches of the epoch.
    places = [int(np.argmin(pipeline.epoch_order(1, np.full(64, e), np.arange(64), 64))) for e in range(400)]
    counts = np.bincount(np.array(places) // 8, minlength=8)
    assert np.sum((counts - 50) ** 2) / 50 < 24.3  # once in a thousand, for 7 degrees of freedom


def test_batches_cross_epoch_borders_and_lose_nothing():
    train_data = training(length=37)
    ids = np.concatenate([train_data.batch(step)['id'] for step in range(14)])
    for epoch in range(3):
        assert sorted(ids[37 * epoch : 37 * (epoch + 1)]) == list(range(37))
    assert train_data.epoch(0) == 0 and train_data.epoch(37) == 8
    assert train_data.position(5) == 40


def test_a_batch_larger_than_the_dataset_holds_it_several_times():
    ids = training(length=5, batch_size=20).batch(0)['id']
    assert np.bincount(ids).tolist() == [4] * 5


def test_an_image_seen_again_is_drawn_anew():
    train_data = training(length=5, batch_size=5)
    first, second = train_data.batch(0), train_data.batch(1)
    where = [second['id'].tolist().index(i) for i in first['id']]
    assert not np.array_equal(first['lighting'], second['lighting'][where])


@pytest.mark.parametrize('processes', [2, 4])
def test_the_shares_of_the_processes_in_order_are_the_global_batch(processes):
    whole = training().batch(4)
    shares = [training(process_index=i, process_count=processes).batch(4) for i in range(processes)]
    same(whole, {name: np.concatenate([share[name] for share in shares]) for name in whole})


def test_pixels_are_cut_from_the_record_where_the_draw_says_and_belong_to_their_label():
    records, batch = Records(37), training().batch(2)
    for i, record in enumerate(batch['id']):
        image, label, _ = records[record]
        top, left = batch['top'][i], batch['left'][i]
        np.testing.assert_array_equal(batch['image'][i], image[top : top + 7, left : left + 7])
        assert batch['label'][i] == label
    assert batch['mirror'].any() and not batch['mirror'].all()


@pytest.mark.parametrize('kind', augment.MEAN_KINDS)
def test_the_training_step_sees_the_example_to_the_bit_whatever_the_mean(kind):
    train_data = training()
    mean = np.random.default_rng(0).uniform(0, 255, (9, 9, 3)).astype(np.float32)
    selected, static = augment.select_mean(mean, kind, 7)
    means = {'center': mean[1:8, 1:8], 'channel': mean.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)}
    for step in (0, 6):  # step 6 is in the second epoch
        batch = train_data.batch(step)
        seen = np.asarray(normalize_batch(batch, selected, static=static))
        assert seen.dtype == np.float32
        for i in range(8):
            top, left, flip = batch['top'][i], batch['left'][i], -1 if batch['mirror'][i] else 1
            lit = batch['image'][i].astype(np.float32) + batch['lighting'][i][None, None]
            if kind == 'image':
                expected = (lit - mean[top : top + 7, left : left + 7])[:, ::flip]
            else:
                expected = lit[:, ::flip] - means[kind]
            np.testing.assert_array_equal(seen[i], expected)


def test_any_example_can_be_made_again_alone():
    train_data = training()
    for step in (0, 6):  # step 6 is in the second epoch
        batch = train_data.batch(step)
        for i, record in enumerate(batch['id']):
            epoch = (train_data.position(step) + i) // 37
            alone = train_data.examples(np.array([epoch]), np.array([record]))
            same(alone, {name: array[i : i + 1] for name, array in batch.items()})


def test_the_first_batches_are_those_they_have_always_been():
    train_data = training(length=37, seed=2012)
    digest = hashlib.sha256()
    for step in range(6):
        batch = train_data.batch(step)
        for name in ('id', 'label', 'top', 'left', 'mirror', 'image'):
            digest.update(batch[name].astype(batch[name].dtype.newbyteorder('<')).tobytes())
    assert train_data.batch(0)['id'].tolist() == [29, 9, 15, 28, 36, 26, 31, 7]
    assert digest.hexdigest() == '663cc2a349eb74ba7782becff2fac2312614a2efe8de4e2e4850a8cefe944465'
    assert pipeline.epoch_order(2012, np.full(6, 1), np.arange(6), 8000).tolist() == [
        6812,
        5520,
        5004,
        5295,
        5525,
        3941,
    ]
    np.testing.assert_allclose(train_data.batch(5)['lighting'][0], [0.56564623, 0.42220482, 1.7077459], rtol=1e-6)


def test_a_closed_iterator_leaves_no_threads():
    before = set(grain_threads())
    batches = training(threads=3).batches()
    next(batches)
    assert set(grain_threads()) - before
    batches.close()
    deadline = time.monotonic() + 5
    while set(grain_threads()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(grain_threads()) - before


def test_closing_waits_for_the_reading_that_is_under_way():
    class Watched(Records):
        reads = 0

        def __getitem__(self, record):
            time.sleep(0.01)
            Watched.reads += 1
            return super().__getitem__(record)

    batches = pipeline.TrainPipeline(Watched(37), **SMALL).batches()
    next(batches)
    batches.close()
    reads = Watched.reads
    time.sleep(0.05)
    assert Watched.reads == reads


@pytest.mark.parametrize('threads', [0, 2])
def test_an_error_of_a_record_comes_out_where_the_batch_is_asked_for(threads):
    class Damaged(Records):
        def __getitem__(self, record):
            if record == 20:
                raise UserError('record 20 cannot be read')
            return super().__getitem__(record)

    train_data = pipeline.TrainPipeline(Damaged(37), **SMALL, threads=threads)
    bad = next(step for step in range(5) if 20 in training().batch(step)['id'])
    batches = train_data.batches()
    for _ in range(bad):
        next(batches)
    with pytest.raises(UserError, match='record 20 cannot be read'):
        next(batches)


@few
@hypothesis.given(images=st.integers(1, 40), share=st.integers(1, 9), processes=st.integers(1, 4))
def test_evaluation_counts_each_image_exactly_once(images, share, processes):
    records, whole = Records(images, side=2), share * processes
    hosts = [
        pipeline.EvalPipeline(records, batch_size=whole, process_index=i, process_count=processes)
        for i in range(processes)
    ]
    assert {len(host) for host in hosts} == {-(-images // whole)}
    counted = []
    for host in hosts:
        for number in range(len(host)):
            batch = host.batch(number)
            assert batch['image'].shape == (share, 2, 2, 3)
            assert {array.shape[0] for array in batch.values()} == {share}
            for image, label, record, valid in zip(*batch.values(), strict=True):
                if valid:
                    counted.append(int(record))
                    np.testing.assert_array_equal(image, records.images[record])
                    assert label == record % 7
                else:
                    assert record == -1 and label == 0 and not image.any()
    assert len(counted) == len(set(counted)) == images


@pytest.mark.parametrize('threads', [0, 2])
def test_evaluation_reads_ahead_the_same_batches_from_any_number(threads):
    eval_data = pipeline.EvalPipeline(Records(23), batch_size=4, threads=threads)
    for first in (0, 3):
        batches = list(eval_data.batches(first))
        assert len(batches) == len(eval_data) - first
        for number, batch in enumerate(batches, first):
            same(batch, eval_data.batch(number))
    with pytest.raises(IndexError):
        eval_data.batch(len(eval_data))


def test_what_cannot_be_is_told_at_once():
    with pytest.raises(UserError, match='no training images'):
        training(length=0)
    with pytest.raises(UserError, match='batch of 8 .* 3 processes'):
        training(process_count=3)
    with pytest.raises(UserError, match='crop of 10 pixels .* 9 pixels'):
        training(augmentation=dataclasses.replace(AUGMENTATION, crop_size=10))
    with pytest.raises(UserError, match='lighting'):
        training(augmentation=dataclasses.replace(AUGMENTATION, lighting='sun'))
    with pytest.raises(UserError, match='no images to evaluate'):
        pipeline.EvalPipeline(Records(0), batch_size=4)


def test_drawn_words_are_a_function_of_seed_and_record_not_of_the_batch_size():
    small, large = training(batch_size=4), training(batch_size=16)
    joined = [small.batch(step) for step in range(4)]
    same(large.batch(0), {name: np.concatenate([batch[name] for batch in joined]) for name in joined[0]})


def test_the_draws_are_augments():
    batch = training().batch(0)
    params = augment.sample_augmentations(3, np.zeros(8, int), batch['id'], AUGMENTATION, image_size=9)
    for name, array in params._asdict().items():
        np.testing.assert_array_equal(array, batch[name])
