"""What figures are drawn of: predictions of the evaluation that is asked for alone, images of the network's classes."""

import shutil
from types import SimpleNamespace

import pytest
from tiny_run import open_source

from alexnet_jax.commands import figure_source
from alexnet_jax.errors import UserError


def copy_source(trained, folder, *without, **fields):
    """A copy of the run at its last step, without some of its files."""
    shutil.copytree(trained[1], folder, ignore=shutil.ignore_patterns(*without))
    return open_source(folder, **fields)


def replace_dataset(source, other):
    file = source.folder / 'predictions.csv'
    text = file.read_text()
    assert source.info.checksum in text
    file.write_text(text.replace(source.info.checksum, other))


def test_stored_predictions_are_of_the_dataset_at_hand(trained, tmp_path):
    source = copy_source(trained, tmp_path / 'run')
    assert source.stored_predictions.key == source.evaluation_key == ('test', 1, 6, source.info.checksum)
    for other in ('c0ffee', ''):
        source = copy_source(trained, tmp_path / f'other{other}')
        replace_dataset(source, other)
        assert source.stored_predictions is None


def test_without_the_dataset_stored_predictions_are_of_the_one_of_the_training(trained, tmp_path):
    source = copy_source(trained, tmp_path / 'run', 'dataset')
    assert source.dataset is None and source.stored_predictions
    replace_dataset(source, 'c0ffee')
    assert open_source(source.folder).stored_predictions is None


def test_a_split_that_is_not_there_is_the_one_that_is_reported_instead(trained, tmp_path):
    source = copy_source(trained, tmp_path / 'run')
    source.dataset = SimpleNamespace(counts={'train': 4, 'validation': 2}, checksum='c0ffee')
    assert source.evaluation_key == ('validation', 1, 6, 'c0ffee')


def test_what_cannot_be_evaluated_again_is_said(trained, tmp_path):
    source = copy_source(trained, tmp_path / 'run', 'predictions.csv')
    source.evaluation_key = source.evaluation_key._replace(dataset='c0ffee')
    with pytest.raises(UserError, match='is another dataset than the one that was evaluated'):
        _ = source.scored
    source.evaluation_key = source.evaluation_key._replace(dataset=source.info.checksum, checkpoint_step=4)
    source.run = SimpleNamespace(step=6)
    with pytest.raises(UserError, match='the checkpoint of step 4, which was evaluated, is gone'):
        _ = source.scored


def test_images_of_other_classes_are_refused(trained, tmp_path, monkeypatch):
    source = copy_source(trained, tmp_path / 'run')
    other = SimpleNamespace(class_names=('oak', *source.info.class_names[1:]), source='/elsewhere')
    monkeypatch.setattr(figure_source, 'open_images', lambda *arguments: other)
    with pytest.raises(UserError, match='/elsewhere has other classes .* the network has no class oak'):
        _ = source.images


def test_metrics_of_a_checkpoint_end_at_its_step(trained):
    steps = [row['step'] for row in open_source(trained[1]).metric_rows]
    assert steps[-1] == 6
    assert [row['step'] for row in open_source(trained[1], step='4').metric_rows] == [s for s in steps if s <= 4] != []
