import math

import hypothesis
import pytest
from hypothesis import strategies as st
from ml_collections import ConfigDict

from alexnet_jax import cli
from alexnet_jax.config import validate
from alexnet_jax.config.schema import DECIDING, FIELDS, MACHINE, Field
from alexnet_jax.errors import UserError
from configs import default, quickstart

few = hypothesis.settings(deadline=None, max_examples=30)


def changed(get_config=default.get_config, **values) -> ConfigDict:
    """A config with fields changed; a double underscore stands for the dot."""
    config = get_config()
    config.update_from_flattened_dict({name.replace('__', '.'): value for name, value in values.items()})
    return config


def refused(config: ConfigDict, words: str):
    with pytest.raises(UserError, match=words) as mistake:
        validate.check(config)
    assert '\n' not in str(mistake.value)


def test_the_default_config_is_accepted():
    assert validate.check(default.get_config()) is None


@pytest.mark.parametrize(
    'field, value',
    [
        ('seed', -1),
        ('seed', 2**32),
        ('network.classes', -1),
        ('data.threads', 0),
        ('prepare.side', 0),
        ('prepare.quality', 101),
        ('prepare.test_share', 1.0),
        ('prepare.counts', '8000,1000'),
        ('prepare.counts', '8000,1000,0'),
        ('prepare.counts', '1000000000000,1,1'),
        ('augment.lighting_deviation', -0.1),
        ('train.batch', 0),
        ('train.batch', 1_000_000_000),
        ('train.epochs', 0.0),
        ('train.epochs', 1000000.0),
        ('train.rate', 0.0),
        ('train.rate', math.nan),
        ('train.rate', math.inf),
        ('train.momentum', 1.0),
        ('train.decay', -1e-9),
        ('train.drops', '30,x'),
        ('train.drops', '30,30'),
        ('train.drops', '0,30'),
        ('train.drops', '30,nan'),
        ('train.warmup_epochs', -1.0),
        ('train.profile', '10'),
        ('train.profile', '10,15'),
        ('train.profile', '15:10'),
        ('train.profile', '0:3'),
        ('train.profile', '1:x'),
        ('train.patience', 0),
        ('train.min_delta', -0.1),
        ('train.bias_rate', -1.0),
        ('train.layer_rates', 'conv1'),
        ('train.layer_rates', 'conv1=fast'),
        ('train.layer_rates', 'conv1=-1'),
        ('train.layer_rates', 'conv1=1,conv1=2'),
        ('train.layer_rates', '=1'),
        ('train.layer_rates', 'conv9=1'),
        ('evaluate.views', 2),
        ('evaluate.split', 'val'),
        ('evaluate.batch', 0),
        ('evaluate.checkpoint', 'newest'),
        ('evaluate.checkpoint', '-5'),
        ('checkpoint.every_steps', -1),
        ('log.every_steps', 0),
        ('mesh', '4'),
        ('mesh', '4,0'),
        ('mesh', '4x2'),
        ('machine.cpu_devices', 0),
        ('train.accumulate', 0),
        ('network.compute', 'float16'),
        ('network.preset', 'papers'),
        ('network.initialisation', 'xavier'),
        ('prepare.source', 'web'),
        ('prepare.encoding', 'gif'),
        ('augment.lighting', 'dark'),
        ('train.schedule', 'linear'),
    ],
)
def test_a_value_outside_its_range_is_refused_with_its_field_and_itself(field, value):
    refused(changed(**{field: value}), f'^config.{field} is {value!r}; expected was ')


@pytest.mark.parametrize(
    'field, words',
    [
        (
            'network.preset',
            'paper, one_gpu, six_convolutions, merged, caffe, caffenet, torchvision, miniature',
        ),
        ('network.activation', 'relu, tanh, abs_tanh, sigmoid'),
        ('network.pooling', 'max, average'),
        ('network.alpha', 'whole, divided'),
        ('network.dropout', 'paper, inverted, none'),
        ('network.dropout_place', 'behind, before'),
        ('network.initialisation', 'paper, source2012, caffe, caffenet, torch, he'),
        ('prepare.source', 'cutouts, folder, tar'),
        ('prepare.encoding', 'jpeg, raw'),
        ('augment.lighting', 'eigenvalues, deviations, none'),
        ('augment.mean', 'image, centre, channel'),
        ('train.schedule', 'drops, cosine, plateau'),
    ],
)
def test_a_wrong_word_gets_the_words_of_its_room(field, words):
    refused(changed(**{field: 'nonsense'}), f'one of {words}')
    for word in words.split(', '):
        config = changed(**{field: word})
        config.prepare.side = 256
        validate.check(config)


@pytest.mark.parametrize('field', FIELDS)
def test_a_value_of_another_kind_is_refused(field):
    config = ConfigDict(default.get_config().to_dict(), type_safe=False)
    wrong = {bool: 'yes', int: 1.5, float: 'fast', str: 7}[FIELDS[field].kind]
    config.update_from_flattened_dict({field: wrong})
    refused(config, f'^config.{field} is ')


def test_true_is_no_number_and_one_is_not_true():
    assert not Field(int, 0).admits(True)
    assert not Field(float, 0).admits(True)
    assert not Field(bool).admits(1)
    assert Field(float, 0).admits(1)


@few
@hypothesis.given(
    st.integers(-20, 20), st.integers(-20, 20), st.integers(-20, 20), st.booleans(), st.booleans()
)
def test_a_range_admits_what_lies_in_it(low, high, value, above, below):
    admitted = Field(int, low, high, above=above, below=below).admits(value)
    assert admitted == (value in range(low + above, high + 1 - below))


