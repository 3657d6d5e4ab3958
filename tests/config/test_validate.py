import math

import hypothesis
import pytest
from hypothesis import strategies as st
from ml_collections import ConfigDict

from alexnet_jax import cli
from alexnet_jax.config import validate
from alexnet_jax.config.schema import RESULT_FIELDS, FIELDS, RESUMABLE_FIELDS, Field
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
        validate.validate_config(config)
    assert '\n' not in str(mistake.value)


def test_the_default_config_is_accepted():
    assert validate.validate_config(default.get_config()) is None


@pytest.mark.parametrize(
    'field, value',
    [
        ('seed', -1),
        ('seed', 2**32),
        ('model.num_classes', -1),
        ('data.num_threads', 0),
        ('prepare.image_size', 0),
        ('prepare.jpeg_quality', 101),
        ('prepare.test_fraction', 1.0),
        ('prepare.num_cutouts', '8000,1000'),
        ('prepare.num_cutouts', '8000,1000,0'),
        ('prepare.num_cutouts', '1000000000000,1,1'),
        ('augment.lighting_std', -0.1),
        ('train.batch_size', 0),
        ('train.batch_size', 1_000_000_000),
        ('train.num_epochs', 0.0),
        ('train.num_epochs', 1000000.0),
        ('train.learning_rate', 0.0),
        ('train.learning_rate', math.nan),
        ('train.learning_rate', math.inf),
        ('train.momentum', 1.0),
        ('train.weight_decay', -1e-9),
        ('train.milestones', '30,x'),
        ('train.milestones', '30,30'),
        ('train.milestones', '0,30'),
        ('train.milestones', '30,nan'),
        ('train.warmup_epochs', -1.0),
        ('train.profile_steps', '10'),
        ('train.profile_steps', '10,15'),
        ('train.profile_steps', '15:10'),
        ('train.profile_steps', '0:3'),
        ('train.profile_steps', '1:x'),
        ('train.patience', 0),
        ('train.min_delta', -0.1),
        ('train.bias_lr_multiplier', -1.0),
        ('train.layer_lr_multipliers', 'conv1'),
        ('train.layer_lr_multipliers', 'conv1=fast'),
        ('train.layer_lr_multipliers', 'conv1=-1'),
        ('train.layer_lr_multipliers', 'conv1=1,conv1=2'),
        ('train.layer_lr_multipliers', '=1'),
        ('train.layer_lr_multipliers', 'conv9=1'),
        ('evaluate.views', 2),
        ('evaluate.split', 'val'),
        ('evaluate.batch_size', 0),
        ('evaluate.checkpoint', 'newest'),
        ('evaluate.checkpoint', '-5'),
        ('checkpoint.every_steps', -1),
        ('log.every_steps', 0),
        ('mesh', '4'),
        ('mesh', '4,0'),
        ('mesh', '4x2'),
        ('machine.cpu_devices', 0),
        ('train.grad_accumulation', 0),
        ('model.compute_dtype', 'float16'),
        ('model.preset', 'papers'),
        ('model.initialization', 'xavier'),
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
            'model.preset',
            'paper, one_gpu, six_convolutions, merged, caffe, caffenet, torchvision, miniature',
        ),
        ('model.activation', 'relu, tanh, abs_tanh, sigmoid'),
        ('model.pooling', 'max, average'),
        ('model.lrn_alpha_over_n', 'whole, divided'),
        ('model.dropout', 'paper, inverted, none'),
        ('model.dropout_position', 'behind, before'),
        ('model.initialization', 'paper, source2012, caffe, caffenet, torch, he'),
        ('prepare.source', 'cutouts, folder, tar'),
        ('prepare.encoding', 'jpeg, raw'),
        ('augment.lighting', 'eigenvalues, deviations, none'),
        ('augment.mean', 'image, center, channel'),
        ('train.schedule', 'drops, cosine, plateau'),
    ],
)
def test_a_wrong_word_gets_the_words_of_its_room(field, words):
    refused(changed(**{field: 'nonsense'}), f'one of {words}')
    for word in words.split(', '):
        config = changed(**{field: word})
        config.prepare.image_size = 256
        validate.validate_config(config)


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
        ({'prepare__validation_fraction': 0.6, 'prepare__test_fraction': 0.4}, 'leave nothing to train on'),
        (
            {'prepare__source': 'cutouts', 'prepare__path': '/photographs'},
            'made and not read; give --config=configs/folder.py',
        ),
        ({'train__num_epochs': 1.0, 'train__warmup_epochs': 1.0}, 'shorten the warm-up'),
        ({'train__schedule': 'plateau', 'evaluate__every_epochs': 0.0}, 'so that nothing is validated'),
        (
            {
                'prepare__source': 'cifar10',
                'prepare__validation_fraction': 0.0,
                'evaluate__checkpoint': 'best',
            },
            'checkpoint is best, .* leaves cifar10 without a validation split; .* evaluate.checkpoint=final',
        ),
        ({'mesh': '3,2'}, 'batch of 128 images cannot be shared evenly by the 3 devices'),
        (
            {'train__grad_accumulation': 3},
            'train.grad_accumulation is 3, but 128 images on 1 devices .* a multiple of 3',
        ),
        (
            {'mesh': '4,1', 'train__grad_accumulation': 64},
            'cut into so many equal parts; .* a multiple of 256',
        ),
        ({'model__exchange_layers': 'conv1'}, 'conv1 cannot exchange in paper'),
        ({'mesh': '1,4'}, 'divides the 2 columns of paper'),
        ({'checkpoint__keep_every_steps': 1500}, 'multiple of config.checkpoint.every_steps'),
        (
            {'checkpoint__keep_every_steps': 500, 'checkpoint__every_steps': 0},
            'multiple of config.checkpoint.every_steps',
        ),
        (
            {'prepare__image_size': 64},
            'Crops of 224 pixels cannot .* images of 64; raise config.prepare.image_size, to 256, or',
        ),
        (
            {'prepare__image_size': 64, 'model__preset': 'caffe'},
            'Crops of 227 .*; raise config.prepare.image_size, to 256, or',
        ),
        ({'model__crop_size': 225}, 'conv1'),
    ],
)
def test_what_contradicts_itself_is_refused(values, words):
    refused(changed(**values), words)


