"""The drawing of a network: what it says is what the architecture has, and every network can be drawn."""

import csv
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from alexnet_jax.models.overrides import ArchitectureOverrides
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.report.plots import network


def drawn_texts(arch, folder):
    """The texts of the drawing, as a reader of the SVG finds them."""
    network.draw_network(arch, folder / 'n.svg')
    return [
        ''.join(each.itertext()) for each in ElementTree.parse(folder / 'n.svg').iter() if each.tag.endswith('text')
    ]


def exchanged_texts(texts):
    return [text for text, after in zip(texts, texts[1:], strict=False) if after == 'each way']


def test_the_papers_columns_and_what_crosses_between_them(tmp_path):
    texts = drawn_texts(get_architecture('paper'), tmp_path)
    assert exchanged_texts(texts) == ['21,632', '4,608', '2,048', '2,048']
    for text, times in (('column a', 1), ('column b', 1), ('128 maps', 4), ('192 maps', 4), ('13×13', 6), ('conv3', 1)):
        assert texts.count(text) == times, text
    assert {'11×11×3 /4', '3×3×256', '9,216 inputs', 'max pool 3×3 /2', 'response norm.', 'dropout 0.5'} <= set(texts)
    assert '60,965,224 parameters' in ' '.join(texts) and '30,336 numbers cross' in ' '.join(texts)


def test_an_ablation_shows_the_ablation(tmp_path):
    apart = drawn_texts(get_architecture('paper', overrides=ArchitectureOverrides(exchange_layers=('fc8',))), tmp_path)
    assert exchanged_texts(apart) == ['2,048'] and '3×3×128' in apart and '3×3×256' not in apart
    later = ArchitectureOverrides(exchange_layers=('conv4', 'fc6', 'fc7', 'fc8'), removed_layers=('conv2',))
    later = drawn_texts(get_architecture('paper', overrides=later), tmp_path)
    assert exchanged_texts(later)[0] == '32,448' and 'conv2' not in later
    six = drawn_texts(get_architecture('six_convolutions'), tmp_path)
    assert 'conv6' in six and len(exchanged_texts(six)) == 5
    single = drawn_texts(get_architecture('caffe'), tmp_path)
    assert exchanged_texts(single) == [] and 'column a' not in single
    assert any('2 groups' in text for text in single)


@pytest.mark.parametrize('preset', PRESETS)
def test_the_stages_of_every_network_are_its_layers(preset):
    arch = PRESETS[preset]
    stages = network.list_stages(arch)
    assert [stage.name for stage in stages] == ['image', *arch.kernel_shapes()]
    shapes = arch.activation_shapes()
    assert all(stage.shape[-1] * arch.columns == shapes[stage.name][-1] for stage in stages[1:])
    assert {stage.name: stage.exchanged for stage in stages if stage.exchanged} == arch.numbers_exchanged()
    assert stages[-1].operations == ('softmax',)


@pytest.mark.parametrize('columns', [1, 4, 8])
def test_any_number_of_columns_is_drawn_of_many_the_first_and_the_last(columns, tmp_path):
    arch = get_architecture('miniature', overrides=ArchitectureOverrides(columns=columns))
    texts = drawn_texts(arch, tmp_path)
    shown = [text for text in texts if re.fullmatch(r'column \w', text)]
    assert shown == {1: [], 4: [f'column {x}' for x in 'abcd'], 8: ['column a', 'column b', 'column h']}[columns]


def test_files_are_written_by_their_ending_with_a_table_and_the_same_bytes_each_time(tmp_path):
    for name in ('first.svg', 'second'):
        files = network.write_network_figure(PRESETS['miniature'], tmp_path / name)
        assert files == [str(tmp_path / f'{name.partition(".")[0]}.{ending}') for ending in ('svg', 'png', 'csv')]
    for ending in ('svg', 'png'):
        assert (tmp_path / f'first.{ending}').read_bytes() == (tmp_path / f'second.{ending}').read_bytes()
    with Image.open(tmp_path / 'first.png') as picture:
        assert picture.width > 1500
    with open(tmp_path / 'first.csv', newline='') as file:
        rows = {row['layer']: row for row in csv.DictReader(file)}
    assert rows['conv3']['sees'] == 'all' and int(rows['conv3']['exchanged_per_image_and_direction']) == 32 * 6 * 6
    assert sum(int(row['parameters']) for row in rows.values()) == sum(PRESETS['miniature'].parameter_counts().values())
