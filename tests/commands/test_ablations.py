"""--mode=ablations: its cards, its runs as processes, what a kill leaves, and the table of a real study."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_run import tiny_config

import main
from alexnet_jax.commands import ablation_cards, ablation_runs, ablations, run_dir
from alexnet_jax.commands.ablation_runs import PlannedRun, RunQueue
from alexnet_jax.commands.study_progress import StudyProgress
from alexnet_jax.config import build, validate
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io, signals

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
# What stands in for main.py: writes its result after a while, or ends as the file beside its folder says.
STAND_IN = textwrap.dedent("""\
    import json, os, signal, sys, time
    given = dict(word.removeprefix('--').split('=', 1) for word in sys.argv[1:])
    folder = given['workdir']
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'starts'), 'a') as file:
        file.write(os.environ.get('CUDA_VISIBLE_DEVICES', '-') + '\\n')
    def stop(*_):
        print('saved')
        sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    time.sleep(float(os.environ.get('STAND_IN_SECONDS', '0')))
    if os.path.exists(folder + '.fails'):
        print('what went wrong')
        sys.exit(int(open(folder + '.fails').read()))
    seed = int(given.get('config.seed', 0))
    with open(os.path.join(folder, 'result.json'), 'w') as file:
        json.dump({'top1_error': round(0.4 + seed / 100, 2), 'top5_error': 0.1}, file)
""")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A main.py that trains nothing, and a folder for runs."""
    (tmp_path / 'code' / 'configs').mkdir(parents=True)
    (tmp_path / 'code' / 'main.py').write_text(STAND_IN)
    monkeypatch.setattr(ablation_runs, 'CONFIG_DIR', tmp_path / 'code' / 'configs')
    monkeypatch.setattr(ablation_runs, 'POLL_SECONDS', 0.02)
    return tmp_path / 'study'


def planned(folder, networks=('base', 'no_lrn'), seeds=2):
    runs = []
    for seed in range(seeds):
        for network in networks:
            config = tiny_config()
            config.seed = seed
            runs.append(PlannedRun(network, seed, config, folder / network / f'seed{seed}'))
    return runs


def run_all(runs, shares=({},)):
    queue = RunQueue(runs, shares)
    with signals.SignalHandler() as handler:
        queue.run_all(handler)
    return queue


def starts(run):
    return (run.folder / 'starts').read_text().splitlines()


def test_each_run_is_trained_once_and_finished_ones_are_left(stand_in, caplog):
    runs = planned(stand_in)
    with caplog.at_level('INFO'):
        assert run_all(runs).failures == []
    assert [run.read_errors() for run in runs] == [(0.4, 0.1), (0.4, 0.1), (0.41, 0.1), (0.41, 0.1)]
    assert re.fullmatch(r'1 of 4 runs: base, seed 0, 40.0 % top-1 error; \d+ s to go', caplog.messages[0])
    assert caplog.messages[3] == '4 of 4 runs: no_lrn, seed 1, 41.0 % top-1 error'
    more = planned(stand_in, seeds=3)
    run_all(more)
    assert [len(starts(run)) for run in more] == [1] * 6


