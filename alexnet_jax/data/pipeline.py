"""The pipeline: step -> batch for training, and each image once for scoring. NumPy out; knows no device.

The training data is one endless stream of shuffled epochs; batches cross epoch borders. The batch of a step
is a function of (seed, step) alone: no thread, no iterator and no earlier batch has a say in it. Grain's
elements here are whole batches, because its overhead for each would be a sixth of a decode.

B this host's share of a batch.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread, current_thread
from typing import Protocol

import grain
import numpy as np
from grain.experimental import index_shuffle

from alexnet_jax.data import augment
from alexnet_jax.errors import UserError

Batch = dict[str, np.ndarray]
SkipRanges = tuple[tuple[int, int], ...]  # positions in the stream, [first, last), whose examples no step sees
SMALL_EPOCH = 4096  # records whose order is made anew for each batch, in less than 0.1 ms


class Records(Protocol):
    """What is read: a prepared split, or anything else of this form. Read from several threads at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, record: int, /) -> tuple[np.ndarray, int, str]:
        """The image, uint8 (side, side, 3), its label and its id."""
        ...


class TrainPipeline:
    """The batches of a training run, each made from its step's number."""

    def __init__(
        self,
        records: Records,
        *,
        seed: int,
        batch: int,
        crop: int,
        mirror: bool,
        lighting: str,
        deviation: float,
        eigenvalues: np.ndarray,
        eigenvectors: np.ndarray,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 1,
    ):
        """`batch` images a step over all processes, of which this one reads its contiguous share.

        `augment.draws` tells the words for `lighting` and the units of the eigenvalues. So many batches are
        under way at once as there are `threads`; without any, each is made where it is asked for.
        """
        if len(records) == 0:
            raise UserError('There are no training images; give a dataset whose training split has some.')
        self.records, self.seed, self.crop, self._batch, self._threads = records, seed, crop, batch, threads
        self._share = _process_slice(batch, process_index, process_count)
        self._labels: np.ndarray | None = None
        self._since = 0, 0
        self.skipped: SkipRanges = ()
        self._augment = partial(
            augment.sample_augmentations,
            seed,
            side=len(records[0][0]),
            crop=crop,
            mirror=mirror,
            lighting=lighting,
            deviation=deviation,
            eigenvalues=eigenvalues,
            eigenvectors=eigenvectors,
        )
        self._draws(
            range(1)
        )  # a crop that does not fit, or an unknown lighting, is told here and not in a thread

    def batch(self, step: int) -> Batch:
        """This host's share of the batch of `step` (from 0): image uint8 (B, crop, crop, 3), cut already, but to be
        mirrored by the step, where that costs nothing; label, id (the record's number), top and left int32 (B,);
        mirror bool (B,); lighting float32 (B, 3), to be added by the step; real bool (B,), all true.
        """
        first = self.position(step)
        records, draws = self._draws(range(first + self._share.start, first + self._share.stop))
        size = len(records)
        rest = {'id': records, **draws._asdict(), 'real': np.ones(size, bool)}
        if self._labels is not None:
            return {'label': self._labels[records], **rest}
        image = np.empty((size, self.crop, self.crop, 3), np.uint8)
        label = np.empty(size, np.int32)
        places = zip(records.tolist(), draws.top.tolist(), draws.left.tolist(), strict=True)
        for i, (record, top, left) in enumerate(places):
            pixels, label[i], _ = self.records[record]
            image[i] = pixels[top : top + self.crop, left : left + self.crop]
        return {'image': image, 'label': label, **rest}

    def skipping(self, skipped: SkipRanges) -> 'Training':
        """The same stream without the examples at these positions: later ones move up. Ranges do not overlap."""
        stream = copy.copy(self)
        stream.skipped = tuple(sorted(skipped))
        return stream

    def skipped_before(self, step: int) -> tuple[int, int]:
        """Examples that are skipped between the batch of the step before and that of `step`, and where they begin."""
        first, seen = self._since
        behind = self.position(step - 1) + self._batch if step > first else seen
        return self.position(step) - behind, behind

    def names(self, step: int) -> list[str]:
        """The ids of all examples of a step's batch, whichever process reads them."""
        first = self.position(step)
        records, _ = self._draws(range(first, first + self._batch))
        return [self.records[record][2] for record in records.tolist()]

    def without_pixels(self, labels: np.ndarray) -> 'Training':
        """The same stream for devices that hold the images themselves: its batches have no 'image', and no record is
        read for them. `labels` int32 (records,).
        """
        stream = copy.copy(self)
        stream._labels = labels
        return stream

    def batches(self, first_step: int = 0, last_step: int | None = None) -> Iterator[Batch]:
        """batch(first_step), batch(first_step + 1), ... up to and without last_step, read ahead by threads.

        An iterator that is closed, or dropped, leaves no thread behind.
        """
        return _prefetch(self.batch, first_step, sys.maxsize if last_step is None else last_step, self._threads)

    def position(self, step: int) -> int:
        """Examples consumed by all processes before `step`, or skipped: where its batch begins in the stream."""
        first, seen = self._since
        position = seen + (step - first) * self._batch
        for start, end in self.skipped:
            if seen <= start <= position:
                position += end - start
        return position

    def go_on(self, step: int, seen: int) -> None:
        """From `step` on the batches are of the examples behind the first `seen`: the batch was of another size."""
        self._since = step, seen

    def epoch(self, step: int) -> float:
        """Passes over the training images before `step`."""
        return self.position(step) / len(self.records)

    def example(self, position: int, mean: np.ndarray, mean_kind: str = 'image') -> np.ndarray:
        """The example at `position` of the stream as the network sees it, float32 (crop, crop, 3).

        `mean` is the dataset's mean image (side, side, 3), of which `mean_kind` (augment.MEANS) is subtracted.
        """
        records, draws = self._draws(range(position, position + 1))
        image, _, _ = self.records[int(records[0])]
        return augment.apply(image, draws.one(0), mean, crop=self.crop, mean_kind=mean_kind)

    def _draws(self, positions: range) -> tuple[np.ndarray, augment.AugmentParams]:
        """The records (int32) that stand at these positions of the stream, and their draws."""
        epochs, places = np.divmod(np.asarray(positions, np.int64), len(self.records))
        records = epoch_order(self.seed, epochs, places, len(self.records))
        return records, self._augment(epochs, records)


