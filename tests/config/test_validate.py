import math

import hypothesis
import pytest
from hypothesis import strategies as st
from ml_collections import ConfigDict

from alexnet_jax.config import migration, parse, validate
from alexnet_jax.config.field import Field
from alexnet_jax.config.field_errors import unknown_field_error
from alexnet_jax.config.schema import FIELDS, PER_HOST_FIELDS, RESULT_FIELDS
from alexnet_jax.errors import UserError
from configs import default, quickstart

few = hypothesis.settings(deadline=None, max_examples=30)


def changed(get_config=default.get_config, **values) -> ConfigDict:
    """A config with fields changed; a double underscore stands for the dot."""
    config = get_config()
    config.update_from_flattened_dict({name.replace('__', '.'): value for name, value in values.items()})
    return config


def refused(config: ConfigDict, message: str):
    with pytest.raises(UserError, match=message) as error:
        validate.validate_config(config)
    assert '\n' not in str(error.value)


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
        ('evaluate.view_list', 'center,left'),
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
    refused(changed(**{field: value}), f'^config.{field} is {value!r}; expected ')


@pytest.mark.parametrize(
    'field, choices',
    [
        (
            'model.preset',
            'paper, source145, source145_half, source146, source147, source150, one_gpu, six_convolutions, merged, '
            'caffe, caffenet, onnx_zoo, torchvision, miniature',
        ),
        ('model.activation', 'relu, tanh, abs_tanh, sigmoid'),
        ('model.pooling', 'max, average'),
        ('model.lrn_alpha_over_n', 'false, true'),
        ('model.dropout', 'paper, inverted, none'),
        ('model.dropout_position', 'after, before'),
        ('model.initialization', 'paper, source2012, caffe, caffenet, cuda_convnet, torch, he'),
        ('prepare.source', 'cifar10, cutouts, folder'),
        ('prepare.encoding', 'jpeg, raw'),
        ('augment.lighting', 'eigenvalues, deviations, none'),
        ('augment.mean', 'image, center, channel'),
        ('train.schedule', 'step, cosine, polynomial, plateau, diary'),
    ],
)
def test_a_wrong_choice_gets_the_choices_of_its_registry(field, choices):
    refused(changed(**{field: 'nonsense'}), f'one of {choices}')
    for choice in choices.split(', '):
        config = changed(**{field: choice})
        config.prepare.image_size = 256
        validate.validate_config(config)


@pytest.mark.parametrize('field', FIELDS)
def test_a_value_of_another_kind_is_refused(field):
    config = ConfigDict(default.get_config().to_dict(), type_safe=False)
    wrong = {bool: 'yes', int: 1.5, float: 'fast', str: 7}[FIELDS[field].type]
    config.update_from_flattened_dict({field: wrong})
    refused(config, f'^config.{field} is ')


def test_true_is_no_number_and_one_is_not_true():
    assert not Field(0, '').accepts(True)
    assert not Field(0.0, '').accepts(True)
    assert not Field(False, '').accepts(1)
    assert Field(0.0, '').accepts(1)


@few
@hypothesis.given(st.integers(-20, 20), st.integers(-20, 20), st.integers(-20, 20), st.booleans(), st.booleans())
def test_a_range_admits_what_lies_in_it(low, high, value, above, below):
    admitted = Field(0, '', low, high, exclusive_low=above, exclusive_high=below).accepts(value)
    assert admitted == (value in range(low + above, high + 1 - below))


