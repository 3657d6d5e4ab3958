"""The time breakdown: shares of all time, over all starts, with what kills undid."""

import json
import time

import pytest

from alexnet_jax.train import timing
from alexnet_jax.train.metrics_writer import TIMINGS_FILE, MetricsWriter, read_timings


def test_shares_are_of_all_the_time_of_all_starts():
    rows = [
        {'step': 0, 'start_seconds': 2.0, 'compile_seconds': 8.0},
        {'step': 20, 'seconds': 50.0, 'waiting': 0.1, 'evaluation_seconds': 6.0, 'checkpoint_seconds': 4.0},
        {'step': 20, 'lost_seconds': 10.0},
        {'step': 20, 'start_seconds': 2.0, 'compile_seconds': 8.0},
        {'step': 40, 'seconds': 10.0, 'waiting': 0.0},
    ]
    assert timing.format_time_breakdown(rows) == (
        'Where the time went (100.0 s, started 2 times): step 55.0%, input wait 5.0%, compile 16.0%, evaluation 6.0%, '
        'checkpoint 4.0%, start 4.0%, lost to kills 10.0%.'
    )
    assert sum(timing.sum_phases(rows).values()) == pytest.approx(100)
    assert timing.format_time_breakdown([]) == ''


def test_rows_of_the_first_version_count():
    assert timing.sum_phases([{'step': 4, 'seconds': 4.0, 'waiting': 0.25, 'images': 64}]) == {'wait': 1.0, 'step': 3.0}


def test_time_is_taken_once():
    spent = timing.PhaseTimer()
    with pytest.raises(ZeroDivisionError), spent.measure('evaluation'):
        time.sleep(0.01)
        raise ZeroDivisionError
    spent.add('start', 1.0)
    taken = spent.drain()
    assert taken['evaluation_seconds'] >= 0.01 and taken['start_seconds'] == 1.0 and spent.drain() == {}


def test_what_a_kill_undid_is_written_down_when_the_run_goes_on(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write_timings(0, compile_seconds=3.0)
        writer.write_timings(10, seconds=5.0, waiting=0.0)
        writer.write_timings(20, seconds=7.0, waiting=0.5, checkpoint_seconds=1.0)
        writer.truncate_after(10)
        assert read_timings(tmp_path)[-1] == {'step': 10, 'lost_seconds': 8.0}
        writer.truncate_after(10)  # killed again before a row
        assert [row['step'] for row in read_timings(tmp_path)] == [0, 10, 10]
        writer.truncate_after(0)  # back to the beginning: what was lost before stays lost
    rows = [json.loads(line) for line in (tmp_path / TIMINGS_FILE).read_text().splitlines()]
    assert timing.sum_phases(rows)['lost'] == 13.0
