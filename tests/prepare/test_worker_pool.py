"""Workers where processes can share no memory."""

import dataclasses
import errno
import multiprocessing.context

import pytest

from alexnet_jax.prepare import worker_pool


@dataclasses.dataclass
class Job:
    items: list


@pytest.mark.parametrize(
    'error',
    [FileNotFoundError(errno.ENOENT, 'none', '/dev/shm'), OSError(errno.EROFS, 'read-only'), ImportError('sem')],
)
def test_without_shared_memory_one_process_does_the_work_and_says_so(monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(multiprocessing.context.SpawnContext, 'Value', fail)
    jobs, lambda_jobs = [Job([1, 2]), Job([3])], lambda job, report: [f'bad {item}' for item in job.items]
    found = worker_pool.run_jobs(lambda_jobs, jobs, num_workers=5, progress=False)
    assert found == ['bad 1', 'bad 2', 'bad 3']
    assert 'in one process' in caplog.text and '/dev/shm' in caplog.text
