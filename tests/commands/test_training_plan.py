"""The plan of a training: batches that fit the images, steps that are enough, and a learning rate that learns."""

import dataclasses

import jax
import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import training_plan
from alexnet_jax.errors import UserError


@dataclasses.dataclass
class Images:
    """The train split of a dataset, as the plan reads it, in batches of `batch_size`."""

    number: int
    batch_size: int = 8
    directory: str = 'trees'

    @property
    def counts(self):
        return {'train': self.number}

    @property
    def records(self):
        return range(self.number)

    def epoch(self, step):
        return step * self.batch_size / self.number


def mesh_of(*shape):
    return jax.make_mesh(shape, ('data', 'column'), devices=jax.devices()[: shape[0] * shape[1]])


def check(images, batch_size, mesh=(1, 1), accumulation=1, stored_run=None):
    config = tiny_config()
    config.train.batch_size, config.train.grad_accumulation = batch_size, accumulation
    training_plan.check_batch_size(config, Images(images), mesh_of(*mesh), stored_run)


def test_a_batch_of_more_images_than_there_are_is_refused_with_one_that_fits():
    check(29, 29)
    with pytest.raises(UserError, match='is 30, but trees has only 29 training images. Set .*batch_size=29 or less'):
        check(29, 30)
    with pytest.raises(UserError, match='batch_size=24 or less'):
        check(29, 64, mesh=(4, 1), accumulation=2)
    with pytest.raises(UserError, match='Train on fewer devices, or add images'):
        check(3, 8, mesh=(4, 2))


def test_a_run_that_began_with_such_a_batch_goes_on():
    check(29, 64, stored_run={'deciding': {'train.batch_size': 64}})
    with pytest.raises(UserError, match='only 29 training images'):
        check(29, 64, stored_run={'deciding': {'train.batch_size': 16}})


def test_a_training_with_too_large_a_batch_leaves_no_run(tmp_path):
    config = tiny_config()
    config.update_from_flattened_dict({'prepare.num_cutouts': '12,4,4', 'train.batch_size': 128})
    with pytest.raises(UserError, match='is 128, but .* has only 12 training images'):
        commands.run('train', config, str(tmp_path / 'run'))
    assert not (tmp_path / 'run' / 'run.json').exists()


def schedule_of(images, **train):
    config = tiny_config()
    config.update_from_flattened_dict({f'train.{name}': value for name, value in train.items()})
    return training_plan.make_loop_schedule(config, Images(images, config.train.batch_size), ('conv1', 'fc8'))


@pytest.mark.parametrize('kind', ['step', 'cosine'])
def test_an_only_step_has_the_learning_rate_of_the_run(kind):
    fields = {'batch_size': 10, 'num_epochs': 1.0, 'warmup_epochs': 0.5, 'schedule': kind, 'learning_rate': 0.03}
    only = schedule_of(12, **fields)
    assert (only.num_steps, only.learning_rate(0)) == (1, 0.03)
    assert (only.learning_rates(0) > 0).all()
    # Of two steps the first is still that of the warm-up, as ever.
    assert schedule_of(20, **fields).learning_rate(0) == 0


def test_few_steps_are_told():
    assert training_plan.few_steps_warning(1).startswith('The whole run is 1 step, too few to learn much')
    assert 'is 99 steps' in training_plan.few_steps_warning(99)
    assert training_plan.few_steps_warning(100) == ''
