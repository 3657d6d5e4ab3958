"""Variables of jax and XLA: pinned, recorded or refused, whatever the environment says."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import jax_variables

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environ(monkeypatch):
    """Return a stand-in for os.environ without variables of jax."""
    own = {'PATH': os.environ['PATH']}
    monkeypatch.setattr(jax_variables.os, 'environ', own)
    return own


def test_variables_that_decide_numbers_are_pinned_and_named_once(environ, caplog):
    environ |= {'JAX_DEFAULT_PRNG_IMPL': 'unsafe_rbg', 'JAX_ENABLE_X64': 'true', 'JAX_TRANSFER_GUARD': 'log'}
    environ |= {'JAX_PLATFORMS': 'cpu', 'JAX_THREEFRY_PARTITIONABLE': 'True', 'JAX_DEBUG_NANS': 'no'}
    with caplog.at_level(logging.WARNING):
        jax_variables.pin_variables(2)
        jax_variables.pin_variables(2)
    (message,) = caplog.messages
    ignored = message.removeprefix('Ignored: ').partition('. ')[0].split(', ')
    assert sorted(ignored) == ['JAX_DEFAULT_PRNG_IMPL=unsafe_rbg', 'JAX_ENABLE_X64=true', 'JAX_TRANSFER_GUARD=log']
    assert environ['JAX_DEFAULT_PRNG_IMPL'] == 'threefry2x32' and environ['JAX_ENABLE_X64'] == '0'
    assert 'JAX_TRANSFER_GUARD' not in environ and environ['JAX_PLATFORMS'] == 'cpu'


@pytest.mark.parametrize(
    'given', [{'JAX_NUM_CPU_DEVICES': '7'}, {'XLA_FLAGS': '--xla_force_host_platform_device_count=7'}]
)
def test_another_number_of_cpu_devices_is_overruled_aloud(environ, caplog, given):
    environ |= given
    jax_variables.pin_variables(2)
    assert f'the 7 CPU devices of {next(iter(given))}, as config.machine.cpu_devices is 2' in caplog.text
    assert environ['JAX_NUM_CPU_DEVICES'] == '2'
    caplog.clear()
    jax_variables.pin_variables(7)
    assert 'XLA_FLAGS' in given or 'the 2 CPU devices' in caplog.text


def test_every_pinned_variable_is_one_that_jax_reads_and_takes():
    """A misspelled name would pin nothing; a wrong value would end the import of jax."""
    code = """
import jax
from jax._src import config
print(*sorted(config.config._value_holders), sep='\\n')
"""
    pinned = {name: value for name, value in jax_variables.PINNED.items() if value}
    clean = {name: value for name, value in os.environ.items() if not name.startswith('JAX_')}
    done = subprocess.run(
        [sys.executable, '-c', code], env=clean | pinned, capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    known = {name.upper() for name in done.stdout.split()}
    # Of an older jax, where it still decides.
    assert jax_variables.PINNED.keys() - known <= {'JAX_DEFAULT_DTYPE_BITS'}


def test_what_else_may_change_numbers_is_recorded_and_the_machines_own_is_not(environ):
    environ |= {
        'XLA_FLAGS': '--xla_dump_to=/tmp/x --xla_cpu_use_onednn=true --xla_gpu_deterministic_ops=true',
        'JAX_CPU_COLLECTIVES_IMPLEMENTATION': 'gloo',
        'JAX_PLATFORMS': 'cpu',
        'JAX_PROCESS_ID': '3',
        'JAX_COMPILATION_CACHE_DIR': '/tmp/cache',
        'JAX_USE_MAGMA': 'on',
        'NVIDIA_TF32_OVERRIDE': '1',
        'HOME': '/home/me',
    }
    jax_variables.pin_variables(1)
    assert jax_variables.recorded_variables() == {
        'JAX_USE_MAGMA': 'on',
        'XLA_FLAGS': '--xla_cpu_use_onednn=true',
        'NVIDIA_TF32_OVERRIDE': '1',
    }


@pytest.mark.parametrize(
    'flags, sentence',
    [
        ('--xla_gpu_enable_warp_drive=true', 'Unknown flag in XLA_FLAGS: --xla_gpu_enable_warp_drive=true'),
        ('--xla_backend_optimization_level=much', 'interpret value much for flag xla_backend_optimization_level'),
        ('/no/such/flags', 'Could not open file'),
    ],
)
def test_flags_that_xla_would_abort_for_are_refused(environ, flags, sentence):
    environ['XLA_FLAGS'] = flags
    with pytest.raises(UserError, match=f'{sentence}.*; correct or unset it'):
        jax_variables.check_xla_flags()


def test_flags_that_xla_knows_are_taken(environ):
    environ['XLA_FLAGS'] = '--xla_cpu_multi_thread_eigen=false'
    jax_variables.check_xla_flags()
