"""What runs laid over each other are called: by what differs, with their seeds and steps."""

from types import SimpleNamespace

from tiny_run import tiny_config

from alexnet_jax.commands.run_figures import group_runs, name_runs


def make_source(step=None, checksum='c0ffee', **fields):
    config = tiny_config()
    config.update_from_flattened_dict({name.replace('__', '.'): value for name, value in fields.items()})
    return SimpleNamespace(config=config, name=config.name, step=step, info=SimpleNamespace(checksum=checksum))


def test_kinds_of_one_name_are_called_by_the_fields_that_differ():
    sources = [make_source(), make_source(augment__horizontal_flip=False, train__weight_decay=0.0)]
    plain, other = group_runs(sources)
    assert plain == 'weight_decay=0.0005 horizontal_flip=True' or plain == 'horizontal_flip=True weight_decay=0.0005'
    assert sorted(other.split()) == ['horizontal_flip=False', 'weight_decay=0.0']


def test_runs_on_two_datasets_are_of_two_kinds():
    assert list(group_runs([make_source(), make_source(checksum='0123456789')])) == [
        'dataset=c0ffee',
        'dataset=01234567',
    ]


def test_checkpoints_of_a_run_are_told_apart_by_their_steps():
    sources = [make_source(3), make_source(6), make_source(6, seed=1)]
    assert name_runs(sources) == ['quickstart seed 0 step 3', 'quickstart seed 0 step 6', 'quickstart seed 1 step 6']
