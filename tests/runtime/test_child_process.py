"""A child process ends with its parent, however that ends, and runs a script as Python would."""

import os
import signal
import subprocess
import sys
import textwrap
import time

from alexnet_jax.runtime import child_process

SECONDS = 20


def test_a_script_runs_as_python_runs_it(tmp_path):
    (tmp_path / 'beside.py').write_text('value = 7\n')
    script = tmp_path / 'script.py'
    script.write_text('import sys, os, beside\nprint(beside.value, sys.argv[1:], os.environ["MINE"])\nsys.exit(3)\n')
    log = tmp_path / 'log'
    log.write_text('before\n')
    child = child_process.start_script(script, ['--a=b c', ''], log, {**os.environ, 'MINE': 'yes'})
    assert child.wait(SECONDS) == 3
    assert log.read_text() == "before\n7 ['--a=b c', ''] yes\n"


def test_it_is_told_once_when_its_parent_is_killed(tmp_path):
    script, said = tmp_path / 'child.py', tmp_path / 'said'
    script.write_text(
        textwrap.dedent(f"""\
            import os, signal, sys, time
            def stop(*_):
                open({str(said)!r}, 'a').write('stopped')
            signal.signal(signal.SIGTERM, stop)
            open({str(said)!r}, 'w').write(f'{{os.getpid()}} ')
            time.sleep(1.5)
            open({str(said)!r}, 'a').write(' ended')
        """)
    )
    parent = tmp_path / 'parent.py'
    parent.write_text(
        textwrap.dedent(f"""\
            import os, sys, threading, time
            from pathlib import Path
            for _ in range(8):
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            sys.path.insert(0, {str(child_process.__file__).rsplit('/alexnet_jax/', 1)[0]!r})
            from alexnet_jax.runtime import child_process
            child_process.start_script(Path({str(script)!r}), [], Path({str(tmp_path / 'log')!r}), os.environ)
            time.sleep(60)
        """)
    )
    process = subprocess.Popen([sys.executable, str(parent)])
    deadline = time.monotonic() + SECONDS
    while not (said.exists() and said.read_text().endswith(' ')):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while not said.read_text().endswith('ended'):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert said.read_text().count('stopped') == 1


def test_it_does_not_begin_without_its_parent(tmp_path):
    nobody = subprocess.Popen([sys.executable, '-c', ''])
    nobody.wait()
    script = tmp_path / 'script.py'
    script.write_text('print("begun")')
    command = [sys.executable, child_process.__file__, str(nobody.pid), str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 1 and 'has ended' in ended.stderr and ended.stdout == ''
