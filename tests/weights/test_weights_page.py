"""docs/weights.md: its recipes run as they stand, its files are there, and main.py takes its commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import main
from alexnet_jax.config import schema, validate
from alexnet_jax.weights import FORMATS, published

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'weights.md').read_text()
BLOCKS = [
    re.sub('^    ', '', block, flags=re.M)
    for block in re.findall(r'(?:^(?:    .*)?\n)+', PAGE, re.M)
    if '    ' in block
]


def block_with(text):
    (found,) = [block for block in BLOCKS if text in block]
    return found


def run_without_package(code, folder):
    """Run code where this package cannot be imported; return what it prints."""
    blocked = "import sys; sys.modules['alexnet_jax'] = None\n"
    done = subprocess.run(
        [sys.executable, '-c', blocked + code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_orbax_alone_opens_a_checkpoint_of_two_devices(trained, tmp_path):
    _, workdir = trained
    step = max(int(path.name) for path in (Path(workdir) / 'checkpoints').iterdir() if path.name.isdecimal())
    code = block_with('ocp.StandardCheckpointer').replace(
        '/tmp/alexnet/checkpoints/2344', f'{workdir}/checkpoints/{step}'
    )
    printed = run_without_package(
        code + "print(state['parameters']['conv1']['kernel'].shape, jax.device_count())", tmp_path
    )
    assert printed.split('\n')[0] == '(2, 7, 7, 3, 16) 1'


def test_tfds_opens_a_dataset_without_tensorflow(trained, tmp_path):
    code = block_with('builder_from_directory').replace('/tmp/alexnet/dataset', f'{trained[1]}/dataset')
    code += "print(len(source), source[0]['image'].shape, source[0]['label'], 'tensorflow' in sys.modules)"
    assert run_without_package(code, tmp_path).split('\n')[0].startswith('48 (64, 64, 3) ')


def test_a_loader_of_pytorch_goes_through_a_dataset(trained, tmp_path):
    pytest.importorskip('torch')
    code = block_with('builder_from_directory').replace('/tmp/alexnet/dataset', f'{trained[1]}/dataset')
    code += block_with('torch.utils.data.DataLoader') + '    print(tuple(batch["image"].shape), len(batch["id"]))\n'
    assert run_without_package(code, tmp_path).split('\n')[:2] == ['(32, 64, 64, 3) 32', '(16, 64, 64, 3) 16']


@pytest.mark.parametrize('command', re.findall(r'^    python (main\.py .*)$', PAGE, re.MULTILINE))
def test_main_takes_its_commands(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = main.parse_flags(shlex.split(command))
    validate.validate_values(given.config)
    assert given.mode in ('export', 'import')


def test_every_format_and_published_file_and_field_is_on_the_page():
    for ending in FORMATS:
        assert f'`{ending}`' in PAGE
    for each in published.PUBLISHED:
        assert f'`{each.file}` | `{each.preset}`' in PAGE
    for field in schema.FIELDS:
        assert not field.startswith('weights.') or f'`{field}`' in PAGE or f'--config.{field}' in PAGE


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(?:tests/weights/)?(test_\w+\.py)`', PAGE))))
def test_a_proof_that_is_named_is_there(name):
    assert (ROOT / 'tests' / 'weights' / name).exists()
