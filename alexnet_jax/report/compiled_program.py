"""Read a compiled program: what it moves between devices and in memory, and what it computes, by layer.

The text is XLA's optimized HLO (`compiled.as_text()`). Bytes are the operands and the results of every kernel, without
what a TPU keeps in its vector memory; what a cache saves is not known. Sizes are those of one device.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Mapping

from alexnet_jax.report.hlo_text import ArrayShape, Computation, Instruction, parse_computations
from alexnet_jax.report.replica_groups import axes_crossed

COLLECTIVES = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute', 'ragged-all-to-all')
# They name, regroup or wait for what others made.
FREE = frozenset(
    (
        'parameter constant tuple get-tuple-element bitcast after-all partition-id replica-id iota domain opt-barrier '
        'copy-done slice-done async-done async-update all-gather-done all-reduce-done reduce-scatter-done '
        'collective-permute-done'
    ).split()
)
_SLICES = ('slice', 'dynamic-slice', 'gather')


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An operation of the device, `times` over: bytes and flops of one, the layers it works for."""

    name: str
    opcode: str
    layer: str
    backward: bool
    bytes: int
    flops: int
    times: int


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation, `times` over: axes of the mesh (data, column, both), and what each device receives."""

    kind: str
    axes: str
    layer: str
    numbers: int
    bytes: int
    times: int


@dataclasses.dataclass(frozen=True)
class Program:
    """All kernels and collectives of a compiled program."""

    kernels: tuple[Kernel, ...]
    collectives: tuple[Collective, ...]

    @property
    def bytes(self) -> int:
        """Return the bytes read and written by all kernels."""
        return sum(kernel.bytes * kernel.times for kernel in self.kernels)

    @property
    def flops(self) -> int:
        """Return the arithmetic of products and convolutions, two for a multiply-add."""
        return sum(kernel.flops * kernel.times for kernel in self.kernels)

    def bytes_by_layer(self) -> dict[str, tuple[int, int]]:
        """Return the bytes of the forward and of the backward pass by layer, in the order of the program."""
        found: dict[str, tuple[int, int]] = {}
        for kernel in self.kernels:
            forward, backward = found.get(kernel.layer, (0, 0))
            moved = kernel.bytes * kernel.times
            found[kernel.layer] = (forward, backward + moved) if kernel.backward else (forward + moved, backward)
        return found

    def moved(self, kinds: Collection[str], axes: Collection[str]) -> int:
        """Return the numbers that a device receives by collectives of these kinds along these axes."""
        return sum(each.numbers * each.times for each in self.collectives if each.kind in kinds and each.axes in axes)


def read_program(text: str, mesh_shape: tuple[int, int], layers: Collection[str]) -> Program:
    """Return the kernels and collectives of a compiled program on a mesh (data, column), with the layers' names."""
    computations = dict(parse_computations(text))
    entry = next(name for name in computations if name.startswith('ENTRY '))
    kernels, collectives = [], []
    for instruction, computation, times in _walk_computation(computations, entry, 1):
        for kind, each, results in _find_collectives(instruction, computations):
            if (crossed := axes_crossed(each.line, mesh_shape))[0]:
                layer, _ = _find_layer(each, computations, layers)
                collectives.append(_describe_collective(kind, results, crossed, layer, times))
        if _collective_kind(instruction):
            continue
        moved = _kernel_bytes(instruction, computation, computations)
        if moved or instruction.opcode == 'fusion':
            layer, backward = _find_layer(instruction, computations, layers)
            flops = _kernel_flops(instruction, computation, computations)
            kernels.append(Kernel(instruction.name, instruction.opcode, layer, backward, moved, flops, times))
    return Program(tuple(kernels), tuple(collectives))


def _walk_computation(
    computations: Mapping[str, Computation], name: str, times: int
) -> Iterator[tuple[Instruction, Computation, int]]:
    """Yield each instruction that runs, its computation, and how many times; loops by their known number of turns."""
    for instruction in computations[name].values():
        if instruction.opcode in ('while', 'call', 'conditional', 'async-start'):
            turns = _count_turns(instruction, computations)
            for called in instruction.called:
                yield from _walk_computation(computations, called, times * turns)
        elif instruction.opcode not in FREE:
            yield instruction, computations[name], times


def _count_turns(loop: Instruction, computations: Mapping[str, Computation]) -> int:
    """Return the known turns of a loop: as XLA notes them, or by the number that its index is compared with; else 1."""
    if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.line):
        return int(noted[1])
    condition = re.search(r'condition=%([\w.\-]+)', loop.line)
    inner = computations.get(condition[1], {}) if condition else {}
    root = next((each for each in inner.values() if each.is_root), None)
    if root is None or root.opcode != 'compare' or 'direction=LT' not in root.line:
        return 1
    end = re.search(r' constant\((\d+)\)', inner[root.operands[1]].line)
    return int(end[1]) if end else 1


def _collective_kind(instruction: Instruction) -> str:
    """Return the kind of a collective operation, or of the start of an asynchronous one; '' for all others."""
    kind = instruction.opcode.removesuffix('-start')
    return kind if kind in COLLECTIVES else ''


