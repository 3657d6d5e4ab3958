"""The reported figure: impossible choices are refused before the first step, and it may change on resuming."""

import json
import os
import shutil
import signal

import pytest
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import evaluate, final_report, run_dir
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import signals
from alexnet_jax.train import loop, metrics_writer

pytestmark = pytest.mark.usefixtures('module_without_plots')


def make_config(dataset='', **fields):
    config = tiny_config()
    config.data.directory = str(dataset)
    config.update_from_flattened_dict({name.replace('__', '.'): value for name, value in fields.items()})
    return config


@pytest.fixture(scope='module')
def split_datasets(tmp_path_factory):
    """A dataset that has only train, and one that has a test split too."""
    home = tmp_path_factory.mktemp('figure')
    for name in ('a', 'b'):
        (home / 'pictures' / name).mkdir(parents=True)
        for number in range(8):
            file = home / 'pictures' / name / f'{number}.png'
            Image.new('RGB', (64, 64), (20 * number, 90, 0)).save(file)
    shares = {'only_train': 0.0, 'with_test': 0.4}
    for name, share in shares.items():
        fields = {'prepare__source': 'folder', 'prepare__path': str(home / 'pictures')}
        fields |= {'prepare__test_fraction': share, 'prepare__validation_fraction': 0.0}
        commands.run('prepare', make_config(home / name, **fields))
    return home


@pytest.mark.parametrize(
    'dataset, checkpoint, message',
    [
        ('only_train', 'final', 'has only train, but an error rate .*--config.evaluate.split=train'),
        ('with_test', 'best', 'has only train, test. Set --config.evaluate.checkpoint=final'),
        ('with_test', '7', r'No checkpoint will be kept for config.evaluate.checkpoint=7 \(kept: 2, best\)'),
        ('with_test', '1', 'No checkpoint will be kept for config.evaluate.checkpoint=1 '),
        ('with_test', '0', 'No checkpoint will be kept for config.evaluate.checkpoint=0 '),
    ],
)
def test_a_figure_that_cannot_be_is_refused_before_the_folder_is_made(
    split_datasets, tmp_path, dataset, checkpoint, message
):
    config = make_config(split_datasets / dataset, evaluate__checkpoint=checkpoint, train__num_epochs=1.5)
    with pytest.raises(UserError, match=message):
        commands.run('train', config, str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_the_training_images_are_scored_where_that_is_asked_for():
    config = make_config(evaluate__split='train')
    evaluate.check_report_split(config, {'train': 16})
    assert evaluate.report_split(config, {'train': 16}) == 'train'


def test_the_reported_figure_may_be_another_on_resuming_and_the_training_is_the_same(trained, tmp_path, monkeypatch):
    """Six steps, validated after the third; the report's fields change after a signal, and after the end."""
    dataset, asked = f'{trained[1]}/dataset', []

    def run(name, **fields):
        result = commands.run('train', make_config(dataset, evaluate__every_epochs=0.5, **fields), str(tmp_path / name))
        return result['checkpoint_step'], result['split'], result['views']

    assert run('whole') == (6, 'test', 1)

    def bar(self, done, total, **shown):
        if done == 2 and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))

    monkeypatch.setattr(metrics_writer.MetricsWriter, 'update_progress', bar)
    with pytest.raises(signals.StoppedGracefully):
        run('broken')
    with pytest.raises(
        UserError, match=r'No checkpoint will be kept for config.evaluate.checkpoint=4 \(kept: 3, 6, best\)'
    ):
        run('broken', evaluate__checkpoint='4')
    other = {'evaluate__split': 'validation', 'evaluate__views': 10}
    assert run('broken', evaluate__checkpoint='3', **other) == (3, 'validation', 10)
    with pytest.raises(UserError, match='No checkpoint will be kept for config.evaluate.checkpoint=5 '):
        run('broken', evaluate__checkpoint='5')
    assert run('broken') == (6, 'test', 1)
    metrics = [(tmp_path / name / metrics_writer.METRICS_FILE).read_bytes() for name in ('whole', 'broken')]
    assert metrics[0] == metrics[1]
    results = [json.loads((tmp_path / name / 'result.json').read_text()) for name in ('whole', 'broken')]
    assert results[0]['top1_error'] == results[1]['top1_error'] and results[0]['loss'] == results[1]['loss']


def test_a_run_of_an_earlier_version_which_kept_the_figure_with_what_decides_goes_on(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / 'run')
    file = tmp_path / 'run' / run_dir.RUN_FILE
    run = json.loads(file.read_text())
    run['deciding'] |= {'evaluate.views': 10, 'evaluate.split': 'test', 'evaluate.checkpoint': 'best'}
    file.write_text(json.dumps(run))
    result = commands.run(
        'train', make_config(run['data.directory'], evaluate__split='validation'), str(tmp_path / 'run')
    )
    assert result['split'] == 'validation'
    assert 'evaluate.views' not in json.loads(file.read_text())['deciding']


def plan(last, save_every, evaluate_every):
    return loop.LoopSchedule(last, 1, evaluate_every, save_every, float, lambda done: None, float)


@pytest.mark.parametrize(
    'step, keep, saved, ended, is_kept',
    [
        (100, 0, [], False, True),
        (90, 0, [], False, True),  # the last two are kept
        (80, 0, [], False, False),
        (80, 40, [], False, True),
        (45, 45, [], False, False),  # nothing is saved there
        (101, 0, [], False, False),
        (120, 40, [], False, False),
        (40, 40, [60, 70], False, False),  # it went by
        (40, 40, [40, 60, 70], False, True),
        (70, 0, [60, 70], False, False),  # it is there, and will not stay
        (95, 0, [90, 95], False, True),  # where a signal stopped the run, which has one more to save
        (90, 0, [90, 95], False, False),
        (70, 0, [70, 90, 100], True, True),
        (80, 80, [70, 90, 100], True, False),
    ],
)
def test_a_step_is_taken_where_its_checkpoint_will_be_there_at_the_end(step, keep, saved, ended, is_kept):
    config = make_config(evaluate__checkpoint=str(step), checkpoint__keep_every_steps=keep)
    try:
        evaluate.check_report_step(config, plan(100, 10, 0), saved, ended=ended)
    except UserError as error:
        assert not is_kept and str(error).endswith('.')
    else:
        assert is_kept


def test_the_note_on_a_figure_says_why_that_split_is_reported():
    counts = {'train': 8, 'validation': 2, 'test': 2}
    assert final_report.split_note('test', counts) == ''
    assert (
        final_report.split_note('train', counts)
        == 'measured on the train split, as config.evaluate.split says; the network was trained on it'
    )
    assert 'as there is no test split' in final_report.split_note('validation', {'train': 8, 'validation': 2})
