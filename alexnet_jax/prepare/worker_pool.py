"""Run shard jobs in this process or in a pool of processes, and show progress."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

from alexnet_jax.errors import UserError
from alexnet_jax.runtime.progress import ImageProgress

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # between two readings of the workers' progress

Work = Callable[[Any, Callable[[int], object]], list[str]]
Failures = Generator[list[str], None, None]  # for each job that has ended

# Set in each worker process. A pool hands synchronized objects to its initializer only, not to jobs.
_num_done: Any = None  # items done by all workers
_cancelled: Any = None  # event: the parent has given up


def run_jobs(
    work: Work, jobs: Sequence[Any], *, num_workers: int, progress: bool, max_failures: int = sys.maxsize
) -> list[str]:
    """Run `work` on each job; return a sentence for each image that is unreadable.

    `work` is a module-level function (job, report_progress) -> sentences, which reports how many more of `job.items`
    are done. One worker is this process. An exception in one of several stops the others, and so do more than
    `max_failures` sentences.
    """
    sentences = []
    total = sum(len(job.items) for job in jobs)
    with ImageProgress(total, 'prepared', enabled=progress, show_end=True) as shown:
        results = (
            _run_serial(work, jobs, shown.advance)
            if num_workers == 1 or not _can_share_memory()
            else _run_pool(num_workers, work, jobs, shown.advance)
        )
        with contextlib.closing(results):
            for failures in results:
                sentences += failures
                if len(sentences) > max_failures:
                    break
    return sentences


def _can_share_memory() -> bool:
    """Return whether processes can share locks and counters here; without a /dev/shm to write in they cannot."""
    context = multiprocessing.get_context('spawn')
    try:
        context.Value('q', 0), context.Event()
    except (OSError, ImportError) as error:
        log.warning(
            'Preparing in one process: several need shared memory (/dev/shm), which this machine lacks (%s).', error
        )
        return False
    return True


def _run_serial(work: Work, jobs: Sequence[Any], update: Callable[[int], object]) -> Failures:
    yield from (work(job, update) for job in jobs)


def _run_pool(num_workers: int, work: Work, jobs: Sequence[Any], update: Callable[[int], object]) -> Failures:
    # Spawned, as a fork would copy threads in the middle of what they do.
    context = multiprocessing.get_context('spawn')
    num_done, cancelled = context.Value('q', 0), context.Event()
    pool = futures.ProcessPoolExecutor(min(num_workers, len(jobs)), context, _init_worker, (num_done, cancelled))
    try:
        pending, shown = {pool.submit(_run_job, work, job) for job in jobs}, 0
        while pending:
            ended, pending = futures.wait(pending, POLL_SECONDS, futures.FIRST_EXCEPTION)
            failures = [future.result() for future in ended]  # raises what was raised there
            now = num_done.value
            update(now - shown)
            shown = now
            yield from failures
    except BrokenProcessPool as error:
        raise UserError(
            'A worker process died, perhaps for lack of memory. Run it again, with fewer --config.prepare.num_workers '
            'if needed: it continues where it stopped.'
        ) from error
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


class _Cancelled(Exception):
    """Ends a job after the parent has given up."""


def _init_worker(num_done, cancelled) -> None:
    global _num_done, _cancelled
    _num_done, _cancelled = num_done, cancelled
    # A terminal interrupts the whole process group; the parent decides when workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent is killed: the pool's workers would wait for jobs for ever."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _run_job(work: Work, job: Any) -> list[str]:
    return work(job, _report_progress)


def _report_progress(num_items: int) -> None:
    if _cancelled.is_set():
        raise _Cancelled
    with _num_done.get_lock():
        _num_done.value += num_items
