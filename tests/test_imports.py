"""Imports go downward only, and importing the package sets nothing and pulls in nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A file imports from lower levels and its own folder; folders on one level are strangers.
LEVELS = {
    'errors': 1,
    'exit_codes': 0,
    'runtime': 2,
    'distributed': 3,
    'data': 4,
    'models': 4,
    'prepare': 5,
    'evaluate': 6,
    'checkpoint': 6,
    'train': 7,
    'weights': 7,
    'report': 8,
    'analysis': 8,
    'experiments': 8,
    'config': 9,
    'cli': 10,
    'commands': 11,  # reads the config
    'network': 12,  # alexnet_jax.load: a run directory, a file or a preset
    '': 13,  # alexnet_jax/__init__.py
    'main': 14,
}
BANNED = {'tensorflow', 'torch', 'clu', 'pickle', 'cloudpickle', 'dill'}
HEAVY = {'tensorflow_datasets', 'orbax', 'matplotlib', 'skimage', 'grain', 'tensorboardX', 'PIL', 'simplejpeg', 'scipy'}
FILES = [ROOT / 'main.py', *sorted((ROOT / 'alexnet_jax').rglob('*.py'))]


def folder_of(file: Path) -> str:
    """Return the folder of a file: 'models' for alexnet_jax/models/layers.py, 'errors' for alexnet_jax/errors.py."""
    parts = file.relative_to(ROOT).with_suffix('').parts
    return parts[0] if parts[0] != 'alexnet_jax' else parts[1].replace('__init__', '')


def imported_modules(source: str) -> list[str]:
    """Return every module that a source imports, anywhere in it, by its full name as far as the syntax tells."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f'{"." * node.level}{node.module or ""}.{alias.name}' for alias in node.names]
    return names


def upward_imports(source: str, own: str) -> list[str]:
    """Return imports of the package that do not go downward, and relative ones, as they hide where they go."""
    wrong = [name for name in imported_modules(source) if name.startswith('.')]
    for name in imported_modules(source):
        package, *rest = name.split('.')
        if package in ('main', 'configs'):
            wrong.append(name)
        elif package == 'alexnet_jax':
            other = rest[0] if rest and rest[0] in LEVELS else ''
            if other != own and LEVELS[other] >= LEVELS[own]:
                wrong.append(name)
    return wrong


@pytest.mark.parametrize('file', FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_downward_only(file):
    assert folder_of(file) in LEVELS, f'{file} is in no known folder'
    assert upward_imports(file.read_text(), folder_of(file)) == []


@pytest.mark.parametrize(
    'source, own',
    [
        ('from alexnet_jax.train import loop', 'evaluate'),
        ('def late():\n    from alexnet_jax.data import images', 'models'),
        ('import alexnet_jax.commands', 'config'),
        ('from alexnet_jax.config import schema', 'train'),
        ('from . import layers', 'models'),
        ('import alexnet_jax', 'data'),
        ('from configs import default', 'config'),
    ],
)
def test_an_upward_or_sideways_arrow_is_found(source, own):
    assert upward_imports(source, own)


@pytest.mark.parametrize(
    'file', [*FILES, *sorted((ROOT / 'configs').glob('*.py'))], ids=lambda file: str(file.relative_to(ROOT))
)
def test_no_file_needs_another_framework_or_pickles(file):
    assert not BANNED & {name.split('.')[0] for name in imported_modules(file.read_text())}


def run_python(code: str):
    """Return what code prints as JSON in a new Python process."""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_pulls_in_nothing_heavy():
    loaded = run_python(
        'import json, sys, alexnet_jax; print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))'
    )
    # what jax and flax bring along themselves is not our doing
    brought = run_python(
        'import json, sys, flax.nnx; print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))'
    )
    assert not HEAVY & (set(loaded) - set(brought))


def test_starting_imports_no_jax_before_the_settings_are_made():
    assert run_python('import json, sys, main; print(json.dumps("jax" in sys.modules))') is False


PICTURES_AND_SOURCES = {'tensorflow_datasets', 'matplotlib', 'skimage', 'tensorboardX'}
UNNEEDED = {
    'help': PICTURES_AND_SOURCES | {'jax', 'flax', 'optax', 'orbax', 'grain'},
    'summary': PICTURES_AND_SOURCES | {'flax', 'optax', 'orbax', 'grain'},
    'verify': PICTURES_AND_SOURCES | {'flax', 'optax', 'grain'},
    'predict': PICTURES_AND_SOURCES,
    'features': PICTURES_AND_SOURCES,
}


@pytest.mark.parametrize('mode', UNNEEDED)
def test_a_mode_imports_what_it_needs_and_no_more(mode, trained, tmp_path):
    args = ['main.py', '--help' if mode == 'help' else f'--mode={mode}', '--config.machine.compilation_cache=']
    args += [f'--workdir={trained[1]}'] * (mode in ('verify', 'predict', 'features'))
    args += [f'--images={ROOT / "docs" / "quickstart.png"}'] * (mode in ('predict', 'features'))
    args += [f'--config.features.directory={tmp_path}'] * (mode == 'features')
    loaded = run_python(f"""
import json, sys, main
assert main.main({args!r}) == 0
print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))
""")
    assert not UNNEEDED[mode] & set(loaded)


def test_importing_every_module_sets_nothing_for_the_process():
    changed = run_python("""
import importlib, json, logging, os, pkgutil
import jax, flax.nnx, optax
import alexnet_jax
def state():
    loggers = {name: logging.getLogger(name).level for name in ('', 'alexnet_jax', 'absl', 'jax')}
    return {**os.environ, **loggers, **{name: repr(value) for name, value in jax.config.values.items()}}
before = state()
for module in pkgutil.walk_packages(alexnet_jax.__path__, 'alexnet_jax.'):
    importlib.import_module(module.name)
after = state()
print(json.dumps(sorted(name for name in after if after[name] != before.get(name))))
""")
    assert changed == []
