"""Benchmarks go on from their own results and end with their figure."""

import importlib.util
import math
import os
from pathlib import Path

import pytest

from alexnet_jax.data import image_io

FOLDER = Path(__file__).resolve().parent.parent / 'benchmarks'


def script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_line_torn_by_a_kill_is_passed_over_and_the_next_one_stands_alone(tmp_path):
    results_file, results = script('results_file'), tmp_path / 'folder' / 'results.jsonl'
    assert results_file.read_rows(results) == []
    results_file.append_row(results, {'seed': 0})
    with open(results, 'a') as file:
        file.write('{"seed": 1, "sta')
    results_file.append_row(results, {'seed': 1})
    assert results_file.read_rows(results) == [{'seed': 0}, {'seed': 1}]


def test_the_figure_counts_the_seeds_that_start_and_says_when():
    seeds = script('seeds_that_start')
    rows = [{'initialization': 'he', 'started': started} for started in (30, None, 10, 50)]
    rows += [{'initialization': 'paper', 'started': None}]
    assert seeds.summarize_seeds(rows, ['he', 'paper']) == (
        'he: 3 of 4 start (after 10 to 50 steps, median 30); paper: 0 of 1 start'
    )


def test_the_comparison_takes_the_median_of_the_rounds_and_pytorchs_best():
    compare = script('compare_pytorch')
    seconds = {
        'ours': [1.0, 2.0, 1.0],
        'reference': [3.0, 3.0, 3.0],
        'torch eager library nchw': [2.0, 3.0, 1.0],
        'torch eager hand last': [1.0, 2.5, 1.2],
        'torch compiled hand last': [0.9, 1.8, 0.9],
    }
    rounds = [{name: each[number] for name, each in seconds.items()} for number in range(3)]
    # Turns that others disturbed are missing.
    rounds.append({'ours': 1.0, 'reference': 100.0})
    found = compare.time_ratios(rounds)
    assert found == {
        'ours': 1.0,
        'reference': 3.0,
        'torch eager library nchw': 1.5,
        'torch eager hand last': 1.2,
        'torch compiled hand last': 0.9,
    }
    assert compare.fastest_torch(found, 'eager', 'library') == ('torch eager library nchw', 1.5)
    assert compare.fastest_torch(found) == ('torch compiled hand last', 0.9)
    rows = [{'what': what, 'batch': 32, 'rounds': rounds} for what in ('train', 'ten')]
    assert compare.format_figure(rows) == (
        'training at batch 32: 1.50 times the rate of PyTorch as its users write it (torch eager library nchw), '
        '0.90 times its best (torch compiled hand last)'
    )


def test_turns_that_others_disturb_are_repeated_and_every_second_round_goes_backward(monkeypatch):
    quiet, order = script('quiet'), []
    others = iter([0.0, 0.5, 0.0, 0.0] + [0.9] * quiet.MAX_TRIES)
    monkeypatch.setattr(quiet, 'wait_for_quiet', lambda: None)
    monkeypatch.setattr(quiet, 'time_call', lambda call, processes: (call(), (3.0, next(others)))[1])
    runners = {name: lambda name=name: order.append(name) for name in 'ab'}
    rounds, discarded = quiet.time_in_turn(runners, 2, calls=2)
    assert rounds == [{'a': 1.5, 'b': 1.5}, {'b': 1.5}] and discarded == 1 + quiet.MAX_TRIES
    assert order == ['a'] * 2 + ['b'] * 6 + ['a'] * 2 * quiet.MAX_TRIES
    assert quiet.compare_rounds(rounds, 'a', 'b') == (1.0, 1.0, 1.0) and quiet.seconds_of(rounds, 'a') == [1.5]


def test_the_cores_of_others_are_seen():
    quiet = script('quiet')
    if quiet.busy_seconds() is not None:
        seconds, others = quiet.time_call(lambda: sum(range(1000)))
        assert seconds > 0 and 0 <= others


