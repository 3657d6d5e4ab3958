"""--mode=report: the page of a run as it is, of one that is not evaluated, and of several compared."""

import dataclasses
import html
import json
import re
import shutil

import pytest
from tiny_run import tiny_config

pytest.importorskip('jinja2', reason='requirements-report.txt is not installed')

from alexnet_jax import commands
from alexnet_jax.commands import report_comparison, report_content, run_dir
from alexnet_jax.commands.report_comparison import compare_errors, differing_fields
from alexnet_jax.commands.run_facts import RunFacts
from alexnet_jax.commands.run_family import RunAddress
from alexnet_jax.data import dataset_info
from alexnet_jax.errors import UserError
from alexnet_jax.report import run_result


def copy_run(trained, folder, *without):
    # Other tests may have evaluated the run that all share.
    ignored = (run_result.EVALUATION_FILE, *without)
    shutil.copytree(trained[1], folder, ignore=shutil.ignore_patterns(*ignored))
    return folder


def read_page(workdir, **fields):
    config = tiny_config()
    config.update_from_flattened_dict(fields)
    found = commands.run('report', config, str(workdir))
    with open(found['page'], encoding='utf-8') as file:
        return file.read()


def sections(text):
    return re.findall(r'<section id="([\w-]+)"', text)


def plain(text):
    """The text of a page, each run of spaces as one."""
    return ' '.join(html.unescape(re.sub(r'<style>.*?</style>|<[^>]*>', ' ', text, flags=re.DOTALL)).split())