def _find_collectives(
    instruction: Instruction, computations: Mapping[str, Computation]
) -> Iterator[tuple[str, Instruction, tuple[ArrayShape, ...]]]:
    """Yield (kind, collective, arrays that it makes) of an instruction that is one, or of all within a fusion.

    A TPU's reduction fused with the slice that the device keeps is a reduce-scatter. Its asynchronous collectives stand
    in every fusion that they run beside, and count in the one that starts them.
    """
    if kind := _collective_kind(instruction):
        results = instruction.results
        if instruction.opcode.endswith('-start') and kind != 'all-reduce':
            # The start of an asynchronous one lists its operands before its results.
            results = results[len(instruction.operands) : 2 * len(instruction.operands)]
        yield kind, instruction, results
    elif instruction.opcode == 'fusion':
        for inner in (computations.get(name, {}) for name in instruction.called):
            kept = next((each for each in inner.values() if each.is_root and each.opcode == 'dynamic-slice'), None)
            starts = any('"AsyncCollectiveStart"' in each.line for each in inner.values())
            for each in inner.values():
                if '"async_collective_fusion_config"' in each.line and _collective_kind(each) and not starts:
                    continue
                if each.opcode == 'all-reduce' and kept and kept.operands[0] == each.name:
                    yield 'reduce-scatter', each, kept.results
                else:
                    yield from _find_collectives(each, computations)


def _describe_collective(
    kind: str, results: tuple[ArrayShape, ...], crossed: tuple[str, int], layer: str, times: int
) -> Collective:
    """Return what a collective over `crossed` axes and devices does whose results are these arrays."""
    axes, size = crossed
    numbers, moved = sum(each.numbers for each in results), sum(_wire_bytes(each) for each in results)
    return Collective(
        kind, axes, layer, _received_share(kind, numbers, size), _received_share(kind, moved, size), times
    )


def _wire_bytes(array: ArrayShape) -> int:
    return dataclasses.replace(array, in_memory=True).bytes


def _received_share(kind: str, result: int, size: int) -> int:
    """Return what a device receives of a collective over `size` devices whose result has that many numbers or bytes."""
    match kind:
        case 'all-gather':
            return result * (size - 1) // size
        case 'reduce-scatter':
            return result * (size - 1)
        case _:
            return result


def _find_layer(
    instruction: Instruction, computations: Mapping[str, Computation], layers: Collection[str]
) -> tuple[str, bool]:
    """Return the layers that an instruction works for, '' if none is known, and whether it belongs to gradients."""
    inner = [each for name in instruction.called for each in computations.get(name, {}).values()]
    op_names = [instruction.op_name] if instruction.op_name else [each.op_name for each in inner if each.op_name]
    found = [scope for name in op_names for scope in re.split(r'[/()]', name) if scope in layers]
    if not found and op_names and instruction.op_name:
        found = [scope for each in inner for scope in re.split(r'[/()]', each.op_name) if scope in layers]
    return '+'.join(dict.fromkeys(found)), any('transpose(' in name for name in op_names)


def _kernel_bytes(instruction: Instruction, computation: Computation, computations: Mapping[str, Computation]) -> int:
    """Return the bytes that an instruction reads and writes; of arrays that it only slices, the slices."""
    arrays = [computation[name].results for name in instruction.operands if name in computation]
    sizes = [sum(each.bytes for each in operand) for operand in arrays]
    written = sum(each.bytes for each in instruction.results)
    match instruction.opcode:
        case 'copy-start' | 'slice-start':
            # (destination, source, context) and ((source), destination, context)
            destination = instruction.results[0 if instruction.opcode == 'copy-start' else 1]
            read = _wire_bytes(destination) if any(each.in_memory for each in arrays[0]) else 0
            return read + destination.bytes
        case 'slice' | 'dynamic-slice' | 'gather':
            return 2 * written
        case 'dynamic-update-slice':
            return 2 * sizes[1]
        case 'fusion':
            inner = computations[instruction.called[0]]
            parameters = {
                int(re.search(r'parameter\((\d+)\)', each.line)[1]): each
                for each in inner.values()
                if each.opcode == 'parameter'
            }
            read = sum(min(size, _bytes_read(parameters[i], inner, size)) for i, size in enumerate(sizes))
            root = next(each for each in inner.values() if each.is_root)
            if root.opcode == 'dynamic-update-slice':
                written = sum(each.bytes for each in inner[root.operands[1]].results)
            return read + written
        case _:
            return sum(sizes) + written


def _bytes_read(parameter: Instruction, inner: Computation, size: int) -> int:
    """Return what a fusion reads of one of its parameters: all, or the slices that it takes of it."""
    users = [each for each in inner.values() if parameter.name in each.operands]
    sliced = 0
    for user in users:
        if user.operands[0] != parameter.name:
            return size
        if user.opcode == 'dynamic-update-slice':
            continue
        if user.opcode not in _SLICES:
            return size
        sliced += sum(_wire_bytes(each) for each in user.results)
    return sliced


def _kernel_flops(instruction: Instruction, computation: Computation, computations: Mapping[str, Computation]) -> int:
    """Return the arithmetic of an instruction's products and cuDNN's convolutions; of other convolutions none."""
    if instruction.opcode == 'fusion':
        inner = computations[instruction.called[0]]
        return sum(_kernel_flops(each, inner, computations) for each in inner.values())
    if instruction.opcode not in ('dot', 'custom-call'):
        return 0
    shapes = [computation[name].results[0] for name in instruction.operands if name in computation]
    contracted = re.search(
        r'lhs_contracting_dims=\{([\d,]*)\}|"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.line
    )
    if contracted and shapes:
        axes = re.findall(r'\d+', contracted[1] or contracted[2] or '')
        return 2 * instruction.results[0].numbers * math.prod(shapes[0].sizes[int(axis)] for axis in axes)
    convolution = re.search(r'dim_labels=\w+_(\w+)->\w+.*"__cudnn\$conv(\w+)"', instruction.line)
    if not convolution:
        return 0
    # Which of both operands and the result are kernel and output of the forward convolution.
    result = instruction.results[0]
    kernel, output = {'BackwardInput': (shapes[1], shapes[0]), 'BackwardFilter': (result, shapes[1])}.get(
        convolution[2], (shapes[1], result)
    )
    return 2 * output.numbers * kernel.numbers // kernel.sizes[convolution[1].index('o')]