@pytest.mark.parametrize(
    'values, message',
    [
        ({'prepare__validation_fraction': 0.6, 'prepare__test_fraction': 0.4}, 'leave nothing to train on'),
        (
            {'prepare__source': 'cutouts', 'prepare__path': '/photographs'},
            'cutouts are generated. Use --config=configs/folder.py',
        ),
        ({'train__num_epochs': 1.0, 'train__warmup_epochs': 1.0}, 'shorten the warm-up'),
        ({'train__schedule': 'plateau', 'evaluate__every_epochs': 0.0}, 'every_epochs=0 never measures it'),
        (
            {'prepare__source': 'cifar10', 'prepare__validation_fraction': 0.0, 'evaluate__checkpoint': 'best'},
            'checkpoint=best needs a validation split, and cifar10 has none .* config.evaluate.checkpoint=final',
        ),
        ({'mesh': '3,2'}, 'batch of 128 images cannot be split evenly over the 3 devices'),
        (
            {'train__grad_accumulation': 3},
            'train.grad_accumulation=3 does not divide 128 images on 1 devices .* a multiple of 3',
        ),
        (
            {'mesh': '4,1', 'train__grad_accumulation': 64},
            'does not divide 128 images on 4 devices along data; .* a multiple of 256',
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
            'Crops of 224 pixels do not fit images of 64. Raise config.prepare.image_size to 256 or',
        ),
        (
            {'prepare__image_size': 64, 'model__preset': 'caffe'},
            'Crops of 227 .* Raise config.prepare.image_size to 256 or',
        ),
        ({'model__crop_size': 225}, 'conv1'),
    ],
)
def test_what_contradicts_itself_is_refused(values, message):
    refused(changed(**values), message)


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
    'name, hint',
    [
        ('batch', 'config.train.batch_size or config.evaluate.batch_size'),
        ('train.moment', 'did you mean config.train.momentum?'),
        ('train.bathc', 'did you mean config.train.batch_size?'),
        ('train.lr', 'did you mean config.train.learning_rate?'),
        ('train', 'is a section'),
        ('xyzzy', 'docs/config.md'),
    ],
)
def test_an_unknown_field_gets_the_names_that_come_near(name, hint):
    assert hint in str(unknown_field_error(name))


@few
@hypothesis.given(st.lists(st.floats(0.01, 1000), unique=True, max_size=5).map(sorted))
def test_milestones_are_read_as_they_were_written(epochs):
    assert parse.increasing_epochs(','.join(map(repr, epochs))) == tuple(epochs)


def test_lists_are_read_with_or_without_spaces():
    assert parse.layer_multipliers(' conv1=0.1, fc8 = 2 ') == {'conv1': 0.1, 'fc8': 2.0}
    assert parse.split_counts('8, 2,3') == (8, 2, 3)
    assert parse.mesh_shape('4, 2') == (4, 2)
    assert parse.layer_names(' conv3, fc6 ') == ('conv3', 'fc6')
    assert parse.increasing_epochs('') == () and parse.layer_multipliers('') == {}
    assert parse.mesh_shape('auto') is None and parse.layer_names('') is None and parse.layer_names('none') == ()
    assert parse.step_range('10:15') == (10, 15) and parse.step_range('') is None


def test_a_layer_may_be_frozen():
    validate.validate_config(changed(train__layer_lr_multipliers='conv1=0'))


def test_fields_of_the_machine_do_not_decide():
    old = validate.result_fields(default.get_config())
    new = validate.result_fields(changed(mesh='4,2', data__num_threads=7, name='other', log__every_steps=1))
    assert old == new and validate.describe_differences(old, new) == []
    assert set(old) == RESULT_FIELDS and not RESULT_FIELDS & PER_HOST_FIELDS


def test_differences_are_told_field_by_field_with_both_values():
    old, new = (validate.result_fields(default.get_config()), validate.result_fields(changed(quickstart.get_config)))
    sentences = validate.describe_differences(old, new)
    assert "config.model.preset was 'paper' and is now 'miniature'." in sentences
    assert len(sentences) == sum(old[field] != new[field] for field in old)
    assert validate.describe_differences({'train.learning_rate': 1}, {'seed': 0}) == [
        'config.seed was not set and is now 0.',
        'config.train.learning_rate was 1 and no longer exists.',
    ]
    assert validate.describe_differences({'dataset': 'a'}, {'dataset': 'b'}) == ["dataset was 'a' and is now 'b'."]


