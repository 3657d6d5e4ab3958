"""The table of an ablation study: what is paired, and what stands in its cells."""

import csv
import io

import pytest

from alexnet_jax.experiments.ablation_table import BASE, format_csv, format_markdown, make_rows
from alexnet_jax.experiments.published import PublishedDifference

ERRORS = {
    BASE: {0: (0.40, 0.10), 1: (0.42, 0.12), 2: (0.41, 0.11)},
    'no_lrn': {0: (0.41, 0.10), 1: (0.431, 0.12), 2: (0.419, 0.11), 3: (0.9, 0.9)},
    'own': {1: (0.30, 0.05)},
    'later': {},
}
PUBLISHED = {'no_lrn': PublishedDifference('1.4 / 1.2', 'section 3.3', top1=1.4), 'own': None, 'later': None}
ROWS = make_rows(ERRORS, PUBLISHED)


def test_only_seeds_of_both_are_paired():
    assert [row.name for row in ROWS] == [BASE, 'no_lrn', 'own', 'later']
    assert [row.top1 and row.top1.num_pairs for row in ROWS] == [None, 3, 1, None]
    assert ROWS[1].top1.mean == pytest.approx(1.0) and ROWS[1].top5.mean == pytest.approx(0)
    assert [row.verdict for row in ROWS] == ['', 'reproduced', 'one seed, which has no interval', 'not run yet']


def test_the_markdown_has_a_row_for_each_network():
    lines = format_markdown(ROWS, 'cifar10: 2 epochs').splitlines()
    assert lines[0] == 'cifar10: 2 epochs' and len({line.count('|') for line in lines if line.startswith('|')}) == 1
    assert lines[4] == '| base | 3 | 41.00 ± 1.00 | 11.00 ± 1.00 |  |  |  |  |'
    # 2.0 and 1.1 and 0.9 about 1.0: deviation 0.1, times 4.303 / sqrt(3).
    assert '| +1.00 [0.75, 1.25] | +0.00 [0.00, 0.00] | 1.4 / 1.2 | reproduced |' in lines[5]
    assert lines[6] == '| own | 1 | 30.00 | 5.00 | -12.00 | -7.00 | - | one seed, which has no interval |'
    assert lines[7] == '| later | 0 | - | - |  |  | - | not run yet |'


def test_the_csv_has_every_figure():
    base, no_lrn, own, later = csv.DictReader(io.StringIO(format_csv(ROWS)))
    assert (no_lrn['seeds'], no_lrn['pairs'], own['pairs'], later['pairs']) == ('0 1 2 3', '3', '1', '')
    assert no_lrn['top1_by_seed'] == '41 43.1 41.9 90' and no_lrn['published'] == '1.4 / 1.2'
    assert float(no_lrn['top1_difference']) == pytest.approx(1.0) and own['top1_difference_low'] == ''
    assert float(no_lrn['top1_difference_std']) == pytest.approx(0.1, abs=1e-4)
    assert base['verdict'] == '' and base['top1_difference'] == ''
