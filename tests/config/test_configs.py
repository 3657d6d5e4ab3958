import importlib
import re
from pathlib import Path

import pytest

from alexnet_jax.config import build, parse, schema, validate
from alexnet_jax.models import presets
from alexnet_jax.train import schedule
from alexnet_jax.train.diary import Diary
from configs import default, imagenet, source145, source145_2010

CONFIGS = Path(default.__file__).parent
CONFIG_NAMES = sorted(path.relative_to(CONFIGS).with_suffix('').as_posix() for path in CONFIGS.rglob('[!_]*.py'))


def load_module(name):
    return importlib.import_module(f'configs.{name.replace("/", ".")}')


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
    text = (CONFIGS / f'{name}.py').read_text()
    # Against the card that it begins with.
    (base,) = re.findall(r'^from configs import (\w+)$', text, re.MULTILINE)
    own, whole = (validate.flatten_config(load_module(card).get_config()) for card in (name, base))
    assert own['name'] == Path(name).stem
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
    # imagenet, quickstart and figure1 are about the first three, ablations about the runs of the 2012 source.
    others = {'paper', 'miniature', 'four_layers', 'source145_half', 'source146', 'source147', 'source150'}
    assert all(networks[name] == name for name in set(presets.PRESETS) - others)


# Runs of the 2012 source: parameters of the network, epochs, and top-1 and top-5 error less those of run 145.
PUBLISHED = {
    'no_lrn': (60_965_224, 97, '+1.370 and +1.152'),
    'no_overlap': (60_965_224, 90, '+0.394 and +0.300'),
    'one_gpu': (59_798_312, 96, '+1.695 and +1.230'),
    'no_communication': (60_714_408, 92, '+1.164 and +1.120'),
    'one_column': (62_378_344, 91, ''),
    'six_convolutions': (61_555_304, 91, ''),
}


@pytest.mark.parametrize('name', [name for name in CONFIG_NAMES if name.startswith('ablations/')])
def test_an_ablation_differs_from_run_145_and_states_what_was_published(name):
    module = load_module(name)
    config, own = module.get_config(), Path(name).stem
    base = source145_2010 if own == 'one_gpu' else source145
    arch, whole = (build.preset_architecture(each) for each in (config, base.get_config()))
    assert 'Published' in module.__doc__ and config.train.schedule == 'diary'
    assert arch.layers != whole.layers or arch.columns != whole.columns or own in OF_THE_RECIPE
    if changes := getattr(module, 'CHANGES', None):
        changed = base.get_config()
        changed.update_from_flattened_dict(changes)
        validate.validate_config(changed)
        # Run 147 has other paddings too.
        if own != 'no_overlap':
            ablated = build.preset_architecture(changed)
            assert (ablated.layers, ablated.columns) == (arch.layers, arch.columns)
            assert all(validate.flatten_config(config)[field] == changes[field] for field in changes) or own in RECORDED
    if own in PUBLISHED:
        parameters, epochs, differences = PUBLISHED[own]
        assert sum(arch.parameter_counts().values()) == parameters and config.train.num_epochs == epochs
        assert differences in ' '.join(module.__doc__.split())


# Their get_config takes the preset of the recorded run.
RECORDED = ('one_gpu', 'no_communication')
OF_THE_RECIPE = ('no_lighting', 'half_precision_exchange')


def test_the_recorded_diaries_are_those_of_the_notes():
    for module, drops in ((source145, (25, 51, 67, 72, 79, 91)), (source145_2010, (23, 51, 68, 72, 78, 93))):
        config = module.get_config()
        assert config.train.bias_lr_multiplier == 2.0 and not config.train.decay_biases
        first, second, noise, frozen, third, end = drops
        notes = Diary(parse.diary(config.train.diary))
        rates = [notes.learning_rate(epoch, 0.01) for epoch in (0, first, second, third)]
        assert rates == [0.01, 1e-3, 1e-4, 1e-5] and config.train.num_epochs == end
        assert notes.learning_rate(first - 0.01, 0.01) == 0.01
        assert [notes.multipliers(epoch, {}).get('conv1') for epoch in (noise - 1, noise, frozen)] == [None, 0.1, 0]
        assert [(epoch, edits['lighting']) for epoch, edits in notes.entries if 'lighting' in edits] == [(noise, 'off')]


def test_cards_whose_command_names_imagenets_archives_take_them():
    takers = [name for name in CONFIG_NAMES if 'prepare.path=/data/ilsvrc2012' in load_module(name).__doc__]
    assert len(takers) > 5 and {load_module(name).get_config().prepare.source for name in takers} == {'imagenet2012'}