def test_a_folder_that_cannot_be_written_is_refused_and_none_is_made(tmp_path):
    validate.validate_workdir(str(tmp_path / 'not' / 'yet'), needed=True)
    assert not list(tmp_path.iterdir())
    validate.validate_workdir('', needed=False)
    (tmp_path / 'file').touch()
    for wrong, message in [
        ('', '--workdir='),
        (str(tmp_path / 'file'), 'is not a folder'),
        (str(tmp_path / 'file' / 'in'), 'is not a folder'),
    ]:
        with pytest.raises(UserError, match=message):
            validate.validate_workdir(wrong, needed=True)


def test_a_folder_that_one_may_only_read_is_enough_where_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr('os.access', lambda path, mode: False)
    with pytest.raises(UserError, match='is not a folder that you may write to'):
        validate.validate_workdir(str(tmp_path), needed=True)
    validate.validate_workdir(str(tmp_path), needed=True, writes=False)
    with pytest.raises(UserError, match='reads the folder of a run; set one'):
        validate.validate_workdir('', needed=True, writes=False)


def test_old_names_lead_to_fields_and_values_of_today():
    assert set(migration.RENAMED_FIELDS.values()) <= set(FIELDS)
    assert not set(migration.RENAMED_FIELDS) & set(FIELDS)
    for field, values in migration.RENAMED_VALUES.items():
        assert set(values.values()) <= set(FIELDS[field].all_choices())
        assert not set(values) & set(FIELDS[field].all_choices())


def test_fields_under_old_names_are_read_as_those_of_today():
    old = {'train.rate': 0.1, 'train.schedule': 'drops', 'network.alpha': 'divided', 'network.dropout_place': 'behind'}
    new = {'train.learning_rate': 0.1, 'train.schedule': 'step'}
    new |= {'model.lrn_alpha_over_n': 'true', 'model.dropout_position': 'after'}
    assert migration.migrate_fields(old) == new
    assert migration.migrate_fields(new | {'dataset': 'a'}) == new | {'dataset': 'a'}


@pytest.mark.parametrize(
    'field, old, message',
    [
        ('train.schedule', 'drops', 'config.train.schedule=drops was renamed to config.train.schedule=step.'),
        ('augment.mean', 'centre', 'config.augment.mean=centre was renamed to config.augment.mean=center.'),
    ],
)
def test_an_old_value_gets_the_new_one(field, old, message):
    refused(changed(**{field: old}), f'^{message}$')


@pytest.mark.parametrize(
    'name, message',
    [
        ('train.rate', 'config.train.rate was renamed to config.train.learning_rate.'),
        ('network.preset', 'config.network.preset was renamed to config.model.preset.'),
        ('network', 'The section config.network was renamed to config.model.'),
    ],
)
def test_an_old_field_gets_the_new_one(name, message):
    assert str(unknown_field_error(name)) == message


@pytest.mark.parametrize('name', ['my [old] runs', 'what?', 'a*', 'left\\right', 'caf\udce9'])
def test_a_workdir_that_checkpoints_cannot_be_saved_in_is_refused(tmp_path, name, monkeypatch):
    with pytest.raises(UserError, match='cannot hold checkpoints: its full path .* contains .* Rename that folder'):
        validate.validate_workdir(str(tmp_path / name / 'run'), needed=True, saves=True)
    assert not list(tmp_path.iterdir())
    try:
        (tmp_path / name).mkdir()
    except UnicodeEncodeError:
        return
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match='its full path'):
        validate.validate_workdir('run', needed=True, saves=True)


def test_a_workdir_with_other_odd_characters_is_taken(tmp_path):
    for name in ('a b', 'r\u00e9sum\u00e9', '\u732b', '{x}#%41,;:&$~!@(=+^`\'"'):
        validate.validate_workdir(str(tmp_path / name), needed=True, saves=True)
    # Whole checkpoints can be read in such a folder; they cannot be written there.
    validate.validate_workdir(str(tmp_path / 'moved [here]'), needed=True, writes=False)
    with pytest.raises(UserError, match='cannot hold checkpoints'):
        validate.validate_workdir(str(tmp_path / 'moved\\here'), needed=True, writes=False)
