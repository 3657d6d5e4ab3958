"""Which devices a collective of a compiled program joins, in all notations that XLA prints."""

from __future__ import annotations

import re

import numpy as np


def axes_crossed(line: str, mesh_shape: tuple[int, int]) -> tuple[str, int]:
    """Return the axes of the mesh (data, column) that a collective's groups span, and the devices of a group.

    'data', 'column', 'both', or '' for groups of one device.
    """
    rows = _group_rows(line)
    places = [np.unravel_index(list(row), mesh_shape) for row in rows]
    data, column = (any(len(set(place[axis].tolist())) > 1 for place in places) for axis in (0, 1))
    name = {(False, False): '', (True, False): 'data', (False, True): 'column', (True, True): 'both'}[data, column]
    return name, max((len(row) for row in rows), default=1)


def _group_rows(line: str) -> list[list[int]]:
    """Return the groups of devices, by their numbers in the order of the mesh."""
    if named := re.search(
        r'replica_groups=mesh\[(.*?)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{(.*?)\}', line
    ):
        sizes = [int(size) for size in re.findall(r'=(\d+)', named[1])]
        members = _arrange_devices(named[2] or ','.join(map(str, sizes)), named[3]).reshape(sizes)
        crossed = [int(axis) for axis in re.findall(r'axis_(\d+)', named[4])]
        count = int(np.prod([sizes[axis] for axis in crossed]))
        return np.moveaxis(members, crossed, range(-len(crossed), 0)).reshape(-1, count).tolist()
    if iota := re.search(r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', line):
        return _arrange_devices(iota[2], iota[3]).reshape([int(n) for n in iota[1].split(',')]).tolist()
    groups = re.search(r'(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]+\},?)*)\}', line)
    return [[int(n) for n in group.split(',')] for group in re.findall(r'\{([\d,]+)\}', groups[1] if groups else '')]


def _arrange_devices(sizes: str, order: str | None) -> np.ndarray:
    """Return the devices in their order as an array of these sizes, its axes in that order: XLA's iota notation."""
    lengths = [int(n) for n in sizes.split(',')]
    members = np.arange(np.prod(lengths)).reshape(lengths)
    return members.transpose([int(n) for n in order.split(',')]) if order else members
