"""An evaluation leaves the errors by class, and its error beside the published one where the card has one."""

import csv
import json
import logging
import shutil

import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import run_dir
from alexnet_jax.commands.published_figures import compare_with_published
from alexnet_jax.errors import UserError
from alexnet_jax.experiments.published_errors import find_published


@pytest.mark.parametrize(('name', 'has_table'), [('quickstart', False), ('source145_2010', True)])
def test_an_evaluation_leaves_its_tables(trained, tmp_path, caplog, name, has_table):
    config, workdir = tiny_config(), tmp_path / 'run'
    shutil.copytree(trained[1], workdir)
    fields = json.loads((workdir / run_dir.CONFIG_FILE).read_text())
    (workdir / run_dir.CONFIG_FILE).write_text(json.dumps(fields | {'name': name}))
    config.evaluate.view_list = 'center,0:0'
    with caplog.at_level(logging.INFO):
        result = commands.run('evaluate', config, str(workdir))
    with open(workdir / 'errors_by_class.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    wrong = sum(float(row['top1_error']) * int(row['images']) for row in rows)
    assert sum(int(row['images']) for row in rows) == 20 and wrong / 20 == pytest.approx(result['top1_error'])
    assert result['views'] == 'center,0:0' and (workdir / 'comparison.md').exists() == has_table
    assert 'Most top-1 errors: ' in caplog.text
    assert ('(not the same: other images; other views)' in caplog.text) == has_table


def test_the_same_images_and_views_are_compared_without_reserve(tmp_path):
    result = {'top1_error': 0.38, 'top5_error': 0.17, 'views': 10, 'split': 'test', 'images': 150_000, 'classes': 1000}
    published = find_published('source145_2010', 10)
    sentence = compare_with_published(tmp_path, 'source145_2010', published, result, 'imagenet2010')
    assert sentence.endswith('ours differs by +0.53 and +0.00 points.')
    assert 'As many images and classes, and the same views.' in (tmp_path / 'comparison.md').read_text()
    assert compare_with_published(tmp_path, 'quickstart', None, result, 'cutouts') == ''


def test_several_runs_are_for_the_mode_that_averages_them(tmp_path):
    with pytest.raises(UserError, match='seed. names several runs; --mode=ensemble scores each'):
        commands.run('evaluate', tiny_config(), f'{tmp_path}/seed*')
