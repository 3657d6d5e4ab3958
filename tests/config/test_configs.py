import importlib
import re
from pathlib import Path

import pytest

from alexnet_jax.config import schema, validate
from alexnet_jax.models import presets
from alexnet_jax.train import schedule
from configs import default, imagenet

CONFIGS = Path(default.__file__).parent
CARDS = sorted(path.stem for path in CONFIGS.glob('[!_]*.py'))
LINE = re.compile(
    r'^    config\.([a-z0-9_.]+) = (?!ConfigDict\(\)).*?(?:  # (\(machine\))? ?(.*))?$', re.MULTILINE
)


def card(name):
    return importlib.import_module(f'configs.{name}')


def test_every_field_has_its_reason_or_unit_and_none_is_left_out():
    lines = LINE.findall((CONFIGS / 'default.py').read_text())
    assert sorted(field for field, _, _ in lines) == sorted(validate.flatten_config(default.get_config()))
    assert [field for field, _, reason in lines if len(reason) < 4] == []


def test_fields_marked_machine_are_those_that_may_change():
    lines = LINE.findall((CONFIGS / 'default.py').read_text())
    assert {field for field, mark, _ in lines if mark} == set(schema.RESUMABLE_FIELDS)
    assert {field for field, mark, _ in lines if not mark} == set(schema.RESULT_FIELDS)


@pytest.mark.parametrize('name', CARDS)
def test_a_card_is_accepted_at_the_door(name):
    config = card(name).get_config()
    validate.validate_config(config)
    assert set(validate.flatten_config(config)) == set(schema.FIELDS)


@pytest.mark.parametrize('name', [name for name in CARDS if name != 'default'])
def test_a_card_opens_with_its_command_its_cost_and_the_expected_figure(name):
    words = card(name).__doc__
    command = (
        'python main.py --workdir='
        if name == 'quickstart'
        else f'python main.py --config=configs/{name}.py --workdir='
    )
    assert command in words and '\nCost: ' in words and '\nExpected: ' in words


@pytest.mark.parametrize('name', [name for name in CARDS if name != 'default'])
def test_a_card_says_only_how_it_differs(name):
    own, whole = validate.flatten_config(card(name).get_config()), validate.flatten_config(default.get_config())
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
    assert (train.batch_size, train.learning_rate, train.momentum, train.weight_decay) == (
        128,
        0.01,
        0.9,
        0.0005,
    )
    assert 85 <= train.num_epochs <= 95 and train.schedule == 'plateau' and schedule.MAX_REDUCTIONS == 3


def test_every_network_has_a_card():
    networks = {name: card(name).get_config().model.preset for name in CARDS if name != 'default'}
    assert set(networks.values()) == set(presets.PRESETS)
    own = set(presets.PRESETS) - {'paper', 'miniature'}  # which imagenet and quickstart are about
    assert all(networks[name] == name for name in own)


def test_cards_whose_command_names_imagenets_archives_take_them():
    takers = [name for name in CARDS if 'prepare.path=/data/ilsvrc2012' in card(name).__doc__]
    assert len(takers) > 5 and {card(name).get_config().prepare.source for name in takers} == {'imagenet2012'}
