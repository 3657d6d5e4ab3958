"""result.json and its sentence, which says so if the error does not beat the baseline."""

import json
import os

import numpy as np
import pytest
from scipy import stats

from alexnet_jax.report import run_result

FIELDS = {
    'top1_error', 'top5_error', 'loss', 'split', 'views', 'images', 'interval', 'baseline', 'epochs', 'seconds',
    'images_per_second', 'checkpoint_step', 'classes', 'note',
}  # fmt: skip


def make_result(**changes):
    error_rates = {'loss': 0.61, 'top1_error': 0.175, 'top5_error': 0.02, 'images': 1000}
    error_rates |= {name: changes.pop(name) for name in list(changes) if name in error_rates}
    baseline = {'statistics': 0.888, 'pixels': 0.8, 'best': 0.8, 'kind': 'pixels'}
    cost = run_result.TrainingCost(changes.pop('checkpoint_step', 1432), 22.9, 230.4, 795.2)
    others = {'split': 'test', 'views': 10, 'baseline': baseline, 'num_classes': 10}
    return run_result.build_result(error_rates, cost, **{**others, **changes})


def test_the_result_holds_every_figure_and_the_interval():
    result = make_result()
    assert set(result) == FIELDS
    expected = stats.binomtest(175, 1000).proportion_ci(0.95, method='wilson')
    assert result['interval']['low'] == pytest.approx(expected.low)
    assert result['interval']['high'] == pytest.approx(expected.high)
    assert (result['images'], result['checkpoint_step'], result['baseline']['pixels']) == (1000, 1432, 0.8)


def test_the_sentence_says_figure_images_interval_chance_and_baseline():
    sentence = run_result.summarize_result(make_result())
    for part in ('17.5 % top-1 error', '1,000 test images', 'ten views', '15.3 % to 20.0 %', 'chance 90.0 %'):
        assert part in sentence
    for part in ('22.9 epochs', '3:50 min', '80.0 % of nearest neighbors on 16x16 pixels'):
        assert part in sentence
    assert 'NOT' not in sentence
    assert sentence.endswith('.') and '\n' not in sentence
    assert 'center view' in run_result.summarize_result(make_result(views=1))


@pytest.mark.parametrize(('error', 'beats'), [(0.77, True), (0.78, False), (0.8, False), (0.9, False)])
def test_a_figure_whose_interval_reaches_the_baseline_is_called_out(error, beats):
    result = make_result(top1_error=error)
    assert run_result.beats_baseline(result) == beats == (result['interval']['high'] < 0.8)
    assert ('NOT clearly below' in run_result.summarize_result(result)) == (not beats)


def test_few_images_prove_little():
    assert not run_result.beats_baseline(make_result(top1_error=0.6, images=10))
    assert run_result.beats_baseline(make_result(top1_error=0.6, images=1000))


def test_a_note_on_the_splits_stands_in_both():
    note = 'The source has two splits: its test images also steered.'
    result = make_result(note=note)
    assert result['note'] == note
    assert run_result.summarize_result(result).endswith('(The source has two splits: its test images also steered).')


def test_the_file_is_sorted_and_read_back_as_it_was(tmp_path):
    result = make_result()
    file = run_result.write_result(tmp_path, result)
    text = file.read_text()
    assert file == tmp_path / 'result.json'
    assert json.loads(text) == result
    assert text == json.dumps(result, sort_keys=True, indent=2) + '\n'
    assert os.listdir(tmp_path) == ['result.json']


def test_a_loss_that_is_not_finite_leaves_valid_json(tmp_path):
    text = run_result.write_result(tmp_path, make_result(loss=float('nan'))).read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(f'{word} is no JSON'))['loss'] is None


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    run_result.write_result(tmp_path, make_result())
    old = (tmp_path / 'result.json').read_bytes()

    def full(number):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        run_result.write_result(tmp_path, make_result(top1_error=0.5))
    assert (tmp_path / 'result.json').read_bytes() == old
    assert os.listdir(tmp_path) == ['result.json']


def test_numbers_of_numpy_are_written_too(tmp_path):
    result = make_result(checkpoint_step=int(np.int64(3)), top1_error=np.float64(0.25))
    assert json.loads(run_result.write_result(tmp_path, result).read_text())['top1_error'] == 0.25