def test_each_side_is_held_against_the_range_of_the_others():
    cutouts = script('twin_cutouts')
    rows = [{'side': 'float32', 'error': error} for error in (0.2, 0.3, 0.4)]
    rows += [{'side': 'torch', 'error': error} for error in (0.1, 0.3, 0.35)]
    assert cutouts.format_figure(rows, ['float32', 'torch', 'bfloat16']) == (
        'test error: float32 30.0% (20.0% to 40.0%, 3 seeds); torch 25.0% (10.0% to 35.0%, 3 seeds); '
        'means against ranges: float32 within torch, torch within float32'
    )
    assert cutouts.make_row(0.5, [2.0] * 10 + [1.0] * 10, 3.14)['losses'][-1] == 1.0


def test_a_start_is_told_by_its_medians():
    starts = script('start_time')
    times = [{'words': 1.0, 'step': 5.0}, {'words': 3.0, 'step': 9.0}, {'words': 2.0, 'step': 6.0}]
    row = {'card': 'paper', 'cold': times, 'warm': times[:1], 'prepared': [{'words': 1.0, 'step': 20.0}]}
    assert starts.summarize_starts([row]) == (
        'from command to the end of the first step: paper: cold 6.0 s (first output 2.0 s), '
        'warm 5.0 s (first output 1.0 s), with preparation 20.0 s'
    )


def test_the_figure_of_features_says_memory_equality_and_median_rates(tmp_path):
    features = script('features')
    rates = {'ours': [10.0, 30.0, 20.0], 'torch': [15.0, 10.0, 11.0]}
    extractions = {'500': {'peak_mib': 1600.4}, '1,000': {'peak_mib': 1599.0}}
    assert features.format_figure(extractions, False, rates) == (
        'peak memory 1,600 MiB for 500 images, 1,599 MiB for 1,000 images; after 2 kills NOT EQUAL to the bit; '
        'images/s: ours 20.0, torch 11.0'
    )
    for name, content in (('a', 'x'), ('b', 'x'), ('c', 'y')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'fc7.npy').write_text(content)
    assert features.same_files(tmp_path / 'a', tmp_path / 'b')
    assert not features.same_files(tmp_path / 'a', tmp_path / 'c')


def test_the_cores_of_processes_that_work_for_the_caller_are_its_own():
    quiet = script('quiet')
    if quiet.busy_seconds() is not None:
        before = quiet.own_seconds([])
        assert quiet.own_seconds([os.getpid()]) >= before + before / 2


def test_rows_count_for_epochs_by_their_share():
    figure1 = script('figure1')
    rows = [
        {'step': 4, 'epoch': 0.8, 'top1_error': 0.9},
        {'step': 4, 'validation_top1_error': 0.1},
        {'step': 8, 'epoch': 1.6, 'top1_error': 0.5},
        {'step': 20, 'epoch': 4.0, 'top1_error': 0.3},
        {'step': 21, 'epoch': 4.2, 'top1_error': 0.0},
    ]
    expected = [0.8 * 0.9 + 0.2 * 0.5, 0.6 * 0.5 + 0.4 * 0.3, 0.3, 0.3]
    assert figure1.errors_by_epoch(rows) == pytest.approx(expected)
    assert figure1.errors_by_epoch(rows[:1]) == figure1.errors_by_epoch([]) == []


def test_the_target_is_reached_between_the_middles_of_two_epochs():
    figure1 = script('figure1')
    assert figure1.epochs_to_target([0.6, 0.35, 0.15, 0.3]) == pytest.approx(2.0)
    assert figure1.epochs_to_target([0.2]) == 0.5 and figure1.epochs_to_target([0.5, 0.26]) == math.inf


class FakeRuns:
    """A figure whose runs lower the error by 20 times the rate in each epoch, and diverge above a rate of 0.003."""

    def __init__(self, figure1):
        self.figure, self.asked = figure1.Figure(Path('nowhere'), Path('nowhere'), ()), []
        self.figure.run = self.run

    def run(self, activation, rate, seed, epochs):
        self.asked.append(rate)
        return [0.9 - 20 * rate * epoch for epoch in range(epochs if rate < 0.003 else 1)]


