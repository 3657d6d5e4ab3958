"""The reader of compiled programs: bytes, arithmetic, loops, layers and collectives, by hand and in programs of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.report.compiled_program import read_program
from alexnet_jax.report.hlo_text import parse_shapes
from alexnet_jax.report.replica_groups import axes_crossed

# A line of each notation that XLA prints, on a mesh of 2 x 2, and what it joins.
GROUPS = [
    ('replica_groups={{0,1},{2,3}}', ('column', 2)),
    ('replica_groups={{0,2},{1,3}}', ('data', 2)),
    ('replica_groups={{0,1,2,3}}', ('both', 4)),
    ('replica_groups={{0},{1},{2},{3}}', ('', 1)),
    ('replica_groups=[2,2]<=[4]', ('column', 2)),
    ('replica_groups=[2,2]<=[2,2]T(1,0)', ('data', 2)),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_1'}", ('column', 2)),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=2], device_ids=([2,2]T(1,0)) {'axis_0'}", ('column', 2)),
    ('source_target_pairs={{0,1},{1,0}}', ('column', 2)),
]


@pytest.mark.parametrize('line, expected', GROUPS)
def test_every_notation_of_groups(line, expected):
    assert axes_crossed(f'%x = f32[1] all-reduce(%y), {line}, use_global_device_ids=true', (2, 2)) == expected


def test_arrays_of_a_shape_and_where_they_are():
    found = parse_shapes('(bf16[2,512,13]{2,1,0:T(8,128)(2,1)S(1)}, f32[]{:T(128)}, pred[3]{0}, s4[5]{0})')
    assert [each.sizes for each in found] == [(2, 512, 13), (), (3,), (5,)]
    assert [each.bytes for each in found] == [0, 4, 3, 3]  # the first is in a TPU's vector memory
    assert [each.numbers for each in found] == [13312, 1, 3, 5]


HAND_WRITTEN = """HloModule jit_step, is_scheduled=true

%fused_update (param_0: f32[10,8], param_1: f32[1,8], param_2: s32[]) -> f32[10,8] {
  %param_0 = f32[10,8]{1,0} parameter(0)
  %param_1 = f32[1,8]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  ROOT %put = f32[10,8]{1,0} dynamic-update-slice(%param_0, %param_1, %param_2, %param_2)
}

%fused_slice (param_0: f32[10,8], param_1: s32[]) -> f32[1,8] {
  %param_0 = f32[10,8]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %part = f32[1,8]{1,0} dynamic-slice(%param_0, %param_1, %param_1), dynamic_slice_sizes={1,8}
  ROOT %twice = f32[1,8]{1,0} add(%part, %part), metadata={op_name="jit(step)/transpose(jvp(fc7))/add"}
}

