import threading
import time

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from alexnet_jax.data.prefetch import Prefetcher, prefetch_to_device


def sharding(data=4, column=2):
    mesh = jax.make_mesh(
        (data, column), ('data', 'column'), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[: data * column]
    )
    return NamedSharding(mesh, PartitionSpec('data'))


def batch(number, size=8):
    return {
        'image': np.full((size, 2, 2, 3), number, np.uint8),
        'label': np.arange(size, dtype=np.int32) + number,
        'valid': np.ones(size, bool),
    }


class Source:
    """Batches 0, 1, ... that notes how far it was read, from which thread, and whether it was closed."""

    def __init__(self, count, seconds=0.0, fails_at=None):
        self.count, self.seconds, self.fails_at = count, seconds, fails_at
        self.read, self.closed, self.threads = 0, False, set()

    def __iter__(self):
        return self

    def __next__(self):
        self.threads.add(threading.current_thread())
        if self.read == self.fails_at:
            raise OSError('the disk is gone')
        if self.read == self.count:
            raise StopIteration
        time.sleep(self.seconds)
        self.read += 1
        return batch(self.read - 1)

    def close(self):
        self.closed = True


def wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize('data, column', [(1, 1), (4, 2), (8, 1), (1, 2)])
def test_batches_arrive_in_order_shared_among_the_devices_along_data(data, column):
    where = sharding(data, column)
    with prefetch_to_device((batch(i) for i in range(5)), where) as placed:
        arrived = list(placed)
    assert len(arrived) == 5
    for number, arrays in enumerate(arrived):
        for name, expected in batch(number).items():
            np.testing.assert_array_equal(arrays[name], expected)
            assert arrays[name].dtype == expected.dtype
            assert arrays[name].sharding.is_equivalent_to(where, arrays[name].ndim)
            assert {len(shard.data) for shard in arrays[name].addressable_shards} == {8 // data}


def test_batches_are_read_by_another_thread_before_they_are_asked_for():
    source = Source(10)
    with prefetch_to_device(source, sharding(1, 1), depth=3) as placed:
        wait_until(lambda: source.read == 4)  # three wait on the device, one in the thread's hand
        assert threading.current_thread() not in source.threads
        next(placed)
        wait_until(lambda: source.read == 5)


def test_no_more_than_ahead_batches_are_placed_before_they_are_asked_for():
    placed, source = [], Source(20)
    with Prefetcher(source, lambda each: placed.append(each) or each, depth=2) as ring:
        wait_until(lambda: source.read == 3)
        time.sleep(0.02)
        assert len(placed) == 2
        next(ring)
        wait_until(lambda: len(placed) == 3)


def test_what_the_source_raises_is_raised_in_its_turn():
    with prefetch_to_device(Source(9, fails_at=2), sharding(1, 1)) as placed:
        assert [int(next(placed)['label'][0]) for _ in range(2)] == [0, 1]
        with pytest.raises(OSError, match='the disk is gone'):
            next(placed)
        with pytest.raises(StopIteration):
            next(placed)


def test_a_batch_that_cannot_be_placed_raises_too():
    with prefetch_to_device(iter([batch(0, size=7)]), sharding(4, 1)) as placed, pytest.raises(ValueError):
        next(placed)


def test_the_end_of_the_source_is_the_end_of_the_feed_for_good():
    with prefetch_to_device(Source(1), sharding(1, 1)) as placed:
        next(placed)
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(placed)


def test_waited_counts_the_seconds_that_the_source_was_late_and_no_others():
    with prefetch_to_device(Source(4, seconds=0.1), sharding(1, 1)) as placed:
        list(placed)
        assert 0.3 < placed.wait_seconds < 5
    with prefetch_to_device(Source(4), sharding(1, 1), depth=4) as placed:
        time.sleep(0.3)
        list(placed)
        assert placed.wait_seconds < 0.1


def test_closing_ends_the_thread_closes_the_source_and_may_be_done_twice():
    before = set(threading.enumerate())
    source = Source(10**6)
    placed = prefetch_to_device(source, sharding(1, 1))
    next(placed)
    placed.close()
    placed.close()
    assert source.closed
    assert set(threading.enumerate()) <= before
    with pytest.raises(StopIteration):
        next(placed)


def test_closing_a_feed_over_a_generator_ends_the_generator():
    ended = []

    def numbers():
        try:
            for number in range(100):
                yield batch(number)
        finally:
            ended.append(True)

    with prefetch_to_device(numbers(), sharding(1, 1)) as placed:
        next(placed)
    assert ended


def test_nothing_ahead_is_refused():
    with pytest.raises(ValueError, match='not 0'):
        prefetch_to_device(Source(1), sharding(1, 1), depth=0)
