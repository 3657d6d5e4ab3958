"""Builds the device mesh of data and column axes, and tells which part of a batch each process reads."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from alexnet_jax.distributed.sharding import AXES, COLUMN_AXIS, DATA_AXIS
from alexnet_jax.errors import UserError, first_line

# Devices of a column that `describe_mesh` lists by name.
MAX_LISTED_DEVICES = 4

log = logging.getLogger(__name__)


def make_mesh(
    shape: tuple[int, int] | None,
    *,
    columns: int,
    batch_size: int | None = None,
    microbatches: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Return the mesh of `shape` = (data, column) over the devices of all processes; None chooses the shape.

    `devices` are those of a machine that is only compiled for (distributed/targets.py); None: those that there are.

    The choice is 2 along `column` if columns and devices are both even in number, else 1; the other devices go along
    `data`. Axes are AxisType.Auto. Raises UserError if there are too few devices, if the columns or the images of
    each microbatch cannot be divided evenly, or if a process would be left without images.
    """
    count = _device_count() if devices is None else len(devices)
    if shape is None:
        column = 2 if columns % 2 == 0 and count % 2 == 0 else 1
        shape = (count // column, column)
    if math.prod(shape) > count:
        raise UserError(
            f'A mesh of {shape[0]} x {shape[1]} needs {math.prod(shape)} devices, but there are {count}; '
            f'{_mesh_hint() if devices is None else "choose a smaller config.mesh, or a larger target"}.'
        )
    if columns % shape[1]:
        raise UserError(
            f'{columns} columns cannot be divided evenly over {shape[1]} devices; change the second number of '
            'config.mesh.'
        )
    processes = jax.process_count() if devices is None else len({device.process_index for device in devices})
    if processes > 1 and math.prod(shape) != count:
        raise UserError(
            f'A mesh of {shape[0]} x {shape[1]} must use all {count} devices if there are several processes.'
        )
    used = list(jax.devices() if devices is None else devices)
    mesh = next((mesh for mesh in _candidate_meshes(shape, used) if _slices_by_process(mesh)), None)
    if mesh is None:
        raise UserError(
            f'A mesh of {shape[0]} x {shape[1]} gives {processes} processes overlapping parts of a '
            'batch; choose a config.mesh whose rows contain whole processes, or whose processes contain whole rows.'
        )
    if batch_size is not None:
        per_device_batch(batch_size, mesh, microbatches=microbatches)
    return mesh


def _device_count() -> int:
    """Return the number of devices of all processes. Raises UserError if the platform that was asked for has none."""
    try:
        return jax.device_count()
    except (RuntimeError, AssertionError) as error:  # without a message if it sees no GPU for cuda
        reason = str(error).partition(' (set JAX_PLATFORMS')[0]
        if not (platform := jax.config.jax_platforms):
            raise UserError(f'JAX finds no device: {reason}') from error
        # jax takes gpu for cuda and rocm, and complains of the last: a reason that names another platform is wrong.
        reason = f' ({reason})' if f"'{platform}'" in reason else ''
        raise UserError(
            f'JAX_PLATFORMS is {platform}, but jax finds no such device{reason}; install the jax for it '
            '(pip install -U "jax[cuda13]" or "jax[tpu]") on a machine that has one, or unset JAX_PLATFORMS.'
        ) from error


def _candidate_meshes(shape: tuple[int, int], devices: list[jax.Device]) -> Iterator[Mesh]:
    """Yield meshes of that shape, the best first: jax's own, which follow the interconnect, then that in process order.

    jax.make_mesh does not split an axis of a torus, except on v5e, so that a column of 2 does not fit a slice of
    4 x 4 x 4 (NotImplementedError); splitting is the second try. Neither takes several slices (ValueError or
    AssertionError), or chips that form no cuboid or count as two devices each (AssertionError). Where a process holds
    rows that are not neighbors along `data`, they are brought together.
    """
    first = devices[: math.prod(shape)]

    def make_split(shape, axes, *, axis_types, devices):
        laid_out = mesh_utils.create_device_mesh(shape, devices=devices, allow_split_physical_axes=True)
        return Mesh(laid_out, axes, axis_types=axis_types)

    for make in (jax.make_mesh, make_split):
        try:
            mesh = make(shape, AXES, axis_types=(AxisType.Auto,) * 2, devices=first)
        except (NotImplementedError, ValueError, AssertionError) as error:
            log.info('jax finds no mesh along the interconnect (%s); trying another way.', first_line(error))
            continue
        yield mesh
        yield _group_rows_by_process(mesh)
    yield _process_order_mesh(shape, devices)


def _group_rows_by_process(mesh: Mesh) -> Mesh:
    """Return the mesh with the rows of each process together, processes in the order of their first rows."""
    holders = [row[0].process_index for row in mesh.devices]
    order = sorted(range(len(holders)), key=lambda row: holders.index(holders[row]))
    return Mesh(mesh.devices[order], AXES, axis_types=(AxisType.Auto,) * 2)


def _process_order_mesh(shape: tuple[int, int], devices: list[jax.Device]) -> Mesh:
    """Return the mesh in process order, which is slice by slice; the two columns are neighbors on a host."""
    order = sorted(devices, key=lambda device: (device.process_index, device.id))[: math.prod(shape)]
    array = np.empty(len(order), object)
    array[:] = order
    return Mesh(array.reshape(shape), AXES, axis_types=(AxisType.Auto,) * 2)


def per_device_batch(
    batch_size: int, mesh: Mesh, *, field: str = 'config.train.batch_size', microbatches: int = 1
) -> int:
    """Return the images of a microbatch per device along `data`. Raises UserError if that is no whole number."""
    devices = mesh.shape[DATA_AXIS]
    if batch_size % (devices * microbatches):
        divided = f' in {microbatches} microbatches' if microbatches > 1 else ''
        raise UserError(
            f'A batch of {batch_size} images{divided} cannot be divided evenly over {devices} devices; '
            f'make {field} a multiple of {devices * microbatches}.'
        )
    return batch_size // (devices * microbatches)


def padded_batch_size(num_images: int, largest: int, mesh: Mesh | None) -> int:
    """Return the size that batches are padded to: `largest`, or less where there are fewer images.

    It is a power of two, so that few programs are compiled, made even over the devices along `data`.
    """
    devices = mesh.shape[DATA_AXIS] if mesh else 1
    size = 1 << (min(num_images, largest) - 1).bit_length()
    return -(-min(size, largest) // devices) * devices


def process_batch_slice(mesh: Mesh) -> tuple[int, int]:
    """Return which slice of each batch this process reads, and into how many slices it is divided.

    Processes that hold different columns of the same images read the same slice.
    """
    slices = _slices_by_process(mesh)
    assert slices is not None
    return slices[jax.process_index()], max(slices.values()) + 1


def _slices_by_process(mesh: Mesh) -> dict[int, int] | None:
    """Return the slice of each process; None unless all have equal size, are disjoint or the same, and contiguous.

    Process 0, which draws the example images, must have the first slice.
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
    """Return a line about the devices of each column: 'column a on cpu:0; column b on cpu:1'."""
    names = [chr(ord('a') + column) for column in range(columns)]
    each = columns // mesh.shape[COLUMN_AXIS]
    parts = []
    for place in range(mesh.shape[COLUMN_AXIS]):
        columns_here = names[place * each : (place + 1) * each]
        holders = [f'{device.platform}:{device.id}' for device in mesh.devices[:, place]]
        more = f', ... ({len(holders)} in all)' if len(holders) > MAX_LISTED_DEVICES else ''
        parts.append(
            f'column{"s" * (each > 1)} {" and ".join(columns_here)} on {", ".join(holders[:MAX_LISTED_DEVICES])}{more}'
        )
    return '; '.join(parts)


def describe_neighbors(mesh: Mesh) -> str:
    """Return where the columns of a row lie: 'columns on neighboring chips of one host', 'columns on two hosts'."""
    rows = [row for row in mesh.devices if len(row) > 1]
    if not rows:
        return 'all columns on each device'
    hosts = max(len({device.process_index for device in row}) for row in rows)
    where = 'of one host' if hosts == 1 else f'of up to {hosts} hosts'
    if rows[0][0].platform != 'tpu':
        return f'columns on devices {where}'
    distance = max(
        sum(abs(one - other) for one, other in zip(first.coords, second.coords, strict=True))
        for row in rows
        for first, second in zip(row[:-1], row[1:], strict=True)
    )
    nearness = {0: 'both cores of a chip', 1: 'neighboring chips'}.get(distance, f'chips up to {distance} links apart')
    return f'columns on {nearness} {where}'


def _mesh_hint() -> str:
    if jax.default_backend() == 'cpu':
        return 'choose a smaller config.mesh, or raise config.machine.cpu_devices'
    return 'choose a smaller config.mesh'
