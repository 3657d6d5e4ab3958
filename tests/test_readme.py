"""The tree in docs/tree.md and the README's links and commands are those of the repository as it is."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()
TREE = (ROOT / 'docs' / 'tree.md').read_text()


def test_the_tree_is_the_one_that_the_docstrings_make():
    spec = importlib.util.spec_from_file_location('generate_tree', ROOT / 'docs' / 'generate_tree.py')
    generate_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_tree)
    assert TREE == generate_tree.tree_page(), 'run python docs/generate_tree.py'


NAMED = re.findall(r'`((?:tests|configs|benchmarks|docs)/[\w./-]+\.\w+)`', README)


@pytest.mark.parametrize('path', sorted(set(NAMED)))
def test_a_file_that_is_named_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize('path', sorted(set(re.findall(r'\]\(([\w./-]+)\)', README))))
def test_a_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def test_the_configs_in_the_commands_are_there():
    for path in re.findall(r'--config=(configs/\w+\.py)', README):
        assert (ROOT / path).exists()
