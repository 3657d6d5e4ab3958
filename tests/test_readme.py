"""The tree in docs/tree.md and the README's links and commands are those of the repository as it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()
TREE = (ROOT / 'docs' / 'tree.md').read_text()


def listed():
    """Paths in the tree, from its indentation."""
    folders: list[str] = []
    for line in TREE.splitlines():
        if match := re.match(r'^    ( *)(\S+?)(/?)(?:  +\S.*)?$', line):
            depth = len(match[1]) // 2
            folders[depth:] = [match[2]]
            if not match[3]:
                yield '/'.join(folders)


def test_the_tree_lists_every_file_of_the_package_and_no_other():
    there = {str(path.relative_to(ROOT)) for path in (ROOT / 'alexnet_jax').rglob('*.py')}
    there |= {str(path.relative_to(ROOT)) for path in (ROOT / 'configs').glob('*.py')} | {'main.py'}
    there = {path for path in there if not path.endswith('__init__.py')}
    assert {path for path in listed() if path.endswith('.py')} == there


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
