import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from alexnet_jax.runtime.signals import SignalHandler

CHILD = """
import signal, sys, time
from alexnet_jax.runtime.signals import SignalHandler
with SignalHandler() as stop:
    print('ready', flush=True)
    while not stop.received:
        time.sleep(0.01)
    print(stop.received, flush=True)
    {then}
print('left', flush=True)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_run_goes_on(number):
    with SignalHandler() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number.name
        time.sleep(0.02)  # still here
    assert stop.received == number.name


@pytest.mark.parametrize('first, second', [('SIGTERM', 'SIGTERM'), ('SIGINT', 'SIGINT'), ('SIGTERM', 'SIGINT')])
def test_a_second_signal_ends_the_process_with_its_own_status(first, second):
    child = start('time.sleep(60)')
    child.send_signal(signal.Signals[first])
    assert child.stdout.readline().strip() == first
    child.send_signal(signal.Signals[second])
    assert child.wait(10) == 128 + signal.Signals[second]
    assert 'left' not in child.stdout.read()


def test_a_second_signal_ends_a_process_whose_main_thread_never_comes_back_to_python():
    # A wait that is begun anew after each signal, as a hanging collective's is: no Python handler runs in it.
    stuck = """
    import ctypes, os
    libc = ctypes.CDLL(None)
    libc.sem_init(semaphore := ctypes.create_string_buffer(64), 0, 0)
    libc.siginterrupt(15, 0)
    print('stuck', flush=True)
    libc.sem_wait(semaphore)
    """
    child = start('\n    '.join(line.strip() for line in stuck.strip().splitlines()))
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline().strip() == 'SIGTERM'
    assert child.stdout.readline().strip() == 'stuck'
    time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 143


def test_the_handlers_of_before_are_back_after_it():
    def own(*_):
        heard.append(True)

    heard, before = [], signal.signal(signal.SIGTERM, own)
    try:
        with SignalHandler():
            assert signal.getsignal(signal.SIGTERM) is not own
        assert signal.getsignal(signal.SIGTERM) is own
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard
    finally:
        signal.signal(signal.SIGTERM, before)


def test_they_are_back_after_an_error_too_and_no_thread_or_file_is_left():
    files, threads = len(os.listdir('/proc/self/fd')), threading.active_count()
    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError), SignalHandler():
        raise RuntimeError
    assert signal.getsignal(signal.SIGINT) is interrupt
    assert signal.set_wakeup_fd(-1) == -1
    assert (len(os.listdir('/proc/self/fd')), threading.active_count()) == (files, threads)


def test_other_signals_do_not_count():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with SignalHandler() as stop:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            assert stop.received == 'SIGTERM'
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_outside_the_main_thread_it_does_nothing():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def elsewhere():
        with SignalHandler() as stop:
            seen.append((stop.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


def start(then):
    child = subprocess.Popen(
        [sys.executable, '-c', CHILD.format(then=then)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert child.stdout.readline().strip() == 'ready'
    return child
