"""Batches as NumPy arrays: a function of the step for training, and every image once for evaluation.

The training data is one endless stream of shuffled epochs; batches cross epoch borders. The batch of a step is a
function of (seed, step) alone, whatever the threads, iterators and earlier batches. Grain's elements here are whole
batches, because its overhead for each image would be a sixth of a decode.

B this process's share of a batch.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from threading import Thread, current_thread

import grain
import numpy as np
from grain.experimental import index_shuffle

from alexnet_jax.data.augment import Augmentation, AugmentParams, sample_augmentations
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.errors import UserError

Batch = dict[str, np.ndarray]
# Positions in the stream, [first, last), whose examples no step sees.
SkipRanges = tuple[tuple[int, int], ...]
# Up to so many records the order is made anew for each batch, in less than 0.1 ms.
SMALL_EPOCH = 4096


class TrainPipeline:
    """The batches of a training run, each made from its step's number."""

    def __init__(
        self,
        records: RecordSource,
        augmentation: Augmentation,
        *,
        seed: int,
        batch_size: int,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 1,
    ):
        """Prepare batches of `batch_size` images over all processes, of which this one reads its contiguous slice.

        As many batches are made at once as there are `threads`; with 0, each is made when it is asked for.
        """
        if len(records) == 0:
            raise UserError('There are no training images; choose a dataset whose training split has some.')
        self.records, self.augmentation, self.seed = records, augmentation, seed
        self._batch_size, self._threads = batch_size, threads
        self._slice = _process_slice(batch_size, process_index, process_count)
        self._image_size = len(records[0][0])
        self._labels: np.ndarray | None = None
        self._base = 0, 0
        self.skipped: SkipRanges = ()
        # A crop that does not fit, or an unknown lighting, is raised here and not in a thread.
        epochs, records, places = self._locate(range(1))
        self._augment(epochs, records, places)

    def batch(self, step: int) -> Batch:
        """Return this process's share of the batch of `step` (from 0).

        image uint8 (B, crop, crop, 3), cropped; label, id (the record's number), top and left int32 (B,); mirror bool
        (B,) and lighting float32 (B, 3), which the train step applies, where it costs nothing; valid bool (B,), all
        true; scale float32 (B,) if the augmentation rescales.
        """
        first = self.position(step)
        epochs, records, places = self._locate(range(first + self._slice.start, first + self._slice.stop))
        if self._labels is None:
            return self.examples(epochs, records, places)
        params = self._augment(epochs, records, places)
        return {'label': self._labels[records], **self._metadata(epochs, records, params)}

    def examples(self, epochs: np.ndarray, records: np.ndarray, places: np.ndarray | None = None) -> Batch:
        """Return the examples that `records` make in `epochs`, as `batch` does.

        `places` are where they stand in their epochs, which only crops that blocks share need.
        """
        params = self._augment(epochs, records, places)
        size = self.augmentation.crop_size
        image, label = np.empty((len(records), size, size, 3), np.uint8), np.empty(len(records), np.int32)
        corners = zip(records.tolist(), params.top.tolist(), params.left.tolist(), strict=True)
        for i, (record, top, left) in enumerate(corners):
            label[i], _ = self.records.read_crop(record, image[i], top, left)
        return {'image': image, 'label': label, **self._metadata(epochs, records, params)}

    def batches(self, first_step: int = 0, last_step: int | None = None) -> Iterator[Batch]:
        """Yield batch(first_step), batch(first_step + 1), ... before last_step, made ahead by threads.

        An iterator that is closed, or dropped, leaves no thread behind.
        """
        return _prefetch(self.batch, first_step, sys.maxsize if last_step is None else last_step, self._threads)

    def metadata_only(self, labels: np.ndarray) -> 'TrainPipeline':
        """Return the same stream without 'image', for devices that hold the images: its batches read no record.

        `labels` int32 (records,).
        """
        pipeline = copy.copy(self)
        pipeline._labels = labels
        return pipeline

    def with_skips(self, skipped: SkipRanges) -> 'TrainPipeline':
        """Return the same stream without the examples in these ranges: later ones move up. Ranges do not overlap."""
        pipeline = copy.copy(self)
        pipeline.skipped = tuple(sorted(skipped))
        return pipeline

    def skips_before(self, step: int) -> tuple[int, int]:
        """Return how many examples are skipped between the batch before `step` and its own, and where they begin."""
        first, seen = self._base
        end = self.position(step - 1) + self._batch_size if step > first else seen
        return self.position(step) - end, end

    def rebase(self, step: int, seen: int) -> None:
        """Continue with the examples after the first `seen` from `step` on; the batch size was another before."""
        self._base = step, seen

    def position(self, step: int) -> int:
        """Return the number of examples consumed by all processes, or skipped, before the batch of `step`."""
        first, seen = self._base
        position = seen + (step - first) * self._batch_size
        for start, end in self.skipped:
            if seen <= start <= position:
                position += end - start
        return position

    def epoch(self, step: int) -> float:
        """Return the passes over the training images before `step`."""
        return self.position(step) / len(self.records)

    def example_ids(self, step: int) -> list[str]:
        """Return the ids of all examples of a step's batch, whichever process reads them."""
        first = self.position(step)
        _, records, _ = self._locate(range(first, first + self._batch_size))
        return [self.records[record][2] for record in records.tolist()]

    def _locate(self, positions: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the epochs, the records (int32) and their places in the epoch at these positions of the stream."""
        epochs, places = np.divmod(np.asarray(positions, np.int64), len(self.records))
        return epochs, epoch_order(self.seed, epochs, places, len(self.records)), places

    def _augment(self, epochs: np.ndarray, records: np.ndarray, places: np.ndarray | None) -> AugmentParams:
        return sample_augmentations(
            self.seed, epochs, records, self.augmentation, image_size=self._image_size, places=places
        )

    def _metadata(self, epochs: np.ndarray, records: np.ndarray, params: AugmentParams) -> Batch:
        batch = {'id': records, **params._asdict(), 'valid': np.ones(len(records), bool)}
        return batch | ({'scale': self.augmentation.image_scale(epochs)} if self.augmentation.lighting_rescale else {})


class EvalPipeline:
    """Every image once, uncropped, in equally many equal batches on all processes; padding is not valid."""

    def __init__(
        self,
        records: RecordSource,
        *,
        batch_size: int,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 1,
    ):
        """Prepare batches of `batch_size` images over all processes, of which this one reads its contiguous slice."""
        if len(records) == 0:
            raise UserError('There are no images to evaluate; choose a split that has some.')
        self.records, self._batch_size, self._threads = records, batch_size, threads
        self._slice = _process_slice(batch_size, process_index, process_count)
        self._shape = records[0][0].shape

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.records) // self._batch_size)

    def batch(self, number: int) -> Batch:
        """Return this process's share of a batch.

        image uint8 (B, side, side, 3), whole; label and id (the record's number) int32 (B,); valid bool (B,). Where
        valid is false, the image is black, the label 0 and the id -1.
        """
        if not 0 <= number < len(self):
            raise IndexError(f'batch {number} of {len(self)}')
        size = len(self._slice)
        places = number * self._batch_size + np.arange(self._slice.start, self._slice.stop, dtype=np.int64)
        valid = places < len(self.records)
        ids = np.where(valid, places, -1).astype(np.int32)
        image, label = np.zeros((size, *self._shape), np.uint8), np.zeros(size, np.int32)
        for i, record in enumerate(ids[valid].tolist()):
            label[i], _ = self.records.read_crop(record, image[i])
        return {'image': image, 'label': label, 'id': ids, 'valid': valid}

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from number `first` to the end, made ahead by threads. See `TrainPipeline.batches`."""
        return _prefetch(self.batch, first, len(self), self._threads)


def epoch_order(seed: int, epochs: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """Return the records, int32, at `places` (0 .. length - 1) of the shuffled `epochs`: a permutation in each.

    Grain's own shuffle, by the function beneath `MapDataset.shuffle` at half that one's cost: no table is kept, and a
    record costs 4 us among a million and 6 us among 8,000. But it goes through at least 65,536 places, which makes it
    270 us among 100; so an epoch of at most SMALL_EPOCH records is sorted by random words instead.
    """
    records = np.empty(len(places), np.int32)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        if length <= SMALL_EPOCH:
            # The third word of the counter keeps these apart from the words that `augment` draws.
            words = np.random.Philox(key=[seed, epoch], counter=[0, 0, 1, 0]).random_raw(length)
            records[here] = np.argsort(words, kind='stable')[places[here]]
        else:
            mixed = _shuffle_seed(seed, epoch)
            records[here] = [index_shuffle(place, length - 1, mixed, 4) for place in places[here].tolist()]
    return records


def _shuffle_seed(seed: int, epoch: int) -> int:
    """Return 32 bits for grain. Mixed, where grain adds them: epoch 1 of seed 0 would be epoch 0 of seed 1 again."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def _process_slice(batch_size: int, process_index: int, process_count: int) -> range:
    """Return the places in the global batch that this process reads."""
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f'A batch of {batch_size} images cannot be divided evenly among {process_count} processes; '
            f'choose a multiple of {process_count}.'
        )
    size = batch_size // process_count
    return range(process_index * size, (process_index + 1) * size)


def _prefetch(make: Callable[[int], Batch], first: int, last: int, threads: int) -> Iterator[Batch]:
    """Yield make(first), ..., make(last - 1) in this order, made by so many threads ahead of need."""
    workers: set[Thread] = set()

    def make_element(number):
        workers.add(current_thread())
        return make(number)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    numbers = grain.MapDataset.range(first, max(first, last))
    batches = iter(numbers.map(make_element).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()  # grain tells its threads to end and does not wait for them
        for worker in workers - {current_thread()}:
            worker.join()
