"""Detection of the process index from flags and cluster variables, and the messages for incomplete ones."""

import itertools
import types

import jax
import numpy as np
import pytest

from alexnet_jax.distributed import initialize
from alexnet_jax.distributed.initialize import ProcessInfo
from alexnet_jax.distributed.mesh import _slices_by_process
from alexnet_jax.errors import UserError

SLURM = {
    'SLURM_JOB_ID': '4711',
    'SLURM_STEP_NODELIST': 'node[001-002]',
    'SLURM_NTASKS': '16',
    'SLURM_PROCID': '9',
    'SLURM_LOCALID': '1',
}
JOBSET = {
    'KUBERNETES_SERVICE_HOST': '10.0.0.1',
    'JAX_COORDINATOR_ADDRESS': 'alexnet-workers-0-0.alexnet:8476',
    'JAX_NUM_PROCESSES': '4',
    'JOB_COMPLETION_INDEX': '3',
}


def test_a_process_that_is_told_nothing_is_alone():
    assert initialize.detect_process(environ={}) is None
    assert (
        initialize.detect_process(environ={'JOB_COMPLETION_INDEX': '2'}) is None
    )  # an indexed job of pods on their own
    assert initialize.detect_process(environ=SLURM | {'SLURM_NTASKS': '1'}) is None  # srun of one task


def test_three_flags_say_it_and_a_port_may_be_left_out():
    assert initialize.detect_process('node001:1234', 4, 0, environ={}) == ProcessInfo('node001:1234', 4, 0, 'flags')
    assert initialize.detect_process('node001', 4, 3, environ={}).coordinator == f'node001:{initialize.DEFAULT_PORT}'


def test_slurm_and_a_jobset_and_a_tpu_slice_are_found():
    assert initialize.detect_process(environ=SLURM) == ProcessInfo(None, 16, 9, 'Slurm')
    assert initialize.detect_process(environ=JOBSET) == ProcessInfo(
        'alexnet-workers-0-0.alexnet:8476', 4, 3, 'variables'
    )
    assert initialize.detect_process(environ={'TPU_WORKER_HOSTNAMES': 'a,b', 'TPU_WORKER_ID': '1'}).source == 'TPU'
    assert initialize.detect_process(environ={'MEGASCALE_NUM_SLICES': '2', 'TPU_WORKER_HOSTNAMES': 'a'}).source == 'TPU'


def test_a_shell_in_an_allocation_is_alone_and_says_who_said_so(caplog):
    shell = SLURM | {'SLURM_PROCID': '0', 'SLURM_STEP_NUM_TASKS': '1'}
    with caplog.at_level('INFO'):
        assert initialize.detect_process(environ=shell) is None
    (message,) = caplog.messages
    assert 'Slurm allotted 16 tasks, and this step has one (SLURM_STEP_NUM_TASKS)' in message and 'srun' in message
    step = SLURM | {'SLURM_STEP_NUM_TASKS': '12'}
    assert initialize.detect_process(environ=step) == ProcessInfo(None, 12, 9, 'Slurm')


def test_processes_that_do_not_join_are_told_who_counts_them_and_what_is_between():
    slurm = ProcessInfo(None, 3, 0, 'Slurm')
    missing, unconnected = initialize.join_advice(slurm, environ={})
    assert 'Slurm says that there are 3' in missing and 'srun --ntasks=1' in missing
    assert 'firewall' in unconnected
    given = ProcessInfo('node7:8476', 2, 1, 'flags')
    missing, unconnected = initialize.join_advice(given, environ={'grpc_proxy': 'http://p:3128'})
    assert missing == ''
    assert unconnected == 'A proxy is set (grpc_proxy); unset it, or add node7 to no_proxy, on every host.'


@pytest.mark.parametrize(
    'address, hosts, refused',
    [
        ('127.0.1.1', {'node2'}, True),
        ('127.0.0.1', {'node1', 'node3'}, True),
        ('127.0.1.1', {'node1'}, False),
        ('10.1.2.3', {'node2'}, False),
    ],
)
def test_a_host_whose_name_means_itself_alone_is_named(monkeypatch, address, hosts, refused):
    monkeypatch.setattr(initialize.socket, 'gethostname', lambda: 'node1')
    monkeypatch.setattr(initialize.socket, 'getaddrinfo', lambda *_: [(2, 1, 6, '', (address, 0))])
    if not refused:
        return initialize.check_own_address(hosts)
    with pytest.raises(UserError, match=f'Host node1 calls itself {address}, .* /etc/hosts'):
        initialize.check_own_address(hosts)


