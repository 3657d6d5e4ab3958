"""Joins the processes that run one command together (jax.distributed), and tells which of them this one is.

jax itself detects TPU slices; Slurm is read from its variables. Elsewhere three flags or the environment variables of
ENVIRONMENT_VARIABLES say it, as docs/pods.md sets them in Kubernetes. Without any of these a process is alone.
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
    # The second is Kubernetes' own, of indexed jobs.
    'process': ('JAX_PROCESS_ID', 'JOB_COMPLETION_INDEX'),
}
SLURM_VARIABLES = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID')
# Of the coordinator, if none is given.
DEFAULT_PORT = 8476
# Seconds by which the limit of jax, which ends the process without a message, is longer than ours.
JAX_INIT_SLACK = 60
# Seconds; the limit of jax for a silent process, far above ours.
JAX_HEARTBEAT_TIMEOUT = 600

log = logging.getLogger(__name__)


class ProcessInfo(NamedTuple):
    """This process among those of a run; jax itself detects what is None."""

    # host:port of process 0
    coordinator: str | None
    num_processes: int | None
    process: int | None
    # Who says so: flags, variables, Slurm or TPU.
    source: str


def detect_process(
    coordinator: str = '', processes: int = 0, process: int = -1, *, environ: Mapping[str, str] = os.environ
) -> ProcessInfo | None:
    """Return this process's place by the flags, or else by the cluster's variables; None if it is alone.

    Raises UserError if they are incomplete or wrong.
    """
    flags = {
        'coordinator': coordinator,
        'processes': processes or '',
        'process': process if process >= 0 else '',
    }
    values = {name: str(value) for name, value in flags.items() if value != ''}
    if not values and all(name in environ for name in SLURM_VARIABLES):
        count = _parse_count('SLURM_NTASKS', environ['SLURM_NTASKS'])
        index = _parse_count('SLURM_PROCID', environ['SLURM_PROCID'])
        return ProcessInfo(None, count, index, 'Slurm') if count > 1 else None
    source = 'flags' if values else 'variables'
    for name, variables in ENVIRONMENT_VARIABLES.items():
        value = next((environ[each] for each in variables if environ.get(each)), '')
        if name not in values and value:
            values[name] = value
    if values.keys() == {'process'} and source == 'variables':
        values = {}  # an indexed job whose pods work independently
    if not values:
        return ProcessInfo(None, None, None, 'TPU') if _may_be_tpu_pod(environ) else None
    return _parse_values(values, source)


def _parse_values(values: Mapping[str, str], source: str) -> ProcessInfo:
    if missing := [name for name in ENVIRONMENT_VARIABLES if name not in values]:
        variables = [variable for name in missing for variable in ENVIRONMENT_VARIABLES[name]]
        raise UserError(
            f'Each of several processes needs --coordinator=HOST:PORT, --processes and --process; missing: '
            f'--{", --".join(missing)} (or {", ".join(variables)} in the environment).'
        )
    count, index = (
        _parse_count('--processes', values['processes']),
        _parse_count('--process', values['process']),
    )
    if not 0 <= index < count:
        raise UserError(
            f'--process={index} is out of range; expected 0 to {count - 1}, as --processes={count}.'
        )
    host, _, port = values['coordinator'].rpartition(':')
    if not host:
        host, port = values['coordinator'], str(DEFAULT_PORT)
    if not port.isdecimal():
        raise UserError(
            f'--coordinator={values["coordinator"]} is invalid; expected HOST:PORT of process 0, such as '
            f'node001:{DEFAULT_PORT}.'
        )
    return ProcessInfo(f'{host}:{port}', count, index, source)


def _parse_count(name: str, value: str) -> int:
    if not value.strip().isdecimal():
        raise UserError(f'{name} is {value!r}; expected a whole number.')
    return int(value)


def _multi_host_variable(environ: Mapping[str, str]) -> str:
    """Return the variable that says that a TPU spans several hosts; empty if none does."""
    lists = [
        name for name in ('TPU_PROCESS_ADDRESSES', 'TPU_WORKER_HOSTNAMES') if ',' in environ.get(name, '')
    ]
    slices = ['MEGASCALE_COORDINATOR_ADDRESS'] if environ.get('MEGASCALE_COORDINATOR_ADDRESS') else []
    count = ['MEGASCALE_NUM_SLICES'] if environ.get('MEGASCALE_NUM_SLICES', '') not in ('', '0', '1') else []
    return next(iter(lists + slices + count), '')


def _may_be_tpu_pod(environ: Mapping[str, str]) -> bool:
    """Return whether this is a machine with TPUs that may be one of several."""
    if _multi_host_variable(environ):
        return True
    has_tpu = importlib.util.find_spec('libtpu') is not None and (
        glob.glob('/dev/accel*') or glob.glob('/dev/vfio/[0-9]*')
    )
    return bool(has_tpu) and 'TPU_SKIP_MDS_QUERY' not in environ and 'TPU_WORKER_HOSTNAMES' not in environ


def join_processes(info: ProcessInfo, timeout: int, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Join the other processes; return when all are there. No device may have been used before.

    Returns False if this process is alone after all: on a TPU of which nothing says that it has several hosts. Raises
    UserError if joining fails. jax would end a process that waits in vain without a message; the heartbeat reports it
    after `timeout` seconds, earlier than that.
    """
    import jax

    # Our own handlers hear SIGTERM, and agree on the step.
    jax.config.update('jax_enable_preemption_service', False)
    options = {
        'coordinator_address': info.coordinator,
        'num_processes': info.num_processes,
        'process_id': info.process,
    }
    if info.coordinator:
        options['cluster_detection_method'] = 'deactivate'
    try:
        jax.distributed.initialize(
            **options,
            initialization_timeout=timeout + JAX_INIT_SLACK,
            heartbeat_timeout_seconds=JAX_HEARTBEAT_TIMEOUT,
            shutdown_timeout_seconds=24 * 3600,
        )
    except (ValueError, RuntimeError, OSError) as error:
        if info.source != 'TPU':
            raise UserError(f'Joining the other processes failed ({info.source}): {error}.') from error
        # ValueError: jax finds no cluster; OSError: no metadata server; RuntimeError: no answer from a coordinator.
        source = _multi_host_variable(environ)
        source = source or ("the TPU's metadata" if isinstance(error, RuntimeError) else '')
        if source:
            raise UserError(
                f'{source} says that this host is one of several, but joining them failed: {error}. Start the same '
                'command on all of them; to use this host alone, unset the variables TPU_* and MEGASCALE_*, or set '
                'TPU_SKIP_MDS_QUERY.'
            ) from error
        log.info('Running on this host alone: jax found no others (%s).', error)
        return False
    logging.getLogger('alexnet_jax').setLevel(logging.INFO if is_primary() else logging.WARNING)
    return True


def is_primary() -> bool:
    """Return whether this process, alone or process 0, is the one that writes. Touches no device if it is alone."""
    import jax

    return not jax.distributed.is_initialized() or jax.process_index() == 0


def is_multi_process() -> bool:
    """Return whether there are several processes. Touches no device if this one is alone."""
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def process_index_and_count() -> tuple[int, int]:
    """Return the index of this process and the number of all."""
    import jax

    return jax.process_index(), jax.process_count()
