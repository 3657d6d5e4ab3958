"""Devices: the mesh of data and columns, how arrays lie on it, and which process writes. Knows no network and no files.

Axes of the mesh: 'data', along which the images of a batch are shared out, and 'column', along which the columns are.
"""

from __future__ import annotations

import functools
import logging
import math

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.sharding import AxisType, Mesh

from alexnet_jax.distributed.sharding import AXES, COLUMN_AXIS, DATA_AXIS
from alexnet_jax.errors import UserError

MAX_LISTED_DEVICES = 4  # devices of a column that are listed by name
_DOTS_ONLY_OPTIONS = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'}

log = logging.getLogger(__name__)


def make_mesh(
    shape: tuple[int, int] | None, *, columns: int, batch: int | None = None, parts: int = 1
) -> Mesh:
    """The mesh of `shape` = (data, column) over the devices of all processes; None chooses.

    The choice is 2 along `column` where columns and devices are both even in number, else 1; the other devices go
    along `data`. Axes are AxisType.Auto. Raises UserError where there are too few devices, where the columns or the
    images of a `batch`, in so many `parts`, cannot be shared out evenly, and where one of several processes would be
    left without a share.
    """
    devices = _device_count()
    if shape is None:
        column = 2 if columns % 2 == 0 and devices % 2 == 0 else 1
        shape = (devices // column, column)
    if math.prod(shape) > devices:
        raise UserError(
            f'A mesh of {shape[0]} x {shape[1]} needs {math.prod(shape)} devices and there are {devices}; {_hint()}.'
        )
    if columns % shape[1]:
        raise UserError(
            f'{columns} columns cannot be shared evenly by {shape[1]} devices; give another second number of the mesh.'
        )
    if jax.process_count() > 1 and math.prod(shape) != devices:
        raise UserError(
            f'With several processes the mesh must take all {devices} devices, and {shape[0]} x {shape[1]} does not.'
        )
    chosen = _topology_mesh(shape)
    if chosen is None or _slices_by_process(chosen) is None:
        chosen = _process_order_mesh(shape)
        if _slices_by_process(chosen) is None:
            raise UserError(
                f'A mesh of {shape[0]} x {shape[1]} gives {jax.process_count()} processes shares of a batch that '
                'overlap; give a config.mesh whose rows are shared by whole processes, or share whole rows.'
            )
    if batch is not None:
        per_device_batch(batch, chosen, parts=parts)
    return chosen


def _device_count() -> int:
    """How many devices all processes have. Raises UserError where jax has none or none of the platform asked for."""
    try:
        return jax.device_count()
    except (RuntimeError, AssertionError) as error:  # jax's own, wordless where it sees no GPU for cuda
        reason = str(error).partition(' (set JAX_PLATFORMS')[0]
        if not (platform := jax.config.jax_platforms):
            raise UserError(f'JAX finds no device: {reason}') from error
        # jax takes gpu for cuda and rocm, and complains of the last: a reason that names another word is none.
        reason = f' ({reason})' if f"'{platform}'" in reason else ''
        raise UserError(
            f'JAX_PLATFORMS is {platform} and this jax has no such device{reason}; install the jax for it '
            '(pip install -U "jax[cuda13]" or "jax[tpu]") on a machine that has one, or unset JAX_PLATFORMS.'
        ) from error


def _topology_mesh(shape: tuple[int, int]) -> Mesh | None:
    """The mesh as jax lays it along the wires between devices; None where it knows no way.

    It splits no axis of a torus but on v5e, so that a column of 2 fits no slice of 4 x 4 x 4 (NotImplementedError), no
    several slices (ValueError), and no chips that make no cuboid or count as two devices each (AssertionError).
    """
    try:
        return jax.make_mesh(
            shape, AXES, axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[: math.prod(shape)]
        )
    except (NotImplementedError, ValueError, AssertionError) as error:
        reason = str(error).partition('\n')[0][:200]
        log.info('The mesh is laid out by processes, as jax knows no way along the wires: %s', reason)
        return None


def _process_order_mesh(shape: tuple[int, int]) -> Mesh:
    """The mesh process by process, which jax counts slice by slice; columns are neighbors on a host that has two."""
    order = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))[: math.prod(shape)]
    devices = np.empty(len(order), object)
    devices[:] = order
    return Mesh(devices.reshape(shape), AXES, axis_types=(AxisType.Auto,) * 2)


