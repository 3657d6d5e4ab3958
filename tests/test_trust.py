"""What docs/trust.md names is there: tests, files, scripts, statuses."""

import re
from pathlib import Path

from alexnet_jax.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parent.parent
TRUST = (ROOT / 'docs' / 'trust.md').read_text()
QUOTED = re.findall(r'`([^`]+)`', TRUST)


def rows():
    """The promises with what proves them."""
    tables = re.findall(r'^\| promise \| proven by \|\n\|---\|---\|\n((?:\|.*\n)+)', TRUST, re.M)
    return [line.strip('|').rsplit(' | ', 1) for table in tables for line in table.splitlines()]


def test_every_test_that_is_named_is_one_of_the_suite():
    known = set(re.findall(r'^def (test_\w+)', ''.join(f.read_text() for f in (ROOT / 'tests').rglob('*.py')), re.M))
    named = {word for word in QUOTED if word.startswith('test_')}
    assert len(named) > 20 and named - known == set()


def test_every_file_that_is_named_is_there():
    named = re.findall(r'\b(?:tests|benchmarks|docs|configs)/[\w./-]+\.(?:py|md)', TRUST)
    assert len(named) > 6 and [name for name in named if not (ROOT / name).is_file()] == []


def test_every_promise_has_its_proof():
    assert len(rows()) > 20
    assert [promise for promise, proof in rows() if not re.search(r'`(test_\w+|tests/[\w/]+\.py)`', proof)] == []


def test_every_exit_status_of_the_program_is_listed():
    listed = {int(number) for row in re.findall(r'^\| ([\d, ]+) \|', TRUST, re.M) for number in row.split(',')}
    assert set(ExitCode) <= listed
