import io
import json
import math
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.errors import UserError
from alexnet_jax.train import metrics_writer
from alexnet_jax.train.metrics_writer import MetricsWriter, read_metrics, read_timings

few = hypothesis.settings(deadline=None, max_examples=40)


def lines(workdir, name='metrics.jsonl'):
    return (workdir / name).read_text().splitlines()


@few
@hypothesis.given(value=st.floats() | st.integers(-(10**20), 10**20) | st.booleans())
def test_a_number_reads_back_exactly(value, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('run')
    with MetricsWriter(workdir, tensorboard=False) as writer:
        writer.write_metrics(3, number=value)
    (entry,) = read_metrics(workdir)
    assert entry['step'] == 3 and type(entry['number']) is type(value)
    assert entry['number'] == value or (math.isnan(value) and math.isnan(entry['number']))


def test_numpys_and_jaxs_scalars_keep_their_value(tmp_path):
    third = np.float32(1) / np.float32(3)
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write_metrics(
            np.int64(1), a=third, b=np.float64(0.1), c=jnp.float32(third), d=jnp.int32(7), e=jnp.bfloat16(0.1)
        )
    (entry,) = read_metrics(tmp_path)
    assert np.float32(entry['a']) == np.float32(entry['c']) == third
    assert (entry['b'], entry['d'], entry['e']) == (0.1, 7, float(jnp.bfloat16(0.1)))


def test_the_files_are_strict_json_even_for_numbers_that_are_not_finite(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write_metrics(1, loss=math.nan, high=math.inf, low=-math.inf)

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(lines(tmp_path)[0], parse_constant=refuse)
    (entry,) = read_metrics(tmp_path)
    assert math.isnan(entry['loss']) and entry['high'] == math.inf and entry['low'] == -math.inf


@pytest.mark.parametrize('value', ['word', None, [1.0, 2.0], np.zeros(2)])
def test_what_is_no_number_is_refused_and_leaves_no_trace(value, tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer, pytest.raises((TypeError, ValueError)):
        writer.write_metrics(1, loss=value)
    assert read_metrics(tmp_path) == []


def test_metrics_and_timings_go_to_files_of_their_own_and_are_there_at_once(tmp_path):
    writer = MetricsWriter(tmp_path / 'new' / 'run', tensorboard=False)
    writer.write_metrics(1, loss=2.0)
    writer.write_timings(1, seconds=0.5)
    assert read_metrics(tmp_path / 'new' / 'run') == [{'step': 1, 'loss': 2.0}]
    assert read_timings(tmp_path / 'new' / 'run') == [{'step': 1, 'seconds': 0.5}]
    writer.close()


def test_two_runs_that_write_the_same_numbers_leave_the_same_bytes(tmp_path):
    for name, parts in (('a', [range(9)]), ('b', [range(6), range(4, 9)])):  # b was killed after its checkpoint at 3
        for part in parts:
            with MetricsWriter(tmp_path / name, tensorboard=False) as writer:
                writer.truncate_after(part[0] - 1)
                for step in part:
                    writer.write_metrics(step, loss=1 / (step + 1))
    assert (tmp_path / 'a/metrics.jsonl').read_bytes() == (tmp_path / 'b/metrics.jsonl').read_bytes()


def test_cutting_back_keeps_exactly_what_was_written_up_to_the_step_in_both_files(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        for step in range(0, 100, 10):
            writer.write_metrics(step, loss=step / 7)
            writer.write_timings(step, seconds=1.0)
        before = lines(tmp_path)
        writer.truncate_after(50)
        assert lines(tmp_path) == before[:6]
        *kept, lost = read_timings(tmp_path)
        assert [entry['step'] for entry in kept] == [0, 10, 20, 30, 40, 50]
        assert lost == {'step': 50, 'lost_seconds': 4.0}
        writer.write_metrics(60, loss=0.5)  # and it goes on in the new file
    assert [entry['step'] for entry in read_metrics(tmp_path)] == [0, 10, 20, 30, 40, 50, 60]
    assert sorted(os.listdir(tmp_path)) == ['metrics.jsonl', 'timings.jsonl']


def test_cutting_back_where_nothing_was_written_is_nothing(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.truncate_after(10)
    assert read_metrics(tmp_path) == [] and os.listdir(tmp_path) == []


def test_a_last_line_torn_at_any_byte_is_dropped_and_never_a_whole_one(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write_metrics(1, loss=0.25)
        writer.write_metrics(2, loss=12.5)
    whole = (tmp_path / 'metrics.jsonl').read_bytes()
    first = whole.index(b'\n') + 1
    for end in range(first, len(whole) + 1):
        (tmp_path / 'metrics.jsonl').write_bytes(whole[:end])
        kept = 2 if end >= len(whole) - 1 else 1  # without its line break alone, the object is whole
        assert len(read_metrics(tmp_path)) == kept
        with MetricsWriter(tmp_path, tensorboard=False) as writer:
            writer.truncate_after(2)
            writer.write_metrics(3, loss=1.0)
        assert [entry['step'] for entry in read_metrics(tmp_path)] == [1, 2][:kept] + [3]


def test_a_tail_of_zeros_after_a_power_cut_is_dropped(tmp_path):
    (tmp_path / 'metrics.jsonl').write_bytes(b'{"step": 1, "loss": 1.0}\n' + bytes(50))
    assert read_metrics(tmp_path) == [{'step': 1, 'loss': 1.0}]


@pytest.mark.parametrize('damage', ['{"step": 1, "lo', '[1]', '{"loss": 1.0}', '{"step": "one"}', '7', ''])
def test_a_damaged_line_elsewhere_is_named(damage, tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n' + damage + '\n{"step": 3}\n')
    with pytest.raises(UserError, match='Line 2 of .*metrics.jsonl is damaged'):
        read_metrics(tmp_path)


def test_a_kill_while_cutting_back_leaves_the_old_file_whole(tmp_path, monkeypatch):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write_metrics(1, loss=1.0)
        writer.write_metrics(2, loss=2.0)
    before = (tmp_path / 'metrics.jsonl').read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(metrics_writer.os, 'replace', killed)
        with pytest.raises(KeyboardInterrupt):
            MetricsWriter(tmp_path, tensorboard=False).truncate_after(1)
    assert (tmp_path / 'metrics.jsonl').read_bytes() == before
    MetricsWriter(tmp_path, tensorboard=False).truncate_after(1)  # what lay aside does not stand in the way
    assert read_metrics(tmp_path) == [{'step': 1, 'loss': 1.0}]


def test_one_who_is_not_the_writer_writes_and_says_nothing(tmp_path, capsys):
    with MetricsWriter(tmp_path, tensorboard=True, enabled=False) as silent:
        silent.write_metrics(1, loss=1.0)
        silent.write_timings(1, seconds=1.0)
        silent.print_line('text')
        silent.update_progress(1, 2)
        silent.truncate_after(0)
        silent.flush()
    assert os.listdir(tmp_path) == [] and capsys.readouterr() == ('', '')


def test_flushing_asks_the_system_to_write_each_open_file(tmp_path, monkeypatch):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write_metrics(1, loss=1.0)
        writer.write_timings(1, seconds=1.0)
        synced, whole = [], os.fsync
        monkeypatch.setattr(metrics_writer.os, 'fsync', lambda file: synced.append(file) or whole(file))
        writer.flush()
    assert len(synced) == 2


def events(workdir):
    """(tag, step, value) of everything, and the step that each file begins by taking back from."""
    from tensorboardX.proto.event_pb2 import Event

    found, purged = [], []
    for path in sorted((workdir / 'tensorboard').iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], 'little')
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            found += [(each.tag, event.step, getattr(each, each.WhichOneof('value'))) for each in event.summary.value]
            if event.HasField('session_log'):
                purged.append(event.step)
    return found, purged


def test_tensorboard_gets_metrics_and_timings_in_groups(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=True) as writer:
        writer.write_metrics(5, loss=2.5, top1_error=0.75, rate=0.5)
        writer.write_metrics(5, validation_loss=1.5, validation_top1_error=0.25)
        writer.write_timings(5, images_per_second=100.0, evaluation_seconds=2.0)
    found, _ = events(tmp_path)
    assert sorted(found) == [
        ('time/evaluation_seconds', 5, 2.0),
        ('time/images_per_second', 5, 100.0),
        ('train/learning_rate', 5, 0.5),
        ('train/loss', 5, 2.5),
        ('train/top1_error', 5, 0.75),
        ('validation/loss', 5, 1.5),
        ('validation/top1_error', 5, 0.25),
    ]
    # The files keep the names that their readers know.
    assert read_metrics(tmp_path)[0] == {'step': 5, 'loss': 2.5, 'top1_error': 0.75, 'rate': 0.5}


def test_tensorboard_shows_pictures_and_texts(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'kernels.png')
    with MetricsWriter(tmp_path, tensorboard=True) as writer:
        writer.add_picture(5, 'kernels/conv1', tmp_path / 'kernels.png')
        writer.add_text(0, 'config', '    seed = 1')
    (picture, text), _ = events(tmp_path)
    assert picture[:2] == ('kernels/conv1', 5) and (picture[2].height, picture[2].width) == (5, 7)
    np.testing.assert_array_equal(Image.open(io.BytesIO(picture[2].encoded_image_string)), pixels)
    assert text[0].startswith('config') and text[2].string_val == [b'    seed = 1']
    with MetricsWriter(tmp_path / 'without', tensorboard=False) as writer:
        writer.add_picture(5, 'kernels/conv1', tmp_path / 'kernels.png')
        writer.add_text(0, 'config', 'seed')
    assert not (tmp_path / 'without').exists()


def test_after_cutting_back_tensorboard_is_told_to_forget_what_came_later(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=True) as writer:
        writer.truncate_after(40)
        writer.write_metrics(50, loss=1.0)
    assert events(tmp_path)[1] == [41]


def test_lines_go_to_standard_output_at_once_and_where_there_is_no_terminal_there_is_no_bar(tmp_path, capsys):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.update_progress(1, 10)
        writer.print_line('step 1')
        writer.update_progress(2, 10)
        writer.print_line('step 2')
    assert capsys.readouterr() == ('step 1\nstep 2\n', '')


TERMINAL = """
from alexnet_jax.train.metrics_writer import MetricsWriter
with MetricsWriter('unused', tensorboard=False) as writer:
    for step in range(1, 4):
        writer.update_progress(step, 3)
        writer._progress.refresh()
        writer.print_line(f'step {step}')
    writer.update_progress(1, 2)
"""


def test_on_a_terminal_bar_and_lines_do_not_tear_each_other(tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    child = subprocess.Popen(
        [sys.executable, '-c', TERMINAL], stdout=theirs, stderr=theirs, cwd=Path(__file__).resolve().parents[2]
    )
    os.close(theirs)
    shown = b''
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how a terminal says that nobody writes to it any more
        pass
    os.close(ours)
    assert child.wait(10) == 0
    text = shown.decode()
    assert '2/3' in text and '1/2' in text
    for step in (1, 2, 3):
        # a line begins at the left edge, on a row that the bar was wiped from
        row = text.split(f'step {step}\r\n')[0].split('\n')[-1]
        assert row.split('\r')[-1].replace('\x1b[A', '').strip() == ''