def test_runs_at_once_have_their_own_devices(stand_in, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1,2,3')
    monkeypatch.delenv('JAX_PLATFORMS')
    shares = ablation_runs.share_devices(2)
    assert shares == [{'CUDA_VISIBLE_DEVICES': '0,2'}, {'CUDA_VISIBLE_DEVICES': '1,3'}]
    assert ablation_runs.share_devices(1) == [{}]
    monkeypatch.setenv('STAND_IN_SECONDS', '0.3')
    runs = planned(stand_in)
    run_all(runs, shares)
    assert sorted(line for run in runs[:2] for line in starts(run)) == ['0,2', '1,3']
    with pytest.raises(UserError, match='parallel=5 runs need as many GPUs, and there are 4'):
        ablation_runs.share_devices(5)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    assert ablation_runs.share_devices(2) == [{}] * 2
    monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
    assert ablation_runs.share_devices(5) == [{}] * 5


def test_a_run_that_fails_ends_the_study_and_one_that_diverges_does_not(stand_in):
    runs = planned(stand_in)
    (stand_in / 'base').mkdir(parents=True)
    fails = stand_in / 'base' / 'seed0.fails'
    fails.write_text('4')
    queue = run_all(runs)
    assert [run.is_finished() for run in runs] == [False, True, True, True]
    assert queue.failures == [f'base, seed 0 ended with status 4: what went wrong ({runs[0].log_file})']
    assert queue.has_diverged
    fails.write_text('2')
    more = planned(stand_in, seeds=3)
    queue = run_all(more)
    assert [run.is_finished() for run in more] == [False, True, True, True, False, False] and len(queue.failures) == 1
    assert not queue.has_diverged
    fails.unlink()
    assert run_all(more).failures == [] and all(run.is_finished() for run in more)


def test_a_signal_stops_what_is_under_way_and_the_rest_waits(stand_in, monkeypatch):
    monkeypatch.setenv('STAND_IN_SECONDS', '30')
    runs = planned(stand_in)

    class Handler:
        def poll(self):
            return (runs[0].folder / 'starts').exists() and 'SIGTERM'

    queue = RunQueue(runs, [{}])
    queue.run_all(Handler())
    assert queue.failures == [] and not any(run.is_finished() for run in runs)
    assert runs[0].log_file.read_text() in ('saved\n', '') and not runs[1].folder.exists()


def test_a_run_that_another_process_trains_is_waited_for(stand_in, caplog):
    runs = planned(stand_in, networks=('base',), seeds=1)
    runs[0].folder.mkdir(parents=True)
    polls = []

    class Handler:
        def poll(self):
            polls.append(1)
            if len(polls) == 5:
                lock.__exit__(None, None, None)

    lock = atomic_io.lock_file(runs[0].folder / run_dir.LOCK_FILE, 'held')
    lock.__enter__()
    with caplog.at_level('INFO'):
        RunQueue(runs, [{}]).run_all(Handler())
    assert runs[0].is_finished() and len(polls) > 5
    assert caplog.messages[0] == 'base, seed 0 is being trained by another process; waiting for that.'


def test_the_flags_of_a_run_make_its_config(tmp_path):
    config = tiny_config()
    config.seed, config.name, config.ablations.seeds = 3, 'no_lrn, seed 3', 9
    config.model.normalization = 'none'
    run = PlannedRun('no_lrn', 3, config, tmp_path / 'no_lrn' / 'seed3')
    given = main.parse_flags(['main.py', *run.command_flags()])
    config.ablations.seeds = 5
    assert given.config.to_dict() == config.to_dict() and given.workdir == str(run.folder)


def test_the_runs_of_a_kind_have_one_name_which_is_no_card_of_the_paper(tmp_path):
    config = tiny_config()
    config.ablations.seeds = 2
    runs = ablations.plan_runs(config, {'base': config, 'no_lrn': config}, str(tmp_path))
    assert [run.config.name for run in runs] == ['quickstart base', 'quickstart no_lrn'] * 2
    assert [run.config.seed for run in runs] == [0, 0, 1, 1]


def test_a_damaged_result_is_named(tmp_path):
    run = planned(tmp_path)[0]
    run.folder.mkdir(parents=True)
    (run.folder / 'result.json').write_text('{"top1_error": 0.5}')
    with pytest.raises(UserError, match="damaged .'top5_error'.; remove it"):
        run.read_errors()


OF_THE_RECIPE = ('no_lighting', 'half_precision_exchange')
CARDS = ablation_cards.list_cards()


@pytest.mark.parametrize('name', CARDS)
def test_a_card_makes_its_ablation_in_the_miniature(name):
    (card,) = ablation_cards.read_cards(name)
    base = tiny_config()
    base.mesh = 'auto'
    changed = ablation_cards.apply_card(base, card)
    before, after = (validate.flatten_config(config) for config in (base, changed))
    assert {field: value for field, value in after.items() if value != before[field]} == dict(card.changes)
    assert build.preset_architecture(changed) != build.preset_architecture(base) or name in OF_THE_RECIPE


@pytest.mark.parametrize(
    'cards, sentence',
    [
        ('', 'cards is empty. Choose among abs_tanh, average_pooling, '),
        ('no_lnr', "names 'no_lnr', and there is no such card; did you mean no_lrn"),
        ('six_convolutions', 'does not say what it changes in any network'),
        ('no_lrn,no_lrn', 'names no_lrn twice'),
        ('mine.py', "names 'mine.py', and there is no such card; there are"),
    ],
)
def test_cards_that_are_none(cards, sentence):
    with pytest.raises(UserError, match=sentence):
        ablation_cards.read_cards(cards)


@pytest.mark.parametrize(
    'lines, sentence',
    [
        ("CHANGES = {'model.poling': 'average'}", 'has model.poling; it takes fields that decide'),
        ("CHANGES = {'seed': 1}", 'has seed; it takes'),
        ("CHANGES = {'prepare.image_size': 64}", 'has prepare.image_size; it takes'),
        ("CHANGES = {'model.pooling': 'average'}\nPUBLISHED = 1.4", 'PUBLISHED of .* is 1.4; it must be'),
        ('CHANGES = {', 'line 3: .* was never closed'),
    ],
)
def test_a_card_of_ones_own_that_is_wrong(lines, sentence, tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(f'from configs.default import get_config\n\n{lines}\n')
    with pytest.raises(UserError, match=sentence):
        ablation_cards.read_cards(str(file))


def test_a_card_that_does_not_fit_or_changes_nothing_is_refused(tmp_path):
    base = tiny_config()
    base.model.normalization, base.model.columns, base.mesh = 'none', 1, 'auto'
    no_lrn, no_communication = ablation_cards.read_cards('no_lrn,no_communication')
    with pytest.raises(UserError, match='no_lrn changes nothing in this base'):
        ablation_cards.apply_card(base, no_lrn)
    with pytest.raises(UserError, match='no_communication does not fit this base: miniature has one column'):
        ablation_cards.apply_card(base, no_communication)
    base.model.feature_multipliers = 'conv1=0.5'
    with pytest.raises(UserError, match='no_communication sets config.model.feature_multipliers, and so does the base'):
        ablation_cards.apply_card(base, no_communication)
    file = tmp_path / 'mine.py'
    file.write_text("from configs.default import get_config\n\nCHANGES = {'train.weight_decay': '0'}\n")
    with pytest.raises(UserError, match='mine does not fit this base: .*weight_decay'):
        ablation_cards.apply_card(base, *ablation_cards.read_cards(str(file)))
    file.write_text("from configs.default import get_config\n\nCHANGES = {'model.pooling': 'average'}\n")
    (mine,) = ablation_cards.read_cards(str(file))
    assert mine == ('mine', {'model.pooling': 'average'}, None)
    assert ablation_cards.apply_card(base, mine).model.pooling == 'average'


def test_a_study_goes_on_with_its_own_diary_alone(tmp_path):
    config, data = tiny_config(), SimpleNamespace(checksum='images')
    cards = [ablation_cards.BASE_CARD]
    ablations._check_same_study(config, cards, data, str(tmp_path))
    ablations._check_same_study(config, cards, data, str(tmp_path))
    config.train.diary = '1: lighting=off'
    with pytest.raises(UserError, match='train.diary'):
        ablations._check_same_study(config, cards, data, str(tmp_path))


def test_half_trained_runs_count_before_and_after_a_study_goes_on(tmp_path):
    runs = [PlannedRun('base', seed, tiny_config(), tmp_path / f'seed{seed}') for seed in range(2)]
    for run in runs:
        run.folder.mkdir()
        (run.folder / 'metrics.jsonl').write_text(json.dumps({'epoch': 0.5 * run.config.train.num_epochs}) + '\n')
    progress = StudyProgress(runs)
    assert progress._count_done() == 1.0
    progress._began -= 10
    (runs[0].folder / 'metrics.jsonl').write_text(json.dumps({'epoch': run.config.train.num_epochs}) + '\n')
    assert progress._time_to_go(progress._count_done()) == '; 10 s to go'


def study_flags(workdir, **fields):
    config = tiny_config()
    config.update_from_flattened_dict({'ablations.cards': 'no_lrn', 'ablations.seeds': 2, **fields})
    flags = PlannedRun('base', 0, config, workdir).command_flags()
    return [*flags, '--mode=ablations', f'--config.ablations.cards={config.ablations.cards}',
            f'--config.ablations.seeds={config.ablations.seeds}']  # fmt: skip


def start_study(workdir, **fields):
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'main.py'), *study_flags(workdir, **fields)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def figures(workdir):
    return (workdir / 'table.csv').read_text(), sorted(
        (path.relative_to(workdir).as_posix(), json.loads(path.read_text())['top1_error'])
        for path in workdir.glob('*/seed*/result.json')
    )


@pytest.mark.slow
def test_a_study_killed_anywhere_comes_to_the_same_table(tmp_path):
    """By SIGKILL of the study, of one of its runs, and by SIGTERM; then with a seed and a card more."""
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    process = start_study(whole)
    text = process.communicate()[0]
    assert process.returncode == 0 and '4 of 4 runs: no_lrn, seed 1' in text, text
    rows = list(csv.DictReader((whole / 'table.csv').open()))
    assert [row['network'] for row in rows] == ['base', 'no_lrn'] and rows[1]['pairs'] == '2'
    assert (whole / 'table.png').stat().st_size > 10_000 and '| no_lrn | 2 |' in (whole / 'table.md').read_text()

    process = start_study(killed)
    wait_for(killed / 'base' / 'seed0' / 'metrics.jsonl')
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Its run was told to save and stop; the study that is started at once waits for it.
    process = start_study(killed)
    wait_for(killed / 'no_lrn' / 'seed0' / 'run.json')
    (child,) = children_of(process.pid)
    os.kill(child, signal.SIGKILL)
    text = process.communicate()[0]
    assert process.returncode == 2 and 'no_lrn, seed 0 was killed by signal 9' in ' '.join(text.split()), text
    process = start_study(killed)
    wait_for(killed / 'base' / 'seed1' / 'run.json')
    process.send_signal(signal.SIGTERM)
    text = process.communicate()[0]
    assert process.returncode == 3 and '2 of 4 runs are finished' in ' '.join(text.split()), text
    process = start_study(killed)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    assert figures(killed) == figures(whole)

    process = start_study(killed, **{'ablations.cards': 'no_lrn,no_dropout', 'ablations.seeds': 3})
    text = process.communicate()[0]
    assert process.returncode == 0 and '9 of 9 runs' in text, text
    process = start_study(killed, **{'train.num_epochs': 2.0})
    text = ' '.join(process.communicate()[0].split())
    assert process.returncode == 2 and 'config.train.num_epochs was 1.0 and is now 2.0.' in text, text


def wait_for(path):
    deadline = time.monotonic() + 5 * SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def children_of(pid):
    return [int(word) for word in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


@pytest.mark.extended
def test_a_study_in_this_process(tmp_path):
    config = tiny_config()
    config.update_from_flattened_dict({'ablations.cards': 'no_lrn', 'ablations.seeds': 1})
    found = ablations.ablations(config, str(tmp_path))
    assert found['no_lrn']['verdict'] == 'one seed, which has no interval'
    assert found['no_lrn']['top1_difference'] == pytest.approx(
        100 * (figures(tmp_path)[1][1][1] - figures(tmp_path)[1][0][1])
    )
    config.evaluate.views = 10
    with pytest.raises(UserError, match='holds another study: config.evaluate.views was 1 and is now 10'):
        ablations.ablations(config, str(tmp_path))
