"""The notebooks of docs/: their outputs are those of their cells, commands and answers are right, and they run."""

import functools
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

import main
from alexnet_jax.config import validate
from alexnet_jax.models.overrides import ArchitectureOverrides
from alexnet_jax.models.presets import PAPER, get_architecture

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 1_000_000

spec = importlib.util.spec_from_file_location('execute_notebooks', ROOT / 'docs' / 'execute_notebooks.py')
execute_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute_notebooks)
NOTEBOOKS = execute_notebooks.NOTEBOOKS


@functools.cache
def read_notebook(name):
    return json.loads((ROOT / 'docs' / name).read_text())


def prose(name):
    return '\n\n'.join(
        ''.join(cell['source']) for cell in read_notebook(name)['cells'] if cell['cell_type'] == 'markdown'
    )


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_the_outputs_are_those_of_the_code(name):
    notebook = read_notebook(name)
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert notebook['metadata']['sources'] == execute_notebooks.source_checksum(code), (
        f'run python docs/execute_notebooks.py docs/{name}'
    )
    assert [cell['execution_count'] for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell['outputs'] if output.get('name') == 'stderr']
    assert (ROOT / 'docs' / name).stat().st_size < MAX_BYTES


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_link_leads_somewhere(name):
    links = re.findall(r'\]\(([\w./-]+)\)', prose(name))
    assert links and all((ROOT / 'docs' / link).exists() for link in links)


COMMANDS = [
    (name, command)
    for name in NOTEBOOKS
    for command in re.findall(r'^    python (main\.py .*)$', prose(name), re.MULTILINE)
]


@pytest.mark.parametrize('name, command', COMMANDS)
def test_a_command_is_one_that_main_takes(name, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = main.parse_flags(shlex.split(command))
    validate.validate_values(given.config)
    validate.validate_config(given.config)


def test_every_exercise_has_a_folded_answer():
    for name in NOTEBOOKS:
        text = prose(name)
        exercises = len(re.findall(r'\*\*Exercise \d', text))
        assert exercises and exercises == text.count('<details><summary>Answer') == text.count('</details>')


def exchanging(*layers):
    return get_architecture('paper', overrides=ArchitectureOverrides(exchange_layers=layers))


def test_answers_that_follow_by_arithmetic():
    lesson, im2col = prose('lesson.ipynb'), prose('im2col.ipynb')
    at_conv4 = exchanging('conv4', 'fc6', 'fc7', 'fc8')
    for number in (
        at_conv4.numbers_exchanged()['conv4'],
        sum(at_conv4.numbers_exchanged().values()),
        sum(at_conv4.parameter_counts().values()),
        sum(PAPER.numbers_exchanged().values()),
        sum(PAPER.parameter_counts().values()),
    ):
        assert f'{number:,}' in lesson
    sizes = get_architecture('source147').activation_shapes()
    told = ', '.join(str(sizes[layer][0]) for layer in ('conv1', 'pool1', 'conv2', 'pool2', 'conv5', 'pool5'))
    assert f'{told}.' in lesson
    at_conv2 = exchanging('conv2', 'conv3', 'fc6', 'fc7', 'fc8')
    assert f'from {PAPER.macs()["conv2"]:,} to {at_conv2.macs()["conv2"]:,}' in ' '.join(im2col.split())
    assert f'{at_conv2.numbers_exchanged()["conv2"]:,} more numbers' in im2col


@pytest.mark.slow
@pytest.mark.parametrize('name', NOTEBOOKS)
def test_it_runs_from_a_clean_kernel_and_gives_what_it_shows(name):
    pytest.importorskip('nbclient')
    # A download would end here.
    nowhere = dict.fromkeys(('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'), 'http://127.0.0.1:9')
    environment = {**execute_notebooks.clean_environment(), **nowhere}
    executed = execute_notebooks.execute_notebook(ROOT / 'docs' / name, environment=environment)
    shown = execute_notebooks.describe_outputs(read_notebook(name)['cells'])
    assert list(execute_notebooks.describe_outputs(executed.cells)) == list(shown)
