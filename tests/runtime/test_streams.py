"""Standard streams that are closed, are no files, or cannot show a character."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import io, logging, os, sys
from alexnet_jax.runtime import environment, streams
class Cell(io.TextIOBase):  # as of a notebook: write and flush, and no number
    def write(self, text): return real.write(text)
"""


def python(code, redirection='', **environment):
    """Return status, stdout and stderr, in bytes, of Python in a shell."""
    done = subprocess.run(
        ['bash', '-c', f'"$0" -c "$1" {redirection}', sys.executable, BEGIN + code],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        env={'PATH': '/usr/bin:/bin', **environment},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize('redirection', ['', '<&-', '>&-', '2>&-', '<&- >&- 2>&-'])
def test_a_file_never_takes_the_number_of_a_closed_stream(redirection):
    code = """
environment.configure_logging()
with open('/dev/null') as file:
    first = file.fileno()
logging.getLogger('alexnet_jax').info('line')
streams.print_error('sentence')
os._exit(0 if first > 2 else 9)
"""
    status, out, err = python(code, redirection)
    assert status == 0
    assert out == (b'' if '>&- ' in f'{redirection} '.replace('2>&-', '') else b'line\n')
    assert err == (b'' if '2>&-' in redirection else b'sentence\n')


def test_a_stream_without_a_number_is_taken_as_it_is():
    code = """
real, sys.stdout = sys.stdout, Cell()
environment.configure_logging()
logging.getLogger('alexnet_jax').info('shown in the cell')
"""
    assert python(code) == (0, b'shown in the cell\n', b'')


def test_a_terminal_that_lacks_a_character_gets_it_escaped():
    code = r"""
environment.configure_logging()
logging.getLogger('alexnet_jax').info('wrote /runs/\u017c\u00f3\u0142w and \udcfe')
streams.print_error('no \u732b')
"""
    status, out, err = python(code, PYTHONIOENCODING='ascii')
    assert (status, out, err) == (0, b'wrote /runs/\\u017c\\xf3\\u0142w and \\udcfe\n', b'no \\u732b\n')
