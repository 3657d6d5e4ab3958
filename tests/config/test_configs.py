import importlib
import re
from pathlib import Path

import pytest

from alexnet_jax.config import schema, validate
from alexnet_jax.models import presets
from alexnet_jax.train import schedule
from configs import default, imagenet

CONFIGS = Path(default.__file__).parent
CONFIG_NAMES = sorted(path.stem for path in CONFIGS.glob('[!_]*.py'))


def load_module(name):
    return importlib.import_module(f'configs.{name}')


def test_every_field_is_listed_with_its_values_and_meaning():
    """docs/config.md is made anew by python -m alexnet_jax.config.schema > docs/config.md."""
    assert (CONFIGS.parent / 'docs' / 'config.md').read_text() == schema.format_fields()
    assert [name for name, field in schema.FIELDS.items() if len(field.help) < 4] == []


@pytest.mark.parametrize('name', schema.FIELDS)
def test_a_default_is_accepted_and_among_its_choices(name):
    field = schema.FIELDS[name]
    assert field.accepts(field.default) and (not field.choices or field.default in field.all_choices())


@pytest.mark.parametrize('name', CONFIG_NAMES)
def test_a_card_is_accepted_at_the_door(name):
    config = load_module(name).get_config()
    validate.validate_config(config)
    assert set(validate.flatten_config(config)) == set(schema.FIELDS)


@pytest.mark.parametrize('name', [name for name in CONFIG_NAMES if name != 'default'])
def test_a_card_opens_with_its_command_its_cost_and_the_expected_figure(name):
    docstring = load_module(name).__doc__
    command = (
        'python main.py --workdir=' if name == 'quickstart' else f'python main.py --config=configs/{name}.py --workdir='
    )
    assert command in docstring and '\nCost: ' in docstring and '\nExpected: ' in docstring


@pytest.mark.parametrize('name', [name for name in CONFIG_NAMES if name != 'default'])
def test_a_card_says_only_how_it_differs(name):
    own, whole = (
        validate.flatten_config(load_module(name).get_config()),
        validate.flatten_config(default.get_config()),
    )
    assert own['name'] == name
    text = (CONFIGS / f'{name}.py').read_text()
    repeated = [
        field
        for field in re.findall(r'^    config\.([a-z0-9_.]+) = ', text, re.MULTILINE)
        if own[field] == whole[field]
    ]
    assert repeated == []


def test_imagenet_is_trained_as_in_the_paper():
    train = imagenet.get_config().train
    assert (train.batch_size, train.learning_rate, train.momentum, train.weight_decay) == (128, 0.01, 0.9, 0.0005)
    assert 85 <= train.num_epochs <= 95 and train.schedule == 'plateau' and schedule.MAX_REDUCTIONS == 3


def test_every_network_has_a_card():
    networks = {name: load_module(name).get_config().model.preset for name in CONFIG_NAMES if name != 'default'}
    assert set(networks.values()) == set(presets.PRESETS)
    own = set(presets.PRESETS) - {'paper', 'miniature'}  # which imagenet and quickstart are about
    assert all(networks[name] == name for name in own)


def test_cards_whose_command_names_imagenets_archives_take_them():
    takers = [name for name in CONFIG_NAMES if 'prepare.path=/data/ilsvrc2012' in load_module(name).__doc__]
    assert len(takers) > 5 and {load_module(name).get_config().prepare.source for name in takers} == {'imagenet2012'}
