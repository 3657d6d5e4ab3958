"""The pod: the processes that run one command together, and how this one joins them. Knows no mode and no files.

TPU slices and Slurm are found by jax itself. Elsewhere the three flags say it, or the variables of VARIABLES, as
docs/pods.md sets them in Kubernetes. A process that is told nothing and finds nothing is alone.
"""

from __future__ import annotations

import glob
import importlib.util
import logging
import os
from collections.abc import Mapping
from typing import NamedTuple

from alexnet_jax.errors import UserError

ENVIRONMENT_VARIABLES = {
    'coordinator': ('JAX_COORDINATOR_ADDRESS',),
    'processes': ('JAX_NUM_PROCESSES',),
    'process': ('JAX_PROCESS_ID', 'JOB_COMPLETION_INDEX'),  # the second is Kubernetes' own, of indexed jobs
}
SLURM_VARIABLES = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID')
DEFAULT_PORT = 8476  # of the coordinator, where none is given
JAX_INIT_SLACK = (
    60  # seconds by which the limit of jax, which ends the process wordlessly, is longer than ours
)
JAX_HEARTBEAT_TIMEOUT = 600  # seconds; the limit of jax for a process that is silent, far above ours

log = logging.getLogger(__name__)


class ProcessInfo(NamedTuple):
    """Where a process stands in its pod; what is None jax finds by itself."""

    coordinator: str | None  # host:port of process 0
    processes: int | None
    process: int | None
    by: str  # who said so


def detect_process(
    coordinator: str = '', processes: int = 0, process: int = -1, *, environ: Mapping[str, str] = os.environ
) -> ProcessInfo | None:
    """This process's place by the flags, else by what its cluster tells; None: it is alone. Raises UserError."""
    flags = {
        'coordinator': coordinator,
        'processes': processes or '',
        'process': process if process >= 0 else '',
    }
    told = {name: str(given) for name, given in flags.items() if given != ''}
    if not told and all(name in environ for name in SLURM_VARIABLES):
        count = _parse_count('SLURM_NTASKS', environ['SLURM_NTASKS'])
        return (
            ProcessInfo(None, count, _parse_count('SLURM_PROCID', environ['SLURM_PROCID']), 'Slurm')
            if count > 1
            else None
        )
    by = 'flags' if told else 'variables'
    for name, variables in ENVIRONMENT_VARIABLES.items():
        found = next((environ[each] for each in variables if environ.get(each)), '')
        if name not in told and found:
            told[name] = found
    if told.keys() == {'process'} and by == 'variables':
        told = {}  # an indexed job of pods that do not belong together
    if not told:
        return ProcessInfo(None, None, None, 'TPU') if _may_be_tpu_pod(environ) else None
    return _validate_flags(told, by)


def _validate_flags(told: Mapping[str, str], by: str) -> ProcessInfo:
    """All three, each of them sensible, or a UserError that tells what is missing."""
    if missing := [name for name in ENVIRONMENT_VARIABLES if name not in told]:
        raise UserError(
            f'Of several processes each needs --coordinator=HOST:PORT, --processes and --process; there is no '
            f'--{" and no --".join(missing)}, nor {" or ".join(v for name in missing for v in ENVIRONMENT_VARIABLES[name])}.'
        )
    processes, process = (
        _parse_count('--processes', told['processes']),
        _parse_count('--process', told['process']),
    )
    if not 0 <= process < processes:
        raise UserError(
            f'--process={process} is none of --processes={processes}; they are counted from 0 to {processes - 1}.'
        )
    host, _, port = told['coordinator'].rpartition(':')
    if not host:
        host, port = told['coordinator'], str(DEFAULT_PORT)
    if not port.isdecimal():
        raise UserError(
            f'--coordinator={told["coordinator"]} should be HOST:PORT of process 0, such as node001:{DEFAULT_PORT}.'
        )
    return ProcessInfo(f'{host}:{port}', processes, process, by)


def _parse_count(name: str, value: str) -> int:
    if not value.strip().isdecimal():
        raise UserError(f'{name} should be a whole number, and is {value!r}.')
    return int(value)


def _multi_host_variable(environ: Mapping[str, str]) -> str:
    """The variable by which a TPU's surroundings say that it is of several hosts; empty where none does."""
    lists = [
        name for name in ('TPU_PROCESS_ADDRESSES', 'TPU_WORKER_HOSTNAMES') if ',' in environ.get(name, '')
    ]
    slices = ['MEGASCALE_COORDINATOR_ADDRESS'] if environ.get('MEGASCALE_COORDINATOR_ADDRESS') else []
    count = ['MEGASCALE_NUM_SLICES'] if environ.get('MEGASCALE_NUM_SLICES', '') not in ('', '0', '1') else []
    return next(iter(lists + slices + count), '')


def _may_be_tpu_pod(environ: Mapping[str, str]) -> bool:
    """Whether this is a machine with TPUs that may be one of several."""
    if _multi_host_variable(environ):
        return True
    there = importlib.util.find_spec('libtpu') is not None and (
        glob.glob('/dev/accel*') or glob.glob('/dev/vfio/[0-9]*')
    )
    return bool(there) and 'TPU_SKIP_MDS_QUERY' not in environ and 'TPU_WORKER_HOSTNAMES' not in environ


def join_processes(where: ProcessInfo, seconds: int, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Joins the pod and returns when all its processes are there; before that no device may have been touched.

    False where there is none after all: on a TPU of which nothing says that it is of several hosts. Raises UserError.

    jax would end a process that waits in vain without a sentence; `peers` speaks after `seconds`, earlier than that.
    """
    import jax

    jax.config.update('jax_enable_preemption_service', False)  # our own handlers hear SIGTERM, and agree
    given = {
        'coordinator_address': where.coordinator,
        'num_processes': where.processes,
        'process_id': where.process,
    }
    if where.coordinator:
        given['cluster_detection_method'] = 'deactivate'
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=seconds + JAX_INIT_SLACK,
            heartbeat_timeout_seconds=JAX_HEARTBEAT_TIMEOUT,
            shutdown_timeout_seconds=24 * 3600,
        )
    except (ValueError, RuntimeError, OSError) as error:
        if where.by != 'TPU':
            raise UserError(
                f'This process could not join the others by what {where.by} say: {error}.'
            ) from error
        # ValueError: jax finds no cluster; OSError: no metadata server; RuntimeError: no answer from a coordinator.
        by = _multi_host_variable(environ) or (
            "the TPU's metadata" if isinstance(error, RuntimeError) else ''
        )
        if by:
            raise UserError(
                f'{by} says that this host is one of several, and it could not join them: {error}. Start the same '
                'command on all of them; for this host alone unset the variables TPU_* and MEGASCALE_*, or set '
                'TPU_SKIP_MDS_QUERY.'
            ) from error
        log.info('This machine is taken for the only one, since jax finds no others: %s', error)
        return False
    logging.getLogger('alexnet_jax').setLevel(logging.INFO if is_primary() else logging.WARNING)
    return True


def is_primary() -> bool:
    """Whether this process is the first of its pod, or alone. Touches no device where it is alone."""
    import jax

    return not jax.distributed.is_initialized() or jax.process_index() == 0


def is_multi_process() -> bool:
    """Whether there are several processes. Touches no device where this one is alone."""
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def process_index_and_count() -> tuple[int, int]:
    """Which process of the pod this is, and of how many."""
    import jax

    return jax.process_index(), jax.process_count()
