"""What docs/paper.md names is there, and its numbers follow; main.py takes the commands of docs/data.md."""

import re
import shlex
from pathlib import Path

import pytest

import main
from alexnet_jax.commands import figures
from alexnet_jax.config import schema, validate
from alexnet_jax.data import image_io
from alexnet_jax.models import presets
from alexnet_jax.prepare.sources import compression, parquet_table
from alexnet_jax.prepare.sources import zip as zip_source
from alexnet_jax.prepare.split_names import SPLIT_NAMES, SPLITS
from alexnet_jax.weights import names

ROOT = Path(__file__).resolve().parent.parent
PAPER = (ROOT / 'docs' / 'paper.md').read_text()
QUOTED = re.findall(r'`([^`]+)`', PAPER)


def test_every_field_is_one_of_the_config():
    sections = {field.partition('.')[0] for field in schema.FIELDS if '.' in field}
    named = {word.partition('=')[0] for word in QUOTED if re.match(rf'({"|".join(sections)})\.[a-z_]+(=\w+)?$', word)}
    assert len(named) > 20 and named <= set(schema.FIELDS)


@pytest.mark.parametrize('page', ['paper.md', 'architecture.md'])
def test_every_file_is_there(page):
    quoted = re.findall(r'`([^`\n]+)`', (ROOT / 'docs' / page).read_text())
    files = [word for word in quoted if re.match(r'[\w/]+\.(py|md)$', word)]
    missing = [name for name in files if not any((folder / name).is_file() for folder in (ROOT, ROOT / 'alexnet_jax'))]
    assert len(files) > 15 and missing == []


def test_every_test_is_one_of_the_suite():
    known = set(re.findall(r'^def (test_\w+)', ''.join(f.read_text() for f in (ROOT / 'tests').rglob('*.py')), re.M))
    named = {word for word in QUOTED if word.startswith('test_')}
    assert len(named) > 20 and named <= known


def test_its_numbers_are_those_of_the_architecture():
    paper = presets.PAPER
    neurons = [
        paper.activation_shapes()[layer] for layer in ('conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'fc6', 'fc7', 'fc8')
    ]
    products = [1 if len(shape) == 1 else shape[1] * shape[2] for shape in neurons]
    counts = [shape[0] * rest for shape, rest in zip(neurons, products, strict=True)]
    for total, parts in (
        (sum(paper.parameter_counts().values()), paper.parameter_counts().values()),
        (sum(counts), counts),
    ):
        assert f'{total:,}: {" + ".join(f"{part:,}" for part in parts)}' in PAPER
    exchanged = ', '.join(f'{layer} {numbers:,}' for layer, numbers in paper.numbers_exchanged().items())
    assert f'{sum(paper.numbers_exchanged().values()):,}: {exchanged}' in PAPER
    assert f'{sum(paper.macs().values()):,}' in PAPER
    for name in ('merged', 'torchvision'):
        assert f'{sum(presets.get_architecture(name).parameter_counts().values()):,}' in PAPER


DATA = (ROOT / 'docs' / 'data.md').read_text().replace('\\\n', ' ')
COMMANDS = re.findall(r'^    python (main\.py .*)$', DATA, re.MULTILINE)


@pytest.mark.parametrize('command', COMMANDS)
def test_a_command_about_images_is_one_that_main_takes(command, monkeypatch):
    """As far as it can be known without the images."""
    monkeypatch.chdir(ROOT)
    given = main.parse_flags(shlex.split(command))
    validate.validate_values(given.config)
    validate.validate_config(given.config)


def test_there_is_a_command_for_each_form():
    told = ' '.join(COMMANDS)
    for source in ('imagenet2010', 'synsets', 'kaggle', 'parquet', 'folder', 'tar', 'zip', 'tfds'):
        assert f'--config.prepare.source={source} ' in told
    assert 'configs/cifar10.py' in told and '=gs://' in told and len(COMMANDS) >= 13


def test_what_is_taken_is_what_the_code_takes():
    section = (ROOT / 'docs' / 'data.md').read_text().partition('## What is taken')[2].partition('\n\n## ')[0]
    rows = re.findall(r'^\| [^|]+ \| (`.*) \|$', section, re.MULTILINE)
    assert [tuple(re.findall(r'`([^`]+)`', row)) for row in rows] == [
        *(tuple(word for word in SPLIT_NAMES if SPLIT_NAMES[word] == split) for split in SPLITS),
        image_io.IMAGE_EXTENSIONS,
        tuple(compression.MODULES),
        tuple(zip_source.METHODS),
        parquet_table.IMAGE_TYPES,
        parquet_table.NUMBER_TYPES,
        parquet_table.TEXT_TYPES,
    ]


def test_every_activation_is_in_the_table_of_names():
    page = (ROOT / 'docs' / 'features.md').read_text()
    cells = re.findall(r'^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$', page, re.M)
    rows = {layer: (shape.strip(), module.strip(' `'), blob.strip(' `')) for layer, shape, module, blob in cells}
    shapes = presets.PAPER.activation_shapes()
    modules = names.torchvision_points(presets.TORCHVISION)
    blobs = names.caffe_points(presets.CAFFE)
    assert rows == {
        layer: (' x '.join(map(str, shapes.get(layer, ()))), modules.get(layer, ''), blobs.get(layer, ''))
        for layer in {*shapes, *modules, *blobs}
    }


def test_the_fields_and_flags_of_features_are_those_of_the_config():
    page = (ROOT / 'docs' / 'features.md').read_text()
    fields = set(re.findall(r'--config\.([a-z_]+\.[a-z_]+)', page))
    assert len(fields) > 8 and fields <= set(schema.FIELDS)
    commands = [
        line.strip() for line in page.replace('\\\n', ' ').split('\n') if line.strip().startswith('python main.py')
    ]
    for command in commands:
        config = main.parse_flags(shlex.split(command.replace('$seed', '0').removesuffix(' \\'))[1:]).config
        validate.validate_values(config)
    assert len(commands) >= 4


def test_the_gallery_has_its_pictures_and_commands_that_main_takes():
    page = (ROOT / 'docs' / 'gallery.md').read_text()
    pictures = re.findall(r'!\[[^\]]{20,}\]\(([^)]+)\)', page)
    assert len(pictures) == page.count('![') >= 10
    assert sorted(pictures) == sorted(f'gallery/{file.name}' for file in (ROOT / 'docs' / 'gallery').iterdir())
    assert sum((ROOT / 'docs' / name).stat().st_size for name in pictures) < 2_000_000
    assert re.findall(r'^\| `(\w+)` \|', page, re.M) == list(figures.FIGURES)
    commands = re.findall(r'^    python (main\.py [^#\n]*)', page.replace('\\\n', ' '), re.M)
    for command in commands:
        validate.validate_values(main.parse_flags(shlex.split(command)).config)
    assert len(commands) >= 3