def test_a_prepared_dataset_elsewhere_has_its_own_side():
    validate.validate_config(changed(prepare__image_size=64, data__directory='/somewhere'))


def test_fields_that_are_unknown_or_missing_are_named():
    config = default.get_config()
    config.train.bach = 3
    refused(config, 'no field config.train.bach; did you mean config.train.batch_size')
    config = default.get_config()
    del config.train.batch_size
    refused(config, 'config.train.batch_size is missing')


@pytest.mark.parametrize(
    'name, words',
    [
        ('batch', 'config.train.batch_size or config.evaluate.batch_size'),
        ('train.moment', 'did you mean config.train.momentum?'),
        ('train.bathc', 'did you mean config.train.batch_size?'),
        ('train.lr', 'did you mean config.train.learning_rate?'),
        ('train', 'is a section'),
        ('xyzzy', 'configs/default.py'),
    ],
)
def test_an_unknown_field_gets_the_names_that_come_near(name, words):
    assert words in cli.unknown_field_error(name)


@few
@hypothesis.given(st.lists(st.floats(0.01, 1000), unique=True, max_size=5).map(sorted))
def test_drops_are_read_as_they_were_written(epochs):
    assert validate.drops(changed(train__milestones=','.join(map(repr, epochs)))) == tuple(epochs)


def test_lists_are_read_with_or_without_spaces():
    config = changed(
        train__layer_lr_multipliers=' conv1=0.1, fc8 = 2 ',
        prepare__num_cutouts='8, 2,3',
        mesh='4, 2',
        train__milestones='',
    )
    assert validate.layer_rates(config) == {'conv1': 0.1, 'fc8': 2.0}
    assert validate.counts(config) == (8, 2, 3)
    assert validate.mesh_shape(config) == (4, 2)
    assert validate.drops(config) == ()
    assert validate.mesh_shape(default.get_config()) is None
    assert validate.layer_rates(default.get_config()) == {}


def test_a_layer_may_be_frozen():
    validate.validate_config(changed(train__layer_lr_multipliers='conv1=0'))


def test_fields_of_the_machine_do_not_decide():
    old = validate.result_fields(default.get_config())
    new = validate.result_fields(changed(mesh='4,2', data__num_threads=7, name='other', log__every_steps=1))
    assert old == new and validate.describe_differences(old, new) == []
    assert set(old) == set(RESULT_FIELDS) and validate.machine_fields() == set(RESUMABLE_FIELDS)


def test_differences_are_told_field_by_field_with_both_values():
    old, new = validate.result_fields(default.get_config()), validate.result_fields(changed(quickstart.get_config))
    sentences = validate.describe_differences(old, new)
    assert "config.model.preset was 'paper' and is now 'miniature'." in sentences
    assert len(sentences) == sum(old[field] != new[field] for field in old)
    assert validate.describe_differences({'train.learning_rate': 1}, {'seed': 0}) == [
        'config.seed was not there and is now 0.',
        'config.train.learning_rate was 1 and is there no more.',
    ]
    assert validate.describe_differences({'dataset': 'a'}, {'dataset': 'b'}) == ["dataset was 'a' and is now 'b'."]


def test_a_folder_that_cannot_be_written_is_refused_and_none_is_made(tmp_path):
    validate.validate_workdir(str(tmp_path / 'not' / 'yet'), needed=True)
    assert not list(tmp_path.iterdir())
    validate.validate_workdir('', needed=False)
    (tmp_path / 'file').touch()
    for wrong, words in [
        ('', '--workdir='),
        (str(tmp_path / 'file'), 'no folder'),
        (str(tmp_path / 'file' / 'in'), 'no folder'),
    ]:
        with pytest.raises(UserError, match=words):
            validate.validate_workdir(wrong, needed=True)
