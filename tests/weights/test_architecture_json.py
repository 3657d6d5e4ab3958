"""Architectures as JSON come back equal, and JSON of another hand is refused by name."""

import copy
import json

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.models.overrides import ArchitectureOverrides
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.weights.architecture_json import architecture_from_dict, architecture_to_dict


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_comes_back(name):
    arch = get_architecture(name, num_classes=5)
    assert architecture_from_dict(json.loads(json.dumps(architecture_to_dict(arch)))) == arch


def test_overrides_come_back():
    overrides = ArchitectureOverrides(
        activation='abs_tanh', pooling='average', exchange_layers=['conv4'], dropout='inverted', alpha_over_n='true'
    )
    arch = get_architecture('paper', overrides=overrides)
    assert architecture_from_dict(json.loads(json.dumps(architecture_to_dict(arch)))) == arch


def changed(path, value):
    content = copy.deepcopy(architecture_to_dict(PRESETS['miniature']))
    content['layers'] = [dict(layer) for layer in content['layers']]
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    'path, value, message',
    [
        (('layers', 0, 'stride'), 0, "stride '0'"),
        (('layers', 0, 'stride'), -2, "stride '-2'"),
        (('layers', 0, 'stride'), 2.0, "stride '2.0'"),
        (('layers', 0, 'stride'), True, "stride 'True'"),
        (('layers', 0, 'pad'), -1, "pad '-1'"),
        (('layers', 0, 'features'), 2**40, 'features'),
        (('layers', 0, 'features'), 33, 'do not divide evenly'),
        (('layers', 0, 'name'), 'conv2', 'need names of their own'),
        (('layers', 0, 'name'), "x'); import os", 'name'),
        (('layers', 0, 'type'), 'Softmax', "type 'Softmax'"),
        (('layers', 0, 'input_from'), 'moon', "input_from 'moon'"),
        (('layers', 0, 'groups'), 0, "groups '0'"),
        (('layers', 1, 'function'), 'exec', "function 'exec'"),
        (('layers', 2, 'alpha'), float('nan'), "alpha 'nan'"),
        (('layers', 2, 'n'), 0, "n '0'"),
        (('layers', 3), {'type': 'Pooling'}, 'The fields of a layer of type Pooling'),
        (('layers', 3), 'pool', "type 'pool'"),
        (('layers',), [], 'names of their own'),
        (('layers',), {}, "layers '{}'"),
        (('layers',), [{}] * 101, '101 layers'),
        (('columns',), 0, "columns '0'"),
        (('columns',), 3, 'do not divide evenly'),
        (('crop_size',), 3, 'does not fit'),
        (('crop_size',), '56', "crop_size '56'"),
        (('equivalent_crops',), [0], 'equivalent_crops'),
        (('surprise',), 1, 'surprise'),
    ],
)
def test_what_no_network_can_have_is_refused(path, value, message):
    with pytest.raises(UserError, match=message.replace('(', r'\(').replace(')', r'\)')):
        architecture_from_dict(changed(path, value))


@pytest.mark.parametrize('content', [None, [], 'paper', 3, {'name': 'paper'}])
def test_what_is_no_architecture_is_refused(content):
    with pytest.raises(UserError, match='The fields of the architecture'):
        architecture_from_dict(content)


def test_a_network_whose_last_layer_is_not_dense_is_refused():
    content = architecture_to_dict(PRESETS['miniature'])
    with pytest.raises(UserError, match='must be dense'):
        architecture_from_dict(content | {'layers': content['layers'][:4]})