def per_device_batch(
    batch: int, mesh: Mesh, *, field: str = 'config.train.batch_size', parts: int = 1
) -> int:
    """Images that each device along `data` takes of each of a batch's parts. Raises UserError where they do not fit."""
    devices = mesh.shape[DATA_AXIS]
    if batch % (devices * parts):
        in_parts = f' in {parts} parts' if parts > 1 else ''
        raise UserError(
            f'A batch of {batch} images{in_parts} cannot be shared evenly by {devices} devices; '
            f'make {field} a multiple of {devices * parts}.'
        )
    return batch // (devices * parts)


def process_batch_slice(mesh: Mesh) -> tuple[int, int]:
    """Which share of each batch this process reads, and how many shares there are.

    Processes that hold different columns of the same images read the same share.
    """
    shares = _slices_by_process(mesh)
    assert shares is not None
    return shares[jax.process_index()], max(shares.values()) + 1


def _slices_by_process(mesh: Mesh) -> dict[int, int] | None:
    """The share of each process where all are equal, disjoint or the same, and made of neighboring rows; else None.

    Process 0, which draws what the first images look like, must have the first one.
    """
    rows: dict[int, list[int]] = {}
    for row, devices in enumerate(mesh.devices):
        for process in {device.process_index for device in devices}:
            rows.setdefault(process, []).append(row)
    size = len(rows.get(0, ()))
    for mine in rows.values():
        if mine[0] % max(size, 1) or mine != list(range(mine[0], mine[0] + size)):
            return None
    return {process: mine[0] // size for process, mine in rows.items()} if rows[0][0] == 0 else None


def describe_mesh(mesh: Mesh, *, columns: int) -> str:
    """Which column lives on which devices, in a line: 'column a on cpu:0, column b on cpu:1'."""
    names = [chr(ord('a') + column) for column in range(columns)]
    each = columns // mesh.shape[COLUMN_AXIS]
    parts = []
    for place in range(mesh.shape[COLUMN_AXIS]):
        lived = names[place * each : (place + 1) * each]
        holders = [f'{device.platform}:{device.id}' for device in mesh.devices[:, place]]
        more = f', ... ({len(holders)} in all)' if len(holders) > MAX_LISTED_DEVICES else ''
        parts.append(
            f'column{"s" * (each > 1)} {" and ".join(lived)} on {", ".join(holders[:MAX_LISTED_DEVICES])}{more}'
        )
    return '; '.join(parts)


def compiler_options(dots_only: bool) -> dict[str, str]:
    """What to hand to jax.jit(compiler_options=...): on CPU, YNNPACK for matrix products and not for convolutions.

    Empty on other devices, where `dots_only` is False, and, with a line in the log, where this jaxlib does not know the
    option, which is experimental. Rounding may differ, the mathematics does not.
    """
    wanted = dots_only and jax.default_backend() == 'cpu'
    return dict(_DOTS_ONLY_OPTIONS) if wanted and _supports_options(tuple(_DOTS_ONLY_OPTIONS.items())) else {}


@functools.cache
def _supports_options(options: tuple[tuple[str, str], ...]) -> bool:
    """Whether this jaxlib compiles with the options; tried once on next to nothing."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(options)).lower(jnp.zeros(())).compile()
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition('\n')[0]
        log.warning(
            'machine.ynnpack_dots_only: left out, jaxlib %s does not take it (%s)', jaxlib.__version__, reason
        )
        return False
    return True


def _hint() -> str:
    if jax.default_backend() == 'cpu':
        return 'give a smaller config.mesh, or as many CPU devices by config.machine.cpu_devices'
    return 'give a smaller config.mesh'