def test_the_page_of_a_whole_run_has_every_section_and_its_figures(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run')
    text = read_page(run)
    assert sections(text) == [
        'result', 'curves', 'errors', 'confusion', 'predictions', 'neighbors', 'kernels', 'network', 'config', 'time',
        'versions',
    ]  # fmt: skip
    result = json.loads((run / 'result.json').read_text())
    shown = plain(text)
    assert f'{100 * result["top1_error"]:.1f} % top-1 error on 20 test images' in shown
    assert "train.learning_rate the paper's epsilon 0.001 0.01" in shown and 'jax 0.' in shown
    for name in (
        'model.preset the network; the next fields change it miniature paper',
        'images/s',
        'On the 20 images of the test split',
    ):
        assert name in shown
    assert 'left out' not in shown
    errors = [int(number) for number in re.findall(r'>(\d+) of \d+</td>', text)]
    assert sum(errors) == round(20 * result['top1_error'])


@pytest.mark.extended
def test_predictions_that_are_missing_are_computed_and_kept(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run', 'predictions.csv')
    text = read_page(run)
    assert 'errors' in sections(text)
    assert (run / 'predictions.csv').read_bytes() == (run.__class__(trained[1]) / 'predictions.csv').read_bytes()


def test_a_run_that_is_not_evaluated_has_what_there_is_and_says_what_is_missing(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run', 'result.json', 'predictions.csv', 'checkpoints', 'dataset')
    text = read_page(run)
    assert sections(text) == ['result', 'curves', 'config', 'time', 'versions']
    assert 'Not evaluated yet. After 6 steps' in plain(text)
    assert 'No checkpoint was saved yet' in plain(text)
    for name in ('metrics.jsonl', 'timings.jsonl'):
        (run / name).unlink()
    assert sections(read_page(run)) == ['result', 'config', 'versions']


def test_without_the_dataset_its_images_are_left_out_and_that_is_said(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run', 'dataset')
    text = read_page(run)
    assert {'predictions', 'neighbors'}.isdisjoint(sections(text)) and {'errors', 'kernels'} <= {*sections(text)}
    assert 'Its dataset is not at hand' in plain(text)


def read_scored(run):
    """The predictions that the page shows errors by class of, whether it shows images, and its notes."""
    address, notes = RunAddress(str(run)), []
    facts = RunFacts(address)
    source = report_content._open_source(tiny_config(), address, facts, notes)
    scored = report_content._read_scored(source, facts, notes)
    right, wrong = report_content._prediction_tiles(source, scored, source.class_names)
    return scored, bool(right + wrong), ' '.join(notes)


def test_predictions_of_a_checkpoint_that_is_gone_are_shown_and_kept(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run')
    result, written = json.loads((run / 'result.json').read_text()), (run / 'predictions.csv').read_text()
    (run / 'result.json').write_text(json.dumps(result | {'checkpoint_step': 4}))
    scored, _, notes = read_scored(run)
    assert scored is None and 'Errors by class are left out: the checkpoint of step 4, which was' in notes
    assert 'The checkpoint of step 4 is gone: kernels and neighbors are those of the newest' in notes
    assert (run / 'predictions.csv').read_text() == written
    (run / 'predictions.csv').write_text(written.replace(',test,1,6,', ',test,1,4,'))
    assert read_scored(run)[0].checkpoint_step == 4


def test_errors_by_class_are_of_the_dataset_that_was_measured(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run')
    file, result = run / 'predictions.csv', json.loads((run / 'result.json').read_text())
    assert read_scored(run)[1]
    own = dataset_info.read_dataset_info(run / run_dir.DATASET_INFO_FILE).checksum
    file.write_text(file.read_text().replace(own, 'c0ffee'))
    (run / 'result.json').unlink()
    evaluation = result | {'dataset': 'c0ffee', 'interval': list(result['interval'].values())}
    (run / run_result.EVALUATION_FILE).write_text(json.dumps(evaluation))
    scored, shows_images, _ = read_scored(run)
    assert scored.dataset == 'c0ffee' and not shows_images
    shutil.copy(f'{trained[1]}/result.json', run)
    shutil.rmtree(run / 'dataset')
    assert read_scored(run)[0] is None


def test_class_names_with_markup_are_shown_as_they_are(trained, tmp_path):
    run = copy_run(trained, tmp_path / 'run', 'predictions.csv', 'result.json', 'dataset')
    file = run / run_dir.DATASET_INFO_FILE
    info = dataset_info.read_dataset_info(file)
    names = tuple(f'<script>alert({number})</script>"&\'' for number in range(10))
    dataset_info.write_dataset_info(file, dataclasses.replace(info, class_names=names, class_descriptions=names))
    rows = (run.__class__(trained[1]) / 'predictions.csv').read_text()
    for number, name in enumerate(info.class_names):
        rows = re.sub(rf'(?<=,){re.escape(name)}(?=,)', '"' + names[number].replace('"', '""') + '"', rows)
    (run / 'predictions.csv').write_text(rows)
    shutil.copy(f'{trained[1]}/result.json', run)
    text = read_page(run)
    assert 'errors' in sections(text) and '<script' not in text and names[3] in html.unescape(text)


@pytest.mark.extended
def test_several_runs_are_compared(trained, tmp_path):
    for number in (0, 1):
        run = copy_run(trained, tmp_path / f'seed{number}', 'dataset')
        stored = json.loads((run / 'run.json').read_text())
        stored['deciding']['seed'] = number
        (run / 'run.json').write_text(json.dumps(stored))
    config = tiny_config()
    found = commands.run('report', config, str(tmp_path / 'seed*'))
    assert found == {'page': str(tmp_path / 'report.html'), 'runs': 2}
    text = (tmp_path / 'report.html').read_text()
    assert sections(text)[0] == 'comparison' and 'run1-result' in sections(text) and 'run2-config' in sections(text)
    assert '2 runs: top-1 error' in plain(text) and 'seed 0 1' in plain(text)
    elsewhere = tmp_path / 'page.html'
    read_page(tmp_path / 'seed0', **{'report.path': str(elsewhere)})
    assert elsewhere.exists() and not (tmp_path / 'seed0' / 'report.html').exists()


def measured(trained, tmp_path, *results):
    runs = []
    for number, fields in enumerate(results):
        run = copy_run(trained, tmp_path / f'run{number}', 'dataset', 'checkpoints')
        result = json.loads((run / 'result.json').read_text())
        (run / 'result.json').write_text(json.dumps(result | fields))
        if not fields:
            (run / 'result.json').unlink()
        runs.append(RunFacts(RunAddress(str(run))))
    return runs


def test_overlapping_intervals_are_not_taken_for_a_test_of_the_difference(trained, tmp_path):
    low = {'top1_error': 0.2, 'interval': {'low': 0.15, 'high': 0.25}}
    middle = {'top1_error': 0.24, 'interval': {'low': 0.2, 'high': 0.3}}
    high = {'top1_error': 0.5, 'interval': {'low': 0.4, 'high': 0.6}}
    runs = measured(trained, tmp_path, low, middle, high, {**high, 'views': 10}, {})
    assert 'overlap, which alone does not tell' in compare_errors(runs[:2], 'ab')
    assert '20.0 % (a) to 50.0 % (c), mean 31.3 %. The 95 % intervals of best and worst do not overlap' in (
        compare_errors(runs[:3], 'abc')
    )
    assert 'the figures do not compare' in compare_errors([runs[0], runs[3]], 'ab')
    assert compare_errors([runs[0], runs[4]], 'ab').startswith('1 of 2 runs is evaluated')
    assert differing_fields(runs) == []


def test_curves_are_one_for_each_run_and_kind(trained, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(report_comparison, 'plot_run_curves', lambda groups, *_, **__: drawn.update(groups))
    monkeypatch.setattr(report_comparison, 'embed_picture', lambda *_, **__: None)
    folders = [copy_run(trained, tmp_path / name, 'dataset', 'checkpoints') for name in ('seed0', 'seed1', 'other')]
    stored = json.loads((folders[2] / 'run.json').read_text())
    stored['deciding']['dataset'] = 'c0ffee'
    (folders[2] / 'run.json').write_text(json.dumps(stored))
    addresses = [RunAddress(str(folders[0]), step) for step in ('4', '6')] + [RunAddress(str(f)) for f in folders[1:]]
    report_comparison.compare_runs([RunFacts(address) for address in addresses], tmp_path)
    assert {name: [rows[-1]['step'] for rows in members] for name, members in drawn.items()} == {
        'seed0, step 6': [6, 6],
        'other': [6],
    }


def test_a_folder_without_a_run_and_a_place_that_cannot_be_written_are_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r'has no run: there is no run\.json'):
        read_page(tmp_path)
    with pytest.raises(UserError, match='report.path=.*cannot be written'):
        read_page(trained[1], **{'report.path': str(tmp_path / 'no' / 'page.html')})
