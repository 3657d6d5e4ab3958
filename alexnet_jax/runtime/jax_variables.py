"""Environment variables of jax and XLA: the pinned ones, those recorded with a run, and XLA_FLAGS that XLA refuses."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping

from alexnet_jax.errors import UserError

DETERMINISTIC_FLAG = '--xla_gpu_deterministic_ops=true'
# Variables of jax that decide the numbers of a run, or end it, and their values here; '' leaves it to jax.
PINNED: Mapping[str, str] = {
    'JAX_ENABLE_X64': '0',
    'JAX_EXPLICIT_X64_DTYPES': '',
    'JAX_DEFAULT_DTYPE_BITS': '',
    'JAX_NUMPY_DTYPE_PROMOTION': 'standard',
    'JAX_NUMPY_RANK_PROMOTION': 'allow',
    'JAX_DEFAULT_MATMUL_PRECISION': '',
    'JAX_ALLOW_F16_REDUCTIONS': '1',
    'JAX_SOFTMAX_CUSTOM_JVP': '',
    'JAX_DEFAULT_PRNG_IMPL': 'threefry2x32',
    'JAX_THREEFRY_PARTITIONABLE': '1',
    'JAX_THREEFRY_GPU_KERNEL_LOWERING': '',
    'JAX_RANDOM_SEED_OFFSET': '0',
    'JAX_ENABLE_CUSTOM_PRNG': '',
    'JAX_LEGACY_PRNG_KEY': 'allow',
    'JAX_HIGH_DYNAMIC_RANGE_GUMBEL': '',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '0',
    'JAX_OPTIMIZATION_LEVEL': '',
    'JAX_EXEC_TIME_OPTIMIZATION_EFFORT': '',
    'JAX_MEMORY_FITTING_EFFORT': '',
    'JAX_MEMORY_FITTING_LEVEL': '',
    'JAX_COMPILER_ENABLE_REMAT_PASS': '',
    'JAX_USE_DIRECT_LINEARIZE': '',
    'JAX_USE_SHARDY_PARTITIONER': '',
    'JAX_DISABLE_JIT': '0',
    'JAX_NO_TRACING': '',
    'JAX_NO_EXECUTION': '',
    'JAX_AUTO_PCAST': '',
    'JAX_DEBUG_NANS': '0',
    'JAX_DEBUG_INFS': '0',
    'JAX_DEBUG_KEY_REUSE': '',
    'JAX_CHECK_TRACER_LEAKS': '',
    'JAX_ENABLE_CHECKS': '',
    'JAX_ERROR_CHECKING_BEHAVIOR_NAN': '',
    'JAX_ERROR_CHECKING_BEHAVIOR_DIVIDE': '',
    'JAX_ERROR_CHECKING_BEHAVIOR_OOB': '',
    'JAX_TRANSFER_GUARD': '',
    'JAX_TRANSFER_GUARD_HOST_TO_DEVICE': '',
    'JAX_TRANSFER_GUARD_DEVICE_TO_HOST': '',
    'JAX_TRANSFER_GUARD_DEVICE_TO_DEVICE': '',
    'JAX_THREAD_GUARD': '',
    'JAX_ARRAY_GARBAGE_COLLECTION_GUARD': '',
}
# Other variables of jax that concern the machine alone: devices, processes, caches, logs.
_MACHINE = re.compile(
    r'JAX_(PLATFORMS|PLATFORM_NAME|NUM_CPU_DEVICES|\w+_VISIBLE_DEVICES|COORDINATOR_\w+|NUM_PROCESSES|PROCESS_ID|LOCAL_\w+'
    r'|\w*COMPILATION_CACHE\w*|\w*PERSISTENT_CACHE_\w+|LOG_\w+|LOGGING_LEVEL|DEBUG_LOG_MODULES|EXPLAIN_\w+'
    r'|DUMP_\w+|TRACEBACK_\w+|CHECK_PROXY_ENVS|DISTRIBUTED_\w+|CPU_\w+|CROSS_HOST_\w+)'
)
_OTHER_VARIABLES = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS', 'NVIDIA_TF32_OVERRIDE')
_MACHINE_FLAGS = ('--xla_force_host_platform_device_count', '--xla_dump_', '--xla_gpu_deterministic_ops')
_TRUTH = dict.fromkeys(('y', 'yes', 't', 'true', 'on'), '1') | dict.fromkeys(('n', 'no', 'f', 'false', 'off'), '0')
# What XLA says of flags before it aborts the process.
_FLAG_ERRORS = re.compile(
    r"(Unknown flags? in XLA_FLAGS: .*|Couldn't interpret value .* for flag \w+|Could not open file \S+)"
)

log = logging.getLogger(__name__)


def pin_variables(cpu_devices: int) -> None:
    """Set the variables that decide numbers to what they are in every run; warn of those that were set otherwise."""
    ignored = []
    for name, value in PINNED.items():
        given = os.environ.pop(name, '')
        if value:
            os.environ[name] = value
        if given and value != _TRUTH.get(given.lower(), given.lower()):
            ignored.append(f'{name}={given}')
    if ignored:
        log.warning(
            'Ignored: %s. They would change the numbers of a run, or end it; a run is its config and its seed.',
            ', '.join(ignored),
        )
    count = re.search(r'--xla_force_host_platform_device_count=(\d+)', os.environ.get('XLA_FLAGS', ''))
    wanted = {'JAX_NUM_CPU_DEVICES': os.environ.get('JAX_NUM_CPU_DEVICES'), 'XLA_FLAGS': count and count[1]}
    for name, number in wanted.items():
        if number and number != str(cpu_devices):
            log.warning(
                'Ignored: the %s CPU devices of %s, as config.machine.cpu_devices is %d; set that instead.',
                number,
                name,
                cpu_devices,
            )
    os.environ['JAX_NUM_CPU_DEVICES'] = str(cpu_devices)


def is_read_by_jax(name: str) -> bool:
    """Return whether an environment variable is one of jax or XLA."""
    return name.startswith('JAX_') or name in _OTHER_VARIABLES


def recorded_variables() -> dict[str, str]:
    """Return the variables that are not pinned and may change the numbers of a run, less what concerns the machine."""
    names = [name for name in os.environ if name.startswith('JAX_') and name not in PINNED]
    found = {name: os.environ[name] for name in sorted(names) if not _MACHINE.fullmatch(name)}
    for name in _OTHER_VARIABLES:
        flags = [flag for flag in os.environ.get(name, '').split() if not flag.startswith(_MACHINE_FLAGS)]
        found |= {name: ' '.join(flags)} if flags else {}
    return found


def check_xla_flags() -> None:
    """Raise UserError if XLA refuses XLA_FLAGS; it would abort the process without a Python error."""
    flags = os.environ.get('XLA_FLAGS', '').strip()
    if not flags or set(flags.split()) <= {DETERMINISTIC_FLAG}:
        return
    code = 'from jaxlib import xla_client; xla_client.CompileOptions()'
    tried = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, env=os.environ, stdin=subprocess.DEVNULL, check=False
    )
    if tried.returncode and (reason := _FLAG_ERRORS.search(tried.stderr.decode(errors='replace'))):
        raise UserError(
            f'XLA does not take the environment variable XLA_FLAGS ({reason[0].strip()}); correct or unset it.'
        )
