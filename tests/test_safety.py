"""Nothing that is read is run: no pickle, no eval, no unsafe YAML anywhere in the code, and only formats we name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [
    ROOT / 'main.py',
    *sorted((ROOT / 'alexnet_jax').rglob('*.py')),
    *sorted((ROOT / 'configs').glob('*.py')),
    *sorted((ROOT / 'benchmarks').rglob('*.py')),
]
MODULES = {'pickle', 'cPickle', 'cloudpickle', 'dill', 'joblib', 'marshal', 'shelve', 'jsonpickle', 'yaml', 'code'}
CALLS = {'eval', 'exec', 'compile', '__import__', 'input'}
# A config file is a program that its owner gives us to run.
ALLOWED = {
    ('alexnet_jax/cli.py', 'runpy'),
    ('alexnet_jax/commands/ablation_cards.py', 'runpy'),
    ('alexnet_jax/runtime/child_process.py', 'runpy'),  # main.py itself
    ('benchmarks/features.py', 'runpy'),  # the module that it exported itself
    ('benchmarks/preparation_rates.py', 'Image.open of any format'),  # of photographs that it made itself
}


def unsafe_uses(source: str) -> list[str]:
    """Return what a source uses that could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split('.')[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or '').split('.')[0]]
        found += [name for name in names if name in MODULES | {'runpy'}]
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in CALLS:
            found.append(function.id)
        keywords = {word.arg: word.value for word in node.keywords}
        if isinstance(function, ast.Attribute):
            if function.attr in ('load', 'fromfile') and ast.unparse(function.value) in ('np', 'numpy', 'jnp'):
                allowed = keywords.get('allow_pickle')
                if function.attr == 'load' and not (isinstance(allowed, ast.Constant) and allowed.value is False):
                    found.append('np.load without allow_pickle=False')
            weights_only = keywords.get('weights_only')
            if ast.unparse(function) == 'torch.load' and ast.unparse(weights_only or function) != 'True':
                found.append('torch.load without weights_only=True')
            if ast.unparse(function) == 'Image.open' and 'formats' not in keywords:
                found.append('Image.open of any format')
            if function.attr in ('extract', 'extractall', 'unpack_archive'):
                found.append(function.attr)
            if ast.unparse(function) in ('os.system', 'os.popen'):
                found.append(ast.unparse(function))
        shell = keywords.get('shell')
        if isinstance(shell, ast.Constant) and shell.value:
            found.append('shell=True')
    return found


@pytest.mark.parametrize('file', FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(file):
    name = str(file.relative_to(ROOT))
    assert [each for each in unsafe_uses(file.read_text()) if (name, each) not in ALLOWED] == []


@pytest.mark.parametrize(
    'source',
    [
        'import pickle',
        'from yaml import load',
        'eval("1")',
        'np.load(f)',
        'np.load(f, allow_pickle=True)',
        'torch.load(f)',
        'torch.load(f, weights_only=False)',
        'Image.open(f)',
        'tar.extractall()',
        'import runpy',
        'subprocess.run(c, shell=True)',
    ],
)
def test_what_is_unsafe_is_seen(source):
    assert unsafe_uses(source)
