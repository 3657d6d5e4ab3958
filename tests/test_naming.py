"""Names: few one-word functions, none shared by many modules, short parameter lists, imperative docstrings.

`python tests/test_naming.py [FOLDER]` prints the figures, and what stands out in the files of that folder.
"""

import ast
import collections
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / 'main.py', *sorted((ROOT / 'alexnet_jax').rglob('*.py'))]
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
# How a docstring that describes instead of telling what the function does begins.
NOUN_PHRASES = re.compile(r'(What|Where|Whether|Who|Whose|How|Of)\b|.*\b[Kk]nows? (no|nothing|neither)\b', re.DOTALL)


def trees():
    """(path relative to the root, syntax tree) of every file of the package."""
    return [(str(file.relative_to(ROOT)), ast.parse(file.read_text())) for file in FILES]


def one_word_functions():
    """(one-word names, all names) of module-level functions, as 'file: name'."""
    names = [(path, node.name) for path, tree in trees() for node in tree.body if isinstance(node, FUNCTION)]
    names = [(path, name) for path, name in names if not name.startswith('__')]
    return [f'{path}: {name}' for path, name in names if '_' not in name.strip('_')], names


def shared_names(most=2):
    """Names of module-level functions and classes that more than `most` modules define, with their modules."""
    modules = collections.defaultdict(list)
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, (*FUNCTION, ast.ClassDef)) and not node.name.startswith('__'):
                modules[node.name].append(path)
    return {name: paths for name, paths in modules.items() if len(paths) > most}


def long_parameter_lists(most=7):
    """Functions with more than `most` parameters, `self` and `cls` not counted, as 'file: name number'."""
    found = []
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTION):
                own = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                count = sum(each.arg not in ('self', 'cls') for each in own)
                if count > most:
                    found.append(f'{path}: {node.name} {count}')
    return found


def describing_docstrings():
    """Docstrings that begin with a noun phrase or say what the code does not know, as 'file: name: first words'."""
    found = []
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, (*FUNCTION, ast.ClassDef, ast.Module)):
                text = ast.get_docstring(node) or ''
                if NOUN_PHRASES.match(text):
                    found.append(f'{path}: {getattr(node, "name", "module")}: {text[:50]!r}')
    return found


def test_few_functions_have_a_one_word_name():
    short, names = one_word_functions()
    assert len(names) > 300 and len(short) / len(names) < 0.2


def test_no_name_is_defined_in_more_than_two_modules():
    assert shared_names() == {}


def test_few_functions_have_more_than_seven_parameters():
    assert len(long_parameter_lists()) < 4


def test_no_docstring_describes_instead_of_telling():
    assert describing_docstrings() == []


if __name__ == '__main__':
    folder = sys.argv[1] if len(sys.argv) > 1 else ''
    short, names = one_word_functions()
    print(f'one-word module-level functions: {len(short)} of {len(names)} ({len(short) / len(names):.0%})')
    print(f'names in more than two modules: {len(shared_names())}')
    print(f'functions with more than seven parameters: {len(long_parameter_lists())}')
    print(f'docstrings that describe: {len(describing_docstrings())}')
    if folder:
        shared = [f'{path}: {name} (shared)' for name, paths in shared_names().items() for path in paths]
        every = [*short, *shared, *long_parameter_lists(), *describing_docstrings()]
        print(*(line for line in every if line.startswith(folder)), sep='\n')
