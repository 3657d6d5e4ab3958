"""--mode=figures: each figure with its numbers beside it, of one run and of several, and what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

import main
from alexnet_jax import commands
from alexnet_jax.commands import figures
from alexnet_jax.commands.figures import FIGURES
from alexnet_jax.errors import UserError

QUICK = 'architecture,kernels,specialization,curves'


def figures_config(folder='', **fields):
    config = tiny_config()
    config.figures.directory = str(folder)
    config.figures.update(fields)
    return config


def read_rows(file):
    with open(file, newline='') as opened:
        return list(csv.DictReader(opened))


def test_figures_of_the_run_as_a_whole(trained, tmp_path):
    result = commands.run('figures', figures_config(tmp_path / 'f', names=QUICK), trained[1])
    assert result == {'directory': str(tmp_path / 'f'), 'figures': QUICK.split(',')}
    for name in QUICK.split(','):
        with Image.open(tmp_path / 'f' / f'{name}.png') as picture:
            assert picture.width > 800
    kernel = np.load(tmp_path / 'f' / 'kernels.npz')['kernel']
    assert kernel.shape == (2, 7, 7, 3, 16)
    tests = {row['measure']: row for row in read_rows(tmp_path / 'f' / 'specialization.csv')}
    kernels = read_rows(tmp_path / 'f' / 'specialization_kernels.csv')
    assert len(kernels) == 32
    means = [np.mean([float(row['color']) for row in kernels if row['column'] == column]) for column in 'ab']
    assert float(tests['color']['difference']) == pytest.approx(abs(means[0] - means[1]))
    assert 0 < float(tests['color']['p_value']) <= 1
    series = {row['series'] for row in read_rows(tmp_path / 'f' / 'curves.csv')}
    assert series == {'loss', 'top1_error', 'validation_loss', 'validation_top1_error'}


def test_several_runs_are_laid_over_each_other(trained, tmp_path):
    for seed in (0, 1):
        copy = tmp_path / f'seed{seed}'
        shutil.copytree(trained[1], copy, ignore=shutil.ignore_patterns('dataset'))
        run = json.loads((copy / 'run.json').read_text())
        run['deciding']['seed'] = seed
        (copy / 'run.json').write_text(json.dumps(run))
    pattern = str(tmp_path / 'seed*')
    result = commands.run('figures', figures_config(tmp_path / 'f'), pattern)
    assert result['figures'] == ['specialization', 'curves']
    rows = read_rows(tmp_path / 'f' / 'specialization.csv')
    assert [row['run'] for row in rows[::3]] == ['quickstart seed 0', 'quickstart seed 1']
    curves = read_rows(tmp_path / 'f' / 'curves.csv')
    assert {row['run'] for row in curves} == {'quickstart'} and {row['seeds'] for row in curves} == {'2'}
    with pytest.raises(UserError, match='kernels shows one run, and --workdir=.* names 2'):
        commands.run('figures', figures_config(tmp_path / 'f', names='curves,kernels'), pattern)
    with pytest.raises(UserError, match='names 2 runs; say where their figures go'):
        commands.run('figures', figures_config(), pattern)


def test_without_the_dataset_all_figures_are_those_that_need_no_images(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(
        figures, 'FIGURES', {name: each._replace(draw=lambda *_: None) for name, each in FIGURES.items()}
    )
    run, config = tmp_path / 'run', figures_config(tmp_path / 'f')
    shutil.copytree(trained[1], run, ignore=shutil.ignore_patterns('dataset'))
    config.evaluate.checkpoint = '6'

    def left_out():
        return set(FIGURES) - set(commands.run('figures', config, str(run))['figures'])

    images = {'answers', 'neighbors', 'feature_maps', 'saliency', 'excitation'}
    assert left_out() == images
    (run / 'predictions.csv').unlink()
    assert left_out() == {*images, 'confusion'}
    (tmp_path / 'mine').mkdir()
    for number in range(6):
        Image.new('RGB', (80, 80)).save(tmp_path / 'mine' / f'{number}.png')
    config.predict.images = str(tmp_path / 'mine')
    assert left_out() == {'confusion'}
    (tmp_path / 'mine' / '5.png').unlink()
    assert left_out() == {'confusion', 'neighbors'}
    config.figures.names = 'kernels,neighbors'
    with pytest.raises(UserError, match='neighbors shows the images nearest to 5 others, and .*mine has no more than'):
        commands.run('figures', config, str(run))


def test_wrong_names_are_refused_before_work(trained, tmp_path, capsys):
    with pytest.raises(UserError, match='There is no figure kernel; config.figures.names takes architecture, kernels'):
        commands.run('figures', figures_config(tmp_path / 'f', names='kernel'), trained[1])
    with pytest.raises(UserError, match='has no trained run'):
        commands.run('figures', figures_config(tmp_path / 'f'), str(tmp_path))
    assert not (tmp_path / 'f').exists()
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'file/f cannot be created \(Not a directory\)'):
        commands.run('figures', figures_config(tmp_path / 'file' / 'f', names='curves'), trained[1])
    assert main.main(['main.py', '--mode=figures', f'--workdir={trained[1]}', '--config.figures.maps=3,x']) == 2
    assert "numbers of maps from 0 such as '3,17'" in capsys.readouterr().err


@pytest.mark.extended
def test_every_figure_and_its_numbers(trained, tmp_path):
    result = commands.run('figures', figures_config(tmp_path / 'f', max_images=8, steps=4), trained[1])
    assert result['figures'] == list(FIGURES)
    for name in FIGURES:
        with Image.open(tmp_path / 'f' / f'{name}.png') as picture:
            assert picture.width > 800, name
    folder = tmp_path / 'f'
    answers = read_rows(folder / 'answers.csv')
    assert len(answers) == 8 * 5
    for first in range(0, 40, 5):
        probabilities = [float(row['probability']) for row in answers[first : first + 5]]
        assert probabilities == sorted(probabilities, reverse=True)
    assert len(read_rows(folder / 'neighbors.csv')) == 5 * 6
    assert sum(int(row['images']) for row in read_rows(folder / 'confusion.csv')) == 20
    maps = np.load(folder / 'feature_maps.npz')
    assert maps['relu1'].shape == (26, 26, 32) and maps['relu1'].min() >= 0
    saliency = np.load(folder / 'saliency.npz')
    assert saliency['gradients'].shape == (8, 56, 56, 3) and np.abs(saliency['gradients']).max() > 0
    excitation, rows = np.load(folder / 'excitation.npz'), read_rows(folder / 'excitation.csv')
    assert len(rows) == 8 * 6 and excitation['optimized'].shape == (8, 56, 56, 3)
    assert (excitation['activation_by_step'][-1] > excitation['activation_by_step'][0]).all()


@pytest.mark.extended
def test_images_of_ones_own_and_a_chosen_map(trained, tmp_path):
    (tmp_path / 'mine').mkdir()
    chance = np.random.default_rng(0)
    for number in range(9):
        Image.fromarray(chance.integers(0, 256, (80, 70, 3), np.uint8)).save(tmp_path / 'mine' / f'{number}.png')
    (tmp_path / 'mine' / '0a.png').write_bytes(b'no image')
    config = figures_config(tmp_path / 'f', names='answers,excitation', layer='conv2', maps='3,40', steps=2)
    config.predict.images = str(tmp_path / 'mine')
    commands.run('figures', config, trained[1])
    assert {row['image'] for row in read_rows(tmp_path / 'f' / 'answers.csv')} == {f'{n}.png' for n in range(8)}
    rows = read_rows(tmp_path / 'f' / 'excitation.csv')
    assert {row['map'] for row in rows} == {'3', '40'} and len(rows) == 12
    config.figures.maps = '64'
    with pytest.raises(UserError, match='conv2 has the maps 0 to 63, so there is no map 64'):
        commands.run('figures', config, trained[1])
