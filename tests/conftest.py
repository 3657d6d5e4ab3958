"""Settings of the whole suite: eight CPU devices, no silent broadcasting of ranks, no accelerator needed."""

import atexit
import contextlib
import os
import shutil
import tempfile

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import jax_variables

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# The workers of pytest-xdist have what the process that starts them has set.
if 'PYTEST_XDIST_WORKER' not in os.environ:
    # The same programs are compiled by many tests and the processes they start: once for all, and forgotten at the end.
    os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='jax_cache_of_tests_')
    atexit.register(shutil.rmtree, os.environ['JAX_COMPILATION_CACHE_DIR'], ignore_errors=True)
    if 'XLA_FLAGS' not in os.environ:
        # Machine code in haste: small networks are compiled more often than they run, and optimizing took more than
        # half of the suite's time. What XLA's own passes make of a program stays. XLA_FLAGS='' in the environment tests
        # what users run. An XLA that no longer knows these flags would abort.
        os.environ['XLA_FLAGS'] = (
            '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true '
            '--xla_cpu_use_fusion_emitters=false'
        )
        try:
            jax_variables.check_xla_flags()
        except UserError:
            del os.environ['XLA_FLAGS']
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.3'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

import jax
import pytest
from tiny_run import tiny_config

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_xdist_auto_num_workers(config):
    """Return the workers of -n auto: one more than cores, since some tests wait for other processes and for clocks."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def no_devices_of_another_test(monkeypatch):
    """Forget how many CPU devices a mode that ran in this process asked for: processes of later tests inherit it."""
    monkeypatch.delenv('JAX_NUM_CPU_DEVICES', raising=False)
    yield
    os.environ.pop('JAX_NUM_CPU_DEVICES', None)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """Return (config, workdir) of a finished tiny run without pictures. Read it, do not change it."""
    from alexnet_jax import commands

    config, workdir = tiny_config(), str(tmp_path_factory.mktemp('trained'))
    with draw_no_plots():
        commands.run('train', config, workdir)
    return config, workdir


@contextlib.contextmanager
def draw_no_plots():
    """Draw no pictures at the beginning of a run, at its evaluations and at its end: they take half of its time."""
    from alexnet_jax.commands import final_report, training_pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(final_report, 'draw_examples', lambda *arguments: None)
        patch.setattr(final_report, 'draw_plots', lambda *arguments: None)
        patch.setattr(training_pictures, 'refresh_pictures', lambda *arguments, **options: None)
        yield


@pytest.fixture
def without_plots():
    """Leave the pictures out of the runs of one test."""
    with draw_no_plots():
        yield


@pytest.fixture(scope='module')
def module_without_plots():
    """Leave the pictures out of all runs of a file, those of its fixtures too."""
    with draw_no_plots():
        yield