def test_the_search_goes_beyond_its_rates_until_the_best_has_worse_on_both_sides():
    runs = FakeRuns(script('figure1'))
    assert runs.figure.find_rate('tanh', [0.0005, 0.001], 5) == 0.002
    assert runs.asked == [0.0005, 0.001, 0.002, 0.004]


def test_a_search_whose_runs_all_end_early_says_so():
    runs = FakeRuns(script('figure1'))
    with pytest.raises(SystemExit, match='No rate trained tanh for 5 epochs'):
        runs.figure.find_rate('tanh', [0.01, 0.02], 5)


TRAINER = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
folder = sys.argv[1].partition('=')[2]
number = sum(1 for _ in open(folder + '/metrics.jsonl')) if {resumes} else 0
while True:
    number += 1
    with open(folder + '/metrics.jsonl', 'a') as file:
        file.write(json.dumps({'step': number, 'epoch': float(number), 'top1_error': 1 / number}) + chr(10))
    if number == 9:
        sys.exit({status})
    time.sleep(0.02)
"""


def test_a_run_is_stopped_when_it_has_enough_and_goes_on_when_more_is_asked(tmp_path, monkeypatch):
    figure1 = script('figure1')
    monkeypatch.setattr(figure1, 'ROOT', tmp_path)
    monkeypatch.setattr(figure1, 'POLL_SECONDS', 0.01)
    folder = tmp_path / 'run'
    trainer = TRAINER.replace('{status}', '4')
    (tmp_path / 'main.py').write_text(trainer.replace('{resumes}', 'False'))
    errors = figure1.train_until(folder, (), lambda errors: len(errors) >= 2)
    assert 2 <= len(errors) < 9 and errors[:2] == [1, 0.5]
    (tmp_path / 'main.py').write_text('print("It failed."); raise SystemExit(1)')
    assert figure1.train_until(folder, (), lambda errors: len(errors) >= 2) == errors
    with pytest.raises(SystemExit, match=r'ended with status 1; the last line of .*output\.log is: It failed\.'):
        figure1.train_until(folder, (), lambda errors: False)
    (tmp_path / 'main.py').write_text(trainer.replace('{resumes}', 'True'))
    # Its loss is not finite after nine epochs.
    assert figure1.train_until(folder, (), lambda errors: False) == pytest.approx([1 / n for n in range(1, 10)])


def test_the_figure_is_the_ratio_of_epochs_by_seed(tmp_path):
    figure1 = script('figure1')
    curves = {
        ('relu', 0.1, 0): [0.9],
        ('relu', 0.2, 0): [0.35, 0.15],
        ('relu', 0.2, 1): [0.4, 0.3, 0.2],
        ('tanh', 0.1, 0): [0.8, 0.35, 0.15],
        ('tanh', 0.1, 1): [0.8, 0.6, 0.55, 0.35, 0.15],
    }
    rates = {'relu': 0.2, 'tanh': 0.1}
    assert figure1.format_figure(curves, rates) == (
        'epochs to 25% training error: relu 1.5 (1.0 to 2.0) at rate 0.2, tanh 3.0 (2.0 to 4.0) at rate 0.1; '
        'ratio 2.0 (2.0 to 2.0) of 2 seeds; the paper: 6'
    )
    figure1.write_curves(curves, tmp_path / 'curves.csv')
    lines = (tmp_path / 'curves.csv').read_text().splitlines()
    assert lines[:3] == [
        'activation,learning_rate,seed,epoch,training_error',
        'relu,0.1,0,1,0.90000',
        'relu,0.2,0,1,0.35000',
    ]
    assert len(lines) == 1 + sum(map(len, curves.values()))
    figure1.plot_errors(curves, rates, 50_000, tmp_path / 'figure1.png')
    assert image_io.decode_image((tmp_path / 'figure1.png').read_bytes()).std() > 5
