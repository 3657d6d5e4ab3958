"""Joins the processes that run one command together (jax.distributed), and tells which of them this one is.

jax itself detects TPU slices; Slurm is read from its variables. Elsewhere three flags or the environment variables of
ENVIRONMENT_VARIABLES say it, as docs/pods.md sets them in Kubernetes. Without any of these a process is alone.
"""

from __future__ import annotations

import glob
import importlib.util
import ipaddress
import logging
import os
import socket
from collections.abc import Collection, Mapping
from typing import NamedTuple

from alexnet_jax.errors import UserError

ENVIRONMENT_VARIABLES = {
    'coordinator': ('JAX_COORDINATOR_ADDRESS',),
    'processes': ('JAX_NUM_PROCESSES',),
    # The second is Kubernetes' own, of indexed jobs.
    'process': ('JAX_PROCESS_ID', 'JOB_COMPLETION_INDEX'),
}
SLURM_VARIABLES = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID')
# The tasks of this step; SLURM_NTASKS may be those of the allocation.
SLURM_STEP_TASKS = 'SLURM_STEP_NUM_TASKS'
# What gRPC, by which jax connects processes, reads.
PROXY_VARIABLES = ('grpc_proxy', 'https_proxy', 'http_proxy')
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
    flags = {'coordinator': coordinator, 'processes': processes or '', 'process': process if process >= 0 else ''}
    values = {name: str(value) for name, value in flags.items() if value != ''}
    if not values and all(name in environ for name in SLURM_VARIABLES):
        return _slurm_process(environ)
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


def _slurm_process(environ: Mapping[str, str]) -> ProcessInfo | None:
    """Return this process's place in its Slurm step; None if it is the step's only task.

    SLURM_NTASKS may be that of an allocation, in whose shell a step of one task runs.
    """
    allotted = _parse_count('SLURM_NTASKS', environ['SLURM_NTASKS'])
    name = SLURM_STEP_TASKS if environ.get(SLURM_STEP_TASKS) else 'SLURM_NTASKS'
    count = _parse_count(name, environ[name])
    index = _parse_count('SLURM_PROCID', environ['SLURM_PROCID'])
    if count > 1:
        return ProcessInfo(None, count, index, 'Slurm')
    if allotted > 1:
        log.info(
            'Running alone: Slurm allotted %d tasks, and this step has one (%s). To run in all of them, start the '
            'command by srun.',
            allotted,
            name,
        )
    return None


def join_advice(info: ProcessInfo, *, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return what to do if processes are missing, and if all are here and cannot connect."""
    origin = {
        'Slurm': f'Slurm says that there are {info.num_processes} ({SLURM_STEP_TASKS} or SLURM_NTASKS); start them by '
        'srun, or run this one alone by srun --ntasks=1, or with SLURM_JOB_ID unset.',
        'variables': f'JAX_NUM_PROCESSES says that there are {info.num_processes}; unset it to run this one alone.',
    }.get(info.source, '')
    proxies = [name for name in PROXY_VARIABLES if environ.get(name)]
    host = (info.coordinator or '').rpartition(':')[0] or 'the host of process 0'
    if not proxies:
        return (origin, f'Check that {info.coordinator or host} can be reached from every host (firewall, name, port).')
    return (origin, f'A proxy is set ({", ".join(proxies)}); unset it, or add {host} to no_proxy, on every host.')


def check_own_address(hosts: Collection[str]) -> None:
    """Raise UserError if processes on other `hosts` cannot reach this one, as its own name means 127.x.x.x.

    On CPUs Gloo takes the address of the host's own name. Called when all have joined.
    """
    import jax

    name = socket.gethostname()
    if jax.default_backend() != 'cpu' or not set(hosts) - {name}:
        return
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(name, None)}
    except OSError:
        addresses = set()
    if addresses and all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise UserError(
            f'Host {name} calls itself {", ".join(sorted(map(str, addresses)))}, where other hosts cannot reach it; in '
            f'its /etc/hosts, give the name {name} the address of its network (Debian writes 127.0.1.1 there).'
        )


def _parse_values(values: Mapping[str, str], source: str) -> ProcessInfo:
    if missing := [name for name in ENVIRONMENT_VARIABLES if name not in values]:
        variables = [variable for name in missing for variable in ENVIRONMENT_VARIABLES[name]]
        raise UserError(
            f'Each of several processes needs --coordinator=HOST:PORT, --processes and --process; missing: '
            f'--{", --".join(missing)} (or {", ".join(variables)} in the environment).'
        )
    count, index = (_parse_count('--processes', values['processes']), _parse_count('--process', values['process']))
    if not 0 <= index < count:
        raise UserError(f'--process={index} is out of range; expected 0 to {count - 1}, as --processes={count}.')
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
    lists = [name for name in ('TPU_PROCESS_ADDRESSES', 'TPU_WORKER_HOSTNAMES') if ',' in environ.get(name, '')]
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
    options = {'coordinator_address': info.coordinator, 'num_processes': info.num_processes, 'process_id': info.process}
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


def coordinator_address() -> str:
    """Return host:port of process 0, as jax was told it or found it; empty if unknown."""
    from jax._src import distributed

    # jax has no public name for it; where a release moves it, cut connections are noticed later, by their errors.
    return getattr(getattr(distributed, 'global_state', None), 'coordinator_address', None) or ''