@pytest.mark.parametrize(
    'values, words',
    [
        ({'prepare__validation_share': 0.6, 'prepare__test_share': 0.4}, 'leave nothing to train on'),
        (
            {'prepare__source': 'cutouts', 'prepare__path': '/photographs'},
            'made and not read; give --config=configs/folder.py',
        ),
        ({'train__epochs': 1.0, 'train__warmup_epochs': 1.0}, 'shorten the warm-up'),
        ({'train__schedule': 'plateau', 'evaluate__every_epochs': 0.0}, 'so that nothing is validated'),
        (
            {
                'prepare__source': 'cifar10',
                'prepare__validation_share': 0.0,
                'evaluate__checkpoint': 'best',
            },
            'checkpoint is best, .* leaves cifar10 without a validation split; .* evaluate.checkpoint=final',
        ),
        ({'mesh': '3,2'}, 'batch of 128 images cannot be shared evenly by the 3 devices'),
        ({'train__accumulate': 3}, 'train.accumulate is 3, but 128 images on 1 devices .* a multiple of 3'),
        ({'mesh': '4,1', 'train__accumulate': 64}, 'cut into so many equal parts; .* a multiple of 256'),
        ({'network__exchange': 'conv1'}, 'conv1 cannot exchange in paper'),
        ({'mesh': '1,4'}, 'divides the 2 columns of paper'),
        ({'checkpoint__keep_every_steps': 1500}, 'multiple of config.checkpoint.every_steps'),
        (
            {'checkpoint__keep_every_steps': 500, 'checkpoint__every_steps': 0},
            'multiple of config.checkpoint.every_steps',
        ),
        (
            {'prepare__side': 64},
            'Crops of 224 pixels cannot .* images of 64; raise config.prepare.side, to 256, or',
        ),
        (
            {'prepare__side': 64, 'network__preset': 'caffe'},
            'Crops of 227 .*; raise config.prepare.side, to 256, or',
        ),
        ({'network__crop': 225}, 'conv1'),
    ],
)
def test_what_contradicts_itself_is_refused(values, words):
    refused(changed(**values), words)


def test_a_prepared_dataset_elsewhere_has_its_own_side():
    validate.check(changed(prepare__side=64, data__directory='/somewhere'))


def test_fields_that_are_unknown_or_missing_are_named():
    config = default.get_config()
    config.train.bach = 3
    refused(config, 'no field config.train.bach; did you mean config.train.batch')
    config = default.get_config()
    del config.train.batch
    refused(config, 'config.train.batch is missing')


@pytest.mark.parametrize(
    'name, words',
    [
        ('batch', 'config.train.batch or config.evaluate.batch'),
        ('train.moment', 'did you mean config.train.momentum?'),
        ('train.bathc', 'did you mean config.train.batch?'),
        ('train.lr', 'did you mean config.train.rate?'),
        ('train', 'is a section'),
        ('xyzzy', 'configs/default.py'),
    ],
)
def test_an_unknown_field_gets_the_names_that_come_near(name, words):
    assert words in cli.unknown(name)


@few
@hypothesis.given(st.lists(st.floats(0.01, 1000), unique=True, max_size=5).map(sorted))
def test_drops_are_read_as_they_were_written(epochs):
    assert validate.drops(changed(train__drops=','.join(map(repr, epochs)))) == tuple(epochs)


def test_lists_are_read_with_or_without_spaces():
    config = changed(
        train__layer_rates=' conv1=0.1, fc8 = 2 ', prepare__counts='8, 2,3', mesh='4, 2', train__drops=''
    )
    assert validate.layer_rates(config) == {'conv1': 0.1, 'fc8': 2.0}
    assert validate.counts(config) == (8, 2, 3)
    assert validate.mesh_shape(config) == (4, 2)
    assert validate.drops(config) == ()
    assert validate.mesh_shape(default.get_config()) is None
    assert validate.layer_rates(default.get_config()) == {}


def test_a_layer_may_be_frozen():
    validate.check(changed(train__layer_rates='conv1=0'))


def test_fields_of_the_machine_do_not_decide():
    old = validate.deciding(default.get_config())
    new = validate.deciding(changed(mesh='4,2', data__threads=7, name='other', log__every_steps=1))
    assert old == new and validate.differences(old, new) == []
    assert set(old) == set(DECIDING) and validate.machine_fields() == set(MACHINE)


def test_differences_are_told_field_by_field_with_both_values():
    old, new = validate.deciding(default.get_config()), validate.deciding(changed(quickstart.get_config))
    sentences = validate.differences(old, new)
    assert "config.network.preset was 'paper' and is now 'miniature'." in sentences
    assert len(sentences) == sum(old[field] != new[field] for field in old)
    assert validate.differences({'train.rate': 1}, {'seed': 0}) == [
        'config.seed was not there and is now 0.',
        'config.train.rate was 1 and is there no more.',
    ]
    assert validate.differences({'dataset': 'a'}, {'dataset': 'b'}) == ["dataset was 'a' and is now 'b'."]


def test_a_folder_that_cannot_be_written_is_refused_and_none_is_made(tmp_path):
    validate.check_workdir(str(tmp_path / 'not' / 'yet'), needed=True)
    assert not list(tmp_path.iterdir())
    validate.check_workdir('', needed=False)
    (tmp_path / 'file').touch()
    for wrong, words in [
        ('', '--workdir='),
        (str(tmp_path / 'file'), 'no folder'),
        (str(tmp_path / 'file' / 'in'), 'no folder'),
    ]:
        with pytest.raises(UserError, match=words):
            validate.check_workdir(wrong, needed=True)