class EvalPipeline:
    """Every image once, uncut, in equally many equal batches on all hosts; the filling scores nothing."""

    def __init__(
        self,
        records: Records,
        *,
        batch: int,
        process_index: int = 0,
        process_count: int = 1,
        limit: int = 0,
        threads: int = 1,
    ):
        """`batch` images at a time over all processes. A `limit` above 0 takes so many images and no more,
        spread evenly over the records, which may lie sorted by class.
        """
        if len(records) == 0:
            raise UserError('There are no images to score; give a split that has some.')
        self.records, self._batch, self._threads = records, batch, threads
        self._share = _process_slice(batch, process_index, process_count)
        self._shape = records[0][0].shape
        self.images = min(limit, len(records)) if limit else len(records)

    def __len__(self) -> int:
        """The number of batches."""
        return -(-self.images // self._batch)

    def batch(self, number: int) -> Batch:
        """This host's share of a batch: image uint8 (B, side, side, 3) whole; label and id (the record's
        number) int32 (B,); real bool (B,). Where real is false the image is black, the label 0 and the id -1.
        """
        if not 0 <= number < len(self):
            raise IndexError(f'batch {number} of {len(self)}')
        size = len(self._share)
        places = number * self._batch + np.arange(self._share.start, self._share.stop, dtype=np.int64)
        real = places < self.images
        ids = np.where(real, places * len(self.records) // self.images, -1).astype(np.int32)
        image, label = np.zeros((size, *self._shape), np.uint8), np.zeros(size, np.int32)
        for i, record in enumerate(ids[real].tolist()):
            image[i], label[i], _ = self.records[record]
        return {'image': image, 'label': label, 'id': ids, 'real': real}

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """The batches from number `first` to the end, read ahead by threads. See `Training.batches`."""
        return _prefetch(self.batch, first, len(self), self._threads)


def epoch_order(seed: int, epochs: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """The records, int32, at `places` (0 .. length - 1) of the shuffled `epochs`: in each a permutation.

    Grain's own shuffle, by the function beneath `MapDataset.shuffle` at half that one's cost: no table is kept, and
    a record costs 4 us among a million and 6 us among 8,000. It walks through 65,536 places at the least, though,
    which makes it 270 us among 100; so an epoch of FEW records or fewer is sorted by random words instead.
    """
    records = np.empty(len(places), np.int32)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        if length <= SMALL_EPOCH:
            # the third word of the counter keeps these apart from the words that `augment` draws
            words = np.random.Philox(key=[seed, epoch], counter=[0, 0, 1, 0]).random_raw(length)
            records[here] = np.argsort(words, kind='stable')[places[here]]
        else:
            mixed = _shuffle_seed(seed, epoch)
            records[here] = [index_shuffle(place, length - 1, mixed, 4) for place in places[here].tolist()]
    return records


def _shuffle_seed(seed: int, epoch: int) -> int:
    """32 bits for grain. Mixed, where grain adds them: epoch 1 of seed 0 would be epoch 0 of seed 1 again."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def _process_slice(batch: int, process_index: int, process_count: int) -> range:
    """The places in the global batch that are this process's."""
    if batch < 1 or batch % process_count:
        raise UserError(
            f'A batch of {batch} images cannot be shared evenly by {process_count} processes; '
            f'give a multiple of {process_count}.'
        )
    size = batch // process_count
    return range(process_index * size, (process_index + 1) * size)


def _prefetch(make: Callable[[int], Batch], first: int, last: int, threads: int) -> Iterator[Batch]:
    """make(first), ..., make(last - 1) in this order, as many of them under way as there are threads."""
    workers: set[Thread] = set()

    def element(number):
        workers.add(current_thread())
        return make(number)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    numbers = grain.MapDataset.range(first, max(first, last))
    batches = iter(numbers.map(element).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()  # grain tells its threads to end and does not wait for them
        for worker in workers - {current_thread()}:
            worker.join()
