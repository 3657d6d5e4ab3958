"""Machines to compile for without having them: TPU slices and GPU hosts by name.

The compilers run without their devices (jax.experimental.topologies); nothing can be run on what is returned here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from alexnet_jax.distributed.device_rates import GIGA, RATES, TERA, DeviceRates
from alexnet_jax.errors import UserError, first_line

# The versions of jax's CUDA plugin and of libtpu that were tried; each jax release names its own.
TRIED_EXTRAS = {'0.10.2': {'libtpu': '0.0.42', 'jax-cuda13-plugin': '0.10.2', 'jax-cuda13-pjrt': '0.10.2'}}
EXTRA_FILES = {'tpu': 'requirements-tpu-compile.txt', 'cuda': 'requirements-cuda-compile.txt'}
EXTRA_PACKAGES = {'tpu': ('libtpu',), 'cuda': ('jax-cuda13-plugin', 'jax-cuda13-pjrt', 'nvidia-cuda-nvcc')}
MAX_CPU_DEVICES = 64


TPU_EXAMPLES = ('1x1', '2x2', '2x4', '4x4', '16x16')
TPU_3D_EXAMPLES = ('1x1x1', '2x2x1', '2x2x2', '4x4x4', '4x4x8')
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    'tpu:v4': TPU_3D_EXAMPLES,
    'tpu:v5e': TPU_EXAMPLES,
    'tpu:v5p': TPU_3D_EXAMPLES,
    'tpu:v6e': TPU_EXAMPLES,
    'cuda:h100': ('1', '8', '2x8'),
    'cuda:h200': ('1', '8', '2x8'),
    'cpu': ('1', '8'),
}


@dataclasses.dataclass(frozen=True)
class CompileTarget:
    """A machine by name: its `kind` (a key of RATES, or cpu) and the sizes of its slice, or its hosts and devices."""

    kind: str
    sizes: tuple[int, ...]

    @property
    def platform(self) -> str:
        """Return tpu, cuda or cpu."""
        return self.kind.partition(':')[0]

    @property
    def rates(self) -> DeviceRates | None:
        """Return the published rates of a device; None for CPUs."""
        return RATES.get(self.kind)

    @property
    def num_devices(self) -> int:
        """Return the number of devices."""
        return math.prod(self.sizes)

    def __str__(self) -> str:
        return f'{self.kind}:{"x".join(map(str, self.sizes))}'


def parse_target(text: str) -> CompileTarget:
    """Return the target that a text such as tpu:v5e:16x16, cuda:h100:2x8 (hosts x devices) or cpu:8 names.

    Raises UserError if it names none.
    """
    kind, _, sizes = text.lower().rpartition(':')
    if kind not in EXAMPLES or not re.fullmatch(r'[1-9]\d{0,5}(x[1-9]\d{0,5}){0,2}', sizes):
        raise _unknown_target_error(text)
    target = CompileTarget(kind, tuple(map(int, sizes.split('x'))))
    dimensions = {len(example.split('x')) for example in EXAMPLES[kind]}
    if len(target.sizes) not in dimensions or (kind == 'cpu' and target.num_devices > MAX_CPU_DEVICES):
        raise _unknown_target_error(text)
    return target


def _unknown_target_error(text: str) -> UserError:
    examples = ', '.join(f'{kind}:{sizes[-1]}' for kind, sizes in EXAMPLES.items())
    return UserError(
        f'config.compile.target is {text!r}; expected a machine such as {examples}. '
        '--config.compile.target=list shows them.'
    )


def make_devices(target: CompileTarget) -> list[jax.Device]:
    """Return the devices of a target, which programs can be compiled for; those of cpu can run them too.

    Raises UserError if the packages that compile for it are missing or belong to another jax, if there is no slice of
    that size, or if jax has started with fewer CPU devices.
    """
    # Accelerators of this machine are not started; nor is it an error that there are none.
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_platforms', 'cpu')
    if target.platform == 'cpu':
        return _make_cpu_devices(target.num_devices)
    check_extras(target.platform)
    # jax would write such a program to its cache on disk, and warn that it cannot read it the next time.
    jax.config.update('jax_enable_compilation_cache', False)
    make = {'tpu': _make_tpu_devices, 'cuda': _make_cuda_devices}[target.platform]
    try:
        return list(make(target))
    except (RuntimeError, ValueError) as error:
        raise UserError(f'There are no devices for config.compile.target={target}: {first_line(error)}.') from error


def check_extras(platform: str) -> None:
    """Raise UserError unless the packages that compile for a platform are there and belong to this jax."""
    install = f'pip install {"--no-deps " if platform == "cuda" else ""}-r {EXTRA_FILES[platform]}'
    found, missing = {}, []
    for package in EXTRA_PACKAGES[platform]:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        raise UserError(f'To compile for {platform}, install {", ".join(missing)}: {install}. No device is needed.')
    for package, version in TRIED_EXTRAS.get(jax.__version__, {}).items():
        if package in found and not f'{found[package]}.'.startswith(f'{version}.'):
            raise UserError(
                f'{package} {found[package]} does not belong to jax {jax.__version__}, which compiles by {package} '
                f'{version}; {install}.'
            )
    # jax refuses a plugin of another version by itself, but with a warning and without the platform.
    plugin = found.get('jax-cuda13-plugin', jax.__version__)
    if plugin != jax.__version__:
        raise UserError(
            f'jax-cuda13-plugin {plugin} does not belong to jax {jax.__version__}; pip install --no-deps '
            f'jax-cuda13-plugin=={jax.__version__} jax-cuda13-pjrt=={jax.__version__}.'
        )


def extra_versions(platform: str) -> dict[str, str]:
    """Return the versions of the packages that compile for a platform."""
    return {package: importlib.metadata.version(package) for package in EXTRA_PACKAGES.get(platform, ())}


def compile_options(target: CompileTarget) -> dict[str, Any]:
    """Return what the compiler has to be told where the device is not there: nothing can be tried out on it."""
    if target.platform != 'cuda':
        return {}
    return {'xla_gpu_autotune_level': '0', 'xla_gpu_cuda_data_dir': str(_cuda_directory())}


def format_targets() -> list[str]:
    """Return the lines of --config.compile.target=list: machines and the published rates that estimates use."""
    lines = ['machines that a program can be compiled for, with the published figures of one device:', '']
    for kind, sizes in EXAMPLES.items():
        names = ', '.join(f'{kind}:{size}' for size in sizes)
        if (rates := RATES.get(kind)) is None:
            lines.append(f'  {names} ... (no estimate: its rates are not published; --mode=benchmark measures them)')
            continue
        products = f'{rates.bfloat16 / TERA:,.0f} TFLOP/s bfloat16, {rates.float32 / TERA:,.0f} float32'
        lines += [
            f'  {names} ...',
            f'      {rates.description}: {rates.memory / GIGA:,.0f} GB at {rates.bandwidth / GIGA:,.0f} GB/s, '
            f'{products}, {rates.link / GIGA:,.0f} GB/s a link',
        ]
    return [*lines, '', 'tpu: chips of the slice. cuda: devices of one host, or hosts x devices. cpu: devices.']


def _make_cpu_devices(count: int) -> list[jax.Device]:
    if jax.config.jax_num_cpu_devices < count:
        with contextlib.suppress(RuntimeError):  # jax has started; it may have enough of them
            jax.config.update('jax_num_cpu_devices', count)
    devices = jax.devices('cpu')
    if len(devices) < count:
        raise UserError(
            f'config.compile.target=cpu:{count} needs as many CPU devices, but jax has started with {len(devices)}; '
            f'set config.machine.cpu_devices={count}.'
        )
    return devices[:count]


def _make_tpu_devices(target: CompileTarget) -> list[jax.Device]:
    from jax.experimental import topologies

    # A host has four chips, 2 x 2, unless the slice is smaller; without these sizes libtpu refuses it.
    sizes = target.sizes + (1,) * (3 - len(target.sizes))
    bounds = tuple(min(size, most) for size, most in zip(sizes, (2, 2, 1), strict=True))
    options: dict[str, Any] = {'chips_per_host_bounds': bounds}
    if target.kind == 'tpu:v4':
        # Both cores of a chip are one device, as jax has them on a real v4.
        options['chip_config_name'] = 'megacore'
    name = f'{target.kind.partition(":")[2]}:{"x".join(map(str, target.sizes))}'
    with _quiet_libtpu():
        return topologies.get_topology_desc(platform='tpu', topology_name=name, **options).devices


@contextlib.contextmanager
def _quiet_libtpu() -> Iterator[None]:
    """Keep libtpu from asking a metadata server that is not there, and from saying so at length."""
    settings = {
        'TPU_SKIP_MDS_QUERY': '1',
        # Nobody holds a chip, so several processes may compile at once.
        'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
        'TPU_WORKER_HOSTNAMES': 'localhost',
        'TPU_WORKER_ID': '0',
        'TPU_ACCELERATOR_TYPE': 'v5litepod-1',
        'TPU_MIN_LOG_LEVEL': '3',
        'TPU_STDERR_LOG_LEVEL': '3',
    }
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _make_cuda_devices(target: CompileTarget) -> list[jax.Device]:
    from jax.experimental import topologies

    hosts, devices = target.sizes if len(target.sizes) == 2 else (1, *target.sizes)
    return topologies.get_topology_desc(
        platform='cuda',
        topology_name='any',
        topology=f'1x{hosts}x{devices}',
        target_config=_gpu_target_config(RATES[target.kind]),
    ).devices


def _gpu_target_config(rates: DeviceRates) -> str:
    """Return XLA's GpuTargetConfigProto of a Hopper GPU (stream_executor/device_description.proto), as text."""
    info = {
        'threads_per_block_limit': 1024,
        'threads_per_warp': 32,
        'shared_memory_per_block': 49152,
        'shared_memory_per_core': 233472,
        'threads_per_core_limit': 2048,
        'core_count': 132,
        'fpus_per_core': 128,
        'block_dim_limit_x': 2**31 - 1,
        'block_dim_limit_y': 65535,
        'block_dim_limit_z': 65535,
        'memory_bandwidth': int(rates.bandwidth),
        'l2_cache_size': 50 * 2**20,
        'clock_rate_ghz': 1.98,
        'device_memory_size': int(rates.memory),
        'shared_memory_per_block_optin': 232448,
        'registers_per_core_limit': 65536,
        'registers_per_block_limit': 65536,
    }
    numbers = ' '.join(f'{name}: {value}' for name, value in info.items())
    return (
        f'gpu_device_info {{ {numbers} cuda_compute_capability {{ major: 9 }} }} platform_name: "CUDA" '
        f'dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{rates.description}"'
    )


def _cuda_directory() -> Path:
    """Return the folder of NVIDIA's wheels that has ptxas and libdevice."""
    spec = importlib.util.find_spec('nvidia')
    folders = [Path(place) / 'cu13' for place in (spec.submodule_search_locations or ()) if spec] if spec else []
    return next((folder for folder in folders if folder.is_dir()), Path('/usr/local/cuda'))