%body (state: (s32[], f32[10,8])) -> (s32[], f32[10,8]) {
  %state = (s32[], f32[10,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[10,8]{1,0} get-tuple-element(%state), index=1
  %row = f32[1,8]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused_slice
  %all = f32[2,8]{1,0} all-gather(%row), replica_groups={{0,1}}, dimensions={0}, metadata={op_name="jit(step)/fc7/x"}
  %next = f32[10,8]{1,0} fusion(%x, %row, %i), kind=kLoop, calls=%fused_update
  ROOT %result = (s32[], f32[10,8]{1,0}) tuple(%i, %next)
}

ENTRY %main (a: bf16[4,6], b: bf16[6,8], x: f32[10,8]) -> f32[10,8] {
  %a = bf16[4,6]{1,0} parameter(0)
  %b = bf16[6,8]{1,0} parameter(1)
  %x = f32[10,8]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %product = f32[4,8]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="fc6/dot"}
  %start = ((bf16[4,6]{1,0}), bf16[2,6]{1,0}) reduce-scatter-start(%a), replica_groups={{0,1}}, dimensions={0}
  %done = bf16[2,6]{1,0} reduce-scatter-done(%start)
  %init = (s32[], f32[10,8]{1,0}) tuple(%zero, %x)
  %loop = (s32[], f32[10,8]{1,0}) while(%init), body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %last = f32[10,8]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_bytes_arithmetic_and_collectives_of_a_program_by_hand():
    program = read_program(HAND_WRITTEN, (1, 2), {'fc6', 'fc7'})
    kernels = {kernel.name: kernel for kernel in program.kernels}
    # The product reads and writes all; of the array in the loop only rows are read and written.
    assert kernels['product'].bytes == 2 * (24 + 48) + 4 * 32
    assert kernels['product'].flops == 2 * 4 * 6 * 8
    assert kernels['row'].bytes == 32 + 4 + 32
    assert kernels['next'].bytes == 0 + 32 + 4 + 32
    assert (kernels['row'].times, kernels['row'].layer, kernels['row'].backward) == (5, 'fc7', True)
    assert program.bytes == kernels['product'].bytes + 5 * (68 + 68)
    assert program.bytes_by_layer()['fc6'] == (kernels['product'].bytes, 0)
    gather, scatter = sorted(program.collectives, key=lambda each: each.kind)
    # Half of what is gathered was here; a scatter sends the half that stays elsewhere.
    assert (gather.numbers, gather.bytes, gather.times, gather.axes, gather.layer) == (8, 32, 5, 'column', 'fc7')
    assert (scatter.numbers, scatter.bytes, scatter.times, scatter.axes) == (12, 24, 1, 'column')
    assert program.moved(['all-gather'], ['column']) == 40


WITHIN_A_FUSION = """HloModule jit_step

%inner (param: bf16[1,8]) -> bf16[2,8] {
  %param = bf16[1,8]{1,0} parameter(0)
  ROOT %all = bf16[2,8]{1,0} all-gather(%param), replica_groups={{0,1}}, dimensions={0}, metadata={op_name="conv3/x"}
}

%outer (param.1: bf16[1,8]) -> bf16[2,8] {
  %param.1 = bf16[1,8]{1,0} parameter(0)
  ROOT %fusion.1 = bf16[2,8]{1,0} fusion(%param.1), kind=kCustom, calls=%inner
}

ENTRY %main (x: bf16[1,8]) -> bf16[2,8] {
  %x = bf16[1,8]{1,0} parameter(0)
  ROOT %fusion = bf16[2,8]{1,0} fusion(%x), kind=kCustom, calls=%outer
}
"""


REDUCED_AND_SLICED = """HloModule jit_step

%sum (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %add = bf16[] add(%a, %b), metadata={op_name="jit(step)/transpose(jvp())/conv3/reduce_scatter"}
}

%all-reduce-scatter (input: bf16[5,8]) -> bf16[3,8] {
  %input = bf16[5,8]{1,0} parameter(0)
  %zero = bf16[] constant(0)
  %pad = bf16[6,8]{1,0} pad(%input, %zero), padding=0_1x0_0
  %all-reduce.1 = bf16[6,8]{1,0} all-reduce(%pad), replica_groups={{0,1}}, use_global_device_ids=true, to_apply=%sum
  %i = u32[] partition-id()
  %start = u32[] constant(3)
  %row = u32[] multiply(%i, %start)
  %none = u32[] constant(0)
  ROOT %mine = bf16[3,8]{1,0} dynamic-slice(%all-reduce.1, %row, %none), dynamic_slice_sizes={3,8}
}

ENTRY %main (x: bf16[5,8]) -> bf16[3,8] {
  %x = bf16[5,8]{1,0} parameter(0)
  ROOT %fusion = bf16[3,8]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter
}
"""


def test_a_reduction_of_which_a_tpu_keeps_a_slice_is_a_reduce_scatter():
    (found,) = read_program(REDUCED_AND_SLICED, (1, 2), {'conv3'}).collectives
    # Of six rows, one of which pads, each device receives three.
    assert (found.kind, found.axes, found.layer, found.numbers, found.bytes) == (
        'reduce-scatter',
        'column',
        'conv3',
        24,
        48,
    )


ASYNCHRONOUS = """HloModule jit_step

%begin (x: bf16[1,8]) -> (bf16[2,8], s32[2]) {
  %x = bf16[1,8]{1,0} parameter(0)
  %all.1 = bf16[2,8]{1,0} all-gather(%x), replica_groups={{0,1}}, backend_config={"async_collective_fusion_config":{}}
  ROOT %start = (bf16[2,8]{1,0}, s32[2]{0}) custom-call(%all.1), custom_call_target="AsyncCollectiveStart"
}

%end (x.1: bf16[1,8], flags: s32[2]) -> bf16[2,8] {
  %x.1 = bf16[1,8]{1,0} parameter(0)
  %flags = s32[2]{0} parameter(1)
  %all.2 = bf16[2,8]{1,0} all-gather(%x.1), replica_groups={{0,1}}, backend_config={"async_collective_fusion_config":{}}
  ROOT %done = bf16[2,8]{1,0} custom-call(%x.1, %all.2, %flags), custom_call_target="AsyncCollectiveDone"
}

%below (state.1: (s32[], bf16[1,8])) -> pred[] {
  %state.1 = (s32[], bf16[1,8]{1,0}) parameter(0)
  %two = s32[] constant(2)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  ROOT %lt = pred[] compare(%i.1, %two), direction=LT
}

%turn (state: (s32[], bf16[1,8])) -> (s32[], bf16[1,8]) {
  %state = (s32[], bf16[1,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %mine = bf16[1,8]{1,0} get-tuple-element(%state), index=1
  %started = (bf16[2,8]{1,0}, s32[2]{0}) fusion(%mine), kind=kCustom, calls=%begin
  %flag = s32[2]{0} get-tuple-element(%started), index=1
  %both = bf16[2,8]{1,0} fusion(%mine, %flag), kind=kCustom, calls=%end
  ROOT %next = (s32[], bf16[1,8]{1,0}) tuple(%i, %mine)
}

ENTRY %main (first: (s32[], bf16[1,8])) -> (s32[], bf16[1,8]) {
  %first = (s32[], bf16[1,8]{1,0}) parameter(0)
  ROOT %loop = (s32[], bf16[1,8]{1,0}) while(%first), condition=%below, body=%turn
}
"""


def test_an_asynchronous_collective_of_a_tpu_counts_once_a_turn_of_a_loop():
    (found,) = read_program(ASYNCHRONOUS, (1, 2), ()).collectives
    assert (found.kind, found.numbers, found.times) == ('all-gather', 8, 2)


def test_collectives_within_fusions_are_found():
    program = read_program(WITHIN_A_FUSION, (1, 2), {'conv3'})
    (found,) = program.collectives
    assert (found.kind, found.axes, found.layer, found.numbers, found.times) == ('all-gather', 'column', 'conv3', 8, 1)
    assert [kernel.name for kernel in program.kernels] == ['fusion']


CONVOLUTIONS = """HloModule jit_step

ENTRY %main (x: bf16[4,9,9,3], w: bf16[16,3,3,3], y: bf16[4,7,7,16]) -> bf16[4,7,7,16] {
  %x = bf16[4,9,9,3]{3,2,1,0} parameter(0)
  %w = bf16[16,3,3,3]{3,2,1,0} parameter(1)
  %y = bf16[4,7,7,16]{3,2,1,0} parameter(2)
  %forward = (bf16[4,7,7,16]{3,2,1,0}, u8[0]{0}) custom-call(%x, %w), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  %input = (bf16[4,9,9,3]{3,2,1,0}, u8[0]{0}) custom-call(%y, %w), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
  %filter = (bf16[16,3,3,3]{3,2,1,0}, u8[0]{0}) custom-call(%x, %y), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  ROOT %result = bf16[4,7,7,16]{3,2,1,0} get-tuple-element(%forward), index=0
}
"""  # noqa: E501, lines of XLA


def test_each_of_cudnns_convolutions_has_the_arithmetic_of_the_forward_one():
    program = read_program(CONVOLUTIONS, (1, 1), ())
    assert [kernel.flops for kernel in program.kernels] == [2 * 4 * 7 * 7 * 16 * 3 * 3 * 3] * 3


def test_a_program_of_this_jax():
    """Products in a loop and a sum over the devices, in whatever form XLA prints them here."""
    mesh = jax.make_mesh((2, 2), ('data', 'column'), devices=jax.devices()[:4])
    split = jax.NamedSharding(mesh, jax.P('data', None))

    def step(x, kernels):
        with jax.named_scope('fc6'):
            x = lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0]
        return x, jnp.sum(x, 0)

    shapes = jax.ShapeDtypeStruct((64, 32), np.float32, sharding=split), jnp.zeros((7, 32, 32))
    program = read_program(jax.jit(step).lower(*shapes).compile().as_text(), (2, 2), {'fc6'})
    assert program.flops == 7 * 2 * 32 * 32 * 32
    (reduction,) = program.collectives
    assert (reduction.kind, reduction.axes, reduction.numbers, reduction.bytes) == ('all-reduce', 'data', 32, 128)
    # Each turn reads and writes 32 rows and reads a kernel, at least once.
    in_loop = sum(kernel.bytes * kernel.times for kernel in program.kernels if kernel.layer == 'fc6')
    assert 7 * 3 * 4096 <= in_loop <= 7 * 12 * 4096
