"""What a training step needs of memory, by arithmetic and by the compiler, and what it sends."""

import jax
import numpy as np
import pytest

from alexnet_jax.commands import benchmark, factories
from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.models import presets
from alexnet_jax.report import memory
from alexnet_jax.train import optimizer, schedule, train_step
from configs import default

PAPER = presets.get_architecture('paper')


def test_state_and_gradients_follow_from_the_parameters():
    found = memory.estimate_step_memory(PAPER, 128)
    assert found['state'] == 8 * 60_965_224 and found['gradients'] == 4 * 60_965_224
    assert found['all'] == sum(size for name, size in found.items() if name != 'all')


def test_parts_of_a_batch_need_less_for_activations_and_one_more_gradient():
    whole, parts = (
        memory.estimate_step_memory(PAPER, 128),
        memory.estimate_step_memory(PAPER, 128, grad_accumulation=4),
    )
    assert parts['activations'] < 0.3 * whole['activations']
    assert parts['gradients'] == 2 * whole['gradients']


def test_two_devices_share_columns_or_images():
    alone = memory.estimate_step_memory(PAPER, 128)
    assert memory.estimate_step_memory(PAPER, 128, mesh={'data': 1, 'column': 2})['state'] == alone['state'] // 2
    over_data = memory.estimate_step_memory(PAPER, 128, mesh={'data': 2, 'column': 1})
    assert over_data['state'] == alone['state'] and 2 * over_data['activations'] == alone['activations']


@pytest.mark.parametrize('accumulate', [1, 4])
def test_the_prediction_is_near_what_the_compiler_sets_aside(accumulate):
    config = default.get_config()
    arch, mesh = presets.get_architecture('miniature'), make_mesh((1, 1), columns=2)
    layers = tuple(arch.parameter_counts())
    rule = optimizer.paper_sgd(layers, momentum=0.9, weight_decay=5e-4)
    mean = np.zeros((arch.crop_size, arch.crop_size, 3), np.float32)
    one = train_step.make_train_step(
        factories.make_model(config, arch),
        rule,
        mesh,
        mean=mean,
        key=jax.random.key(0),
        options=train_step.StepOptions(grad_accumulation=accumulate),
    )
    batch = benchmark.random_batch(arch, 64)
    rates = schedule.layer_learning_rates(layers, 0.1)
    compiled = one.lower(train_step.abstract_train_state(arch, rule, mesh), batch, rates, np.uint32(0)).compile()
    predicted = memory.estimate_step_memory(arch, 64, grad_accumulation=accumulate)['all']
    assert 0.7 < predicted / memory.compiled_memory(compiled)['all'] < 1.5


def test_the_parts_that_fit_are_the_fewest():
    alone = memory.estimate_step_memory(PAPER, 128)['all']
    assert memory.min_accumulation_steps(PAPER, 128, available=alone + 100, base=100) == 1
    parts = memory.min_accumulation_steps(PAPER, 128, available=alone, base=100)
    assert parts == 2 and memory.estimate_step_memory(PAPER, 128, grad_accumulation=2)['all'] + 100 <= alone
    assert memory.min_accumulation_steps(PAPER, 128, available=2**20, base=0) is None


def test_the_parts_that_fit_are_those_of_a_device_of_the_mesh():
    mesh = {'data': 2, 'column': 2}
    alone = memory.estimate_step_memory(PAPER, 128, itemsize=2, mesh=mesh)['all']
    assert memory.min_accumulation_steps(PAPER, 128, available=alone, base=0, itemsize=2, mesh=mesh) == 1
    assert memory.min_accumulation_steps(PAPER, 128, available=alone, base=0, mesh=mesh) > 1  # float32
    assert memory.min_accumulation_steps(PAPER, 128, available=alone, base=0, itemsize=2) is None  # all of it on one
    assert (
        memory.min_accumulation_steps(
            PAPER, 128, available=4 * alone, base=0, itemsize=2, devices_sharing_memory=4, mesh=mesh
        )
        == 1
    )
    room = memory.estimate_step_memory(PAPER, 96, grad_accumulation=3, mesh=mesh)['all']
    assert memory.min_accumulation_steps(PAPER, 96, available=room, base=0, mesh=mesh) == 3
