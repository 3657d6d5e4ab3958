"""The modes by name: what `main.py --mode=...` can do. Each is (config, workdir) -> dict of numbers.

Rooms are joined here and the config is read here; a mode is imported only when it is called, so that none waits for
what it does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

Numbers = dict[str, Any]


def train(config: ConfigDict, workdir: str) -> Numbers:
    """Trains, or goes on training, evaluates at the end and draws the pictures; the content of result.json."""
    from alexnet_jax.modes import training

    return training.train(config, workdir)


def prepare(config: ConfigDict, workdir: str = '') -> Numbers:
    """Turns a source of images into a prepared dataset; counts by split."""
    from alexnet_jax.modes import preparing

    return preparing.prepare(config, workdir)


def evaluate(config: ConfigDict, workdir: str) -> Numbers:
    """Scores a checkpoint of the run in --workdir on a split; errors, loss and counts."""
    from alexnet_jax.modes import evaluating

    return evaluating.evaluate(config, workdir)


def predict(config: ConfigDict, workdir: str) -> Numbers:
    """Names the most probable classes of one's own images, by the run in --workdir; how many there were."""
    from alexnet_jax.modes import predicting

    return predicting.predict(config, workdir)


def summary(config: ConfigDict, workdir: str = '') -> Numbers:
    """Shows the network's layers, shapes, parameters, multiply-adds and exchanged numbers; their totals."""
    from alexnet_jax.modes import summarising

    return summarising.summary(config, workdir)


def verify(config: ConfigDict, workdir: str = '') -> Numbers:
    """Reads a run or a dataset whole and says of each file whether it is sound; how many are and are not."""
    from alexnet_jax.modes import verifying

    return verifying.verify(config, workdir)


def join(config: ConfigDict, workdir: str, coordinator: str, processes: int, process: int) -> None:
    """Makes this process one of a pod's, as the flags or the cluster say; nothing where they say nothing."""
    from alexnet_jax.commands import consistency

    consistency.join(config, workdir, coordinator, processes, process)


def benchmark(config: ConfigDict, workdir: str) -> Numbers:
    """Measures where the time and the memory of a training step go; the content of benchmark.json."""
    from alexnet_jax.modes import benchmarking

    return benchmarking.benchmark(config, workdir)


MODES: Mapping[str, Callable[..., Numbers]] = {
    each.__name__: each for each in (train, prepare, evaluate, predict, summary, verify, benchmark)
}
TRAINS = ('train', 'benchmark')  # the modes that take steps of training
PREPARES = ('prepare', *TRAINS)  # the modes that may turn the source's images into a dataset
WITH_IMAGES = ('predict',)  # the modes for which --images is meant
TOGETHER = ('train', 'prepare', 'evaluate', 'predict')  # the modes that several processes run as one