def test_flags_come_before_what_is_found():
    assert initialize.detect_process('other:1', 2, 1, environ=SLURM | JOBSET) == ProcessInfo('other:1', 2, 1, 'flags')
    assert initialize.detect_process(processes=8, environ=JOBSET).num_processes == 8


@pytest.mark.parametrize(
    'flags, sentence',
    [
        (('', 2, 0), r'missing: --coordinator \(or JAX_COORDINATOR_ADDRESS in'),
        (('a:1', 0, 0), 'missing: --processes'),
        (('a:1', 2, -1), 'missing: --process \\(or'),
        (('a:1', 2, 2), 'expected 0 to 1'),
        (('a:one', 2, 0), 'HOST:PORT'),
    ],
)
def test_what_is_missing_or_wrong_is_said(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        initialize.detect_process(*flags, environ={})


def test_a_variable_that_is_no_number_is_said():
    with pytest.raises(UserError, match="--processes is 'four'; expected a whole number"):
        initialize.detect_process(environ=JOBSET | {'JAX_NUM_PROCESSES': 'four'})


@pytest.mark.parametrize(
    'error, environ, said',
    [
        (ValueError('coordinator_address should be defined.'), {}, ''),
        (OSError('no metadata server'), {}, ''),
        (ValueError('coordinator_address should be defined.'), {'TPU_WORKER_HOSTNAMES': 'localhost'}, ''),
        (RuntimeError('DEADLINE'), {'TPU_WORKER_HOSTNAMES': 'a,b'}, 'TPU_WORKER_HOSTNAMES says .*: DEADLINE'),
        (ValueError('int'), {'TPU_PROCESS_ADDRESSES': 'a:1,b:1'}, 'TPU_PROCESS_ADDRESSES says'),
        (OSError('x'), {'MEGASCALE_COORDINATOR_ADDRESS': 'a'}, 'MEGASCALE_COORDINATOR_ADDRESS says'),
        (ValueError('x'), {'MEGASCALE_NUM_SLICES': '2'}, 'MEGASCALE_NUM_SLICES says .* one of several'),
        (RuntimeError('Failed to recognize a'), {}, "the TPU's metadata says .* joining them failed: Failed"),
    ],
)
def test_a_tpu_is_taken_for_the_only_one_where_nothing_says_there_are_several(monkeypatch, error, environ, said):
    def fail(**_):
        raise error

    monkeypatch.setattr(jax.config, 'update', lambda *_: None)
    monkeypatch.setattr(jax.distributed, 'initialize', fail)
    where = ProcessInfo(None, None, None, 'TPU')
    if not said:
        assert initialize.join_processes(where, 1, environ=environ) is False
        return
    with pytest.raises(UserError, match=said):
        initialize.join_processes(where, 1, environ=environ)


def mesh(shape, processes, order=None):
    """Return a mesh of the devices of `processes` processes, which have equally many."""
    count = shape[0] * shape[1]
    devices = np.array(
        [types.SimpleNamespace(process_index=i * processes // count, id=i) for i in range(count)], object
    )
    return types.SimpleNamespace(devices=devices[order or list(range(count))].reshape(shape))


@pytest.mark.parametrize(
    'processes, shape',
    [
        (processes, shape)
        for processes, shape in itertools.product((1, 2, 4, 8), [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1)])
        if shape[0] * shape[1] % processes == 0
    ],
)
def test_the_shares_are_a_partition_and_processes_of_one_row_read_the_same(processes, shape):
    laid = mesh(shape, processes)
    shares = _slices_by_process(laid)
    count = max(shares.values()) + 1
    assert set(shares.values()) == set(range(count)) and shares[0] == 0
    per_share = shape[0] // count
    for row, holders in enumerate(laid.devices):
        assert {shares[device.process_index] for device in holders} == {row // per_share}


def test_a_mesh_that_cuts_through_a_process_has_no_shares():
    assert _slices_by_process(mesh((3, 2), 2)) is None  # three devices each: the middle row is of both
    assert _slices_by_process(mesh((4, 1), 2, [0, 2, 1, 3])) is None  # rows of a process that are no neighbors
    assert _slices_by_process(mesh((2, 1), 2, [1, 0])) is None  # the first share must be process 0's
