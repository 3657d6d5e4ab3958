"""Labour: shards made by one process or several, and how far they are shown. Knows nothing of their use."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

import tqdm

from alexnet_jax.errors import UserError

SECONDS_BETWEEN_LINES = 10  # between lines of progress where there is no terminal
POLL_SECONDS = 0.2  # between two looks at how far the workers are
_done: Any = None  # in a worker: the images that all of them have dealt with
_stop: Any = None  # in a worker: set when the parent has given up

Results = Generator[list[str], None, None]  # for each job that has ended


def run_jobs(
    work: Callable[[Any, Callable[[int], object]], list[str]],
    jobs: Sequence[Any],
    workers: int,
    progress: bool,
    *,
    enough: int = sys.maxsize,
) -> list[str]:
    """Does the work for each job, which has items; the answer is a sentence for each image that cannot be read.

    `work` is a module's own function: (job, tick) -> sentences, `tick` being told how many more items are done. One
    worker is this very process. An error in any of several stops the others, and so do more than `enough` sentences.
    """
    sentences = []
    with _progress(sum(len(job.items) for job in jobs), progress) as count:
        by = _run_serial(work, jobs, count) if workers == 1 else _run_pool(workers, work, jobs, count)
        with contextlib.closing(by):
            for found in by:
                sentences += found
                if len(sentences) > enough:
                    break
    return sentences


def _run_serial(work, jobs: Sequence[Any], count: Callable[[int], object]) -> Results:
    yield from (work(job, count) for job in jobs)


def _run_pool(workers: int, work, jobs: Sequence[Any], count: Callable[[int], object]) -> Results:
    """By processes that are started afresh: a fork would copy threads in the middle of what they do."""
    context = multiprocessing.get_context('spawn')
    done, stop = context.Value('q', 0), context.Event()
    pool = futures.ProcessPoolExecutor(min(workers, len(jobs)), context, _init_worker, (done, stop))
    try:
        waiting, counted = {pool.submit(_run_job, work, job) for job in jobs}, 0
        while waiting:
            ended, waiting = futures.wait(waiting, POLL_SECONDS, futures.FIRST_EXCEPTION)
            found = [future.result() for future in ended]  # raises what was raised there
            now = done.value
            count(now - counted)
            counted = now
            yield from found
    except BrokenProcessPool as error:
        raise UserError(
            'A worker process died, perhaps for want of memory; run it again, if need be with fewer '
            '--config.prepare.num_workers: it goes on where it was.'
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Cancelled(Exception):
    """The parent has given up."""


def _init_worker(done, stop) -> None:
    """In a worker, before anything else."""
    global _done, _stop
    _done, _stop = done, stop
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal interrupts all of us; the parent tells when to stop
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Where the parent is killed, the pool's workers would wait for work for ever."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _run_job(work, job: Any) -> list[str]:
    return work(job, _report)


def _report(number: int) -> None:
    if _stop.is_set():
        raise _Cancelled
    with _done.get_lock():
        _done.value += number


@contextlib.contextmanager
def _progress(total: int, progress: bool) -> Iterator[Callable[[int], object]]:
    """Shows how many images are done: a bar on a terminal, a line now and then elsewhere."""
    if progress and sys.stderr.isatty():
        with tqdm.tqdm(total=total, desc='preparing', unit=' images') as bar:
            yield bar.update
        return
    began = last = time.monotonic()
    done = 0

    def line(number: int) -> None:
        nonlocal done, last
        done += number
        now = time.monotonic()
        if progress and (now - last >= SECONDS_BETWEEN_LINES or done == total and number):
            last = now
            rate = done / (now - began + 1e-9)
            left = (total - done) / (rate + 1e-9)
            text = f'prepared {done:,} of {total:,} images, {rate:,.0f} a second, {left:,.0f} s left'
            print(text, file=sys.stderr, flush=True)

    yield line
