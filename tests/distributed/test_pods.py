"""docs/pods.md and the files beside it: scripts without faults, a JobSet of the documented fields, the true limits."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from alexnet_jax.config import schema
from alexnet_jax.distributed import initialize

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGE = (DOCS / 'pods.md').read_text()

# The fields of jobset.x-k8s.io/v1alpha2, batch/v1 and v1 that a file like ours may use; a name means any content.
ANY = None
CONTAINER = {
    'name': str,
    'image': str,
    'workingDir': str,
    'command': [str],
    'args': [str],
    'env': [{'name': str, 'value': str}],
    'ports': [{'containerPort': int}],
    'resources': {'limits': ANY, 'requests': ANY},
    'volumeMounts': [{'name': str, 'mountPath': str, 'readOnly': bool}],
}
POD = {
    'restartPolicy': str,
    'terminationGracePeriodSeconds': int,
    'containers': [CONTAINER],
    'volumes': [{'name': str, 'persistentVolumeClaim': {'claimName': str}}],
    'nodeSelector': ANY,
    'tolerations': ANY,
    'serviceAccountName': str,
}
JOB = {
    'parallelism': int,
    'completions': int,
    'completionMode': str,
    'backoffLimit': int,
    'podFailurePolicy': {
        'rules': [
            {
                'action': str,
                'onExitCodes': {'containerName': str, 'operator': str, 'values': [int]},
                'onPodConditions': ANY,
            }
        ]
    },
    'template': {'metadata': ANY, 'spec': POD},
}
JOBSET = {
    'apiVersion': str,
    'kind': str,
    'metadata': {'name': str, 'namespace': str, 'labels': ANY, 'annotations': ANY},
    'spec': {
        'suspend': bool,
        'failurePolicy': {
            'maxRestarts': int,
            'rules': [{'name': str, 'action': str, 'onJobFailureReasons': [str], 'targetReplicatedJobs': [str]}],
        },
        'successPolicy': ANY,
        'startupPolicy': ANY,
        'network': ANY,
        'coordinator': ANY,
        'replicatedJobs': [{'name': str, 'replicas': int, 'template': {'metadata': ANY, 'spec': JOB}}],
        'ttlSecondsAfterFinished': int,
    },
}


def faults(content, schema, where=''):
    """Return where the content has a field that the schema lacks, or another type."""
    if schema is ANY:
        return []
    if isinstance(schema, dict):
        if not isinstance(content, dict):
            return [f'{where} is no mapping']
        unknown = [f'{where}.{name} is unknown' for name in content if name not in schema]
        known = content.keys() & schema.keys()
        return unknown + [fault for name in known for fault in faults(content[name], schema[name], f'{where}.{name}')]
    if isinstance(schema, list):
        if not isinstance(content, list):
            return [f'{where} is no list']
        return [fault for i, each in enumerate(content) for fault in faults(each, schema[0], f'{where}[{i}]')]
    return [] if type(content) is schema else [f'{where} is {content!r}']


@pytest.fixture(scope='module')
def jobset():
    return yaml.safe_load((DOCS / 'pods' / 'jobset.yaml').read_text())


def test_the_jobset_has_only_fields_that_there_are(jobset):
    assert faults(jobset, JOBSET) == []
    assert jobset['apiVersion'] == 'jobset.x-k8s.io/v1alpha2' and jobset['kind'] == 'JobSet'


def test_a_field_that_there_is_not_would_be_found(jobset):
    assert faults(jobset | {'specs': {}}, JOBSET) == ['.specs is unknown']
    assert (
        faults({'spec': {'suspend': 'no', 'replicatedJobs': [{'replica': 1}]}}, JOBSET)
        == [".spec.suspend is 'no'", '.spec.replicatedJobs[0].replica is unknown']
        or len(faults({'spec': {'suspend': 'no'}}, JOBSET)) == 1
    )


def test_the_pods_of_the_jobset_find_one_another(jobset):
    """The variables of its pods give each its index and the address of the first pod."""
    name, (job,) = jobset['metadata']['name'], jobset['spec']['replicatedJobs']
    spec = job['template']['spec']
    (container,) = spec['template']['spec']['containers']
    assert spec['completionMode'] == 'Indexed' and spec['parallelism'] == spec['completions']
    for index in range(spec['completions']):
        variables = {each['name']: each['value'] for each in container['env']} | {
            'KUBERNETES_SERVICE_HOST': '10.0.0.1',
            'JOB_COMPLETION_INDEX': str(index),
        }
        place = initialize.detect_process(environ=variables)
        assert (place.process, place.num_processes) == (index, spec['completions'])
        assert place.coordinator == f'{name}-{job["name"]}-0-0.{name}:{container["ports"][0]["containerPort"]}'
    assert spec['podFailurePolicy']['rules'][0]['onExitCodes']['values'] == [2]
    assert spec['backoffLimit'] == 0


@pytest.mark.parametrize('script', sorted((DOCS / 'pods').glob('*.sh')), ids=lambda script: script.name)
def test_the_scripts_are_without_faults(script):
    """By shellcheck where it is installed (requirements-dev.txt), by bash alone elsewhere."""
    beside = Path(sys.executable).with_name('shellcheck')
    shellcheck = shutil.which('shellcheck') or (str(beside) if beside.exists() else None)
    for command in [['bash', '-n']] + ([[shellcheck]] if shellcheck else []):
        done = subprocess.run([*command, str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def stand_ins(folder, **lines):
    """Create commands that append their arguments to the file `said` and run their lines; return the environment."""
    for name, line in lines.items():
        (folder / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {folder}/said\n{line}\n')
        (folder / name).chmod(0o755)
    (folder / 'said').write_text('')
    return {'PATH': f'{folder}:/usr/bin:/bin', 'SLURM_JOB_ID': '7', 'HOME': str(folder)}


@pytest.mark.parametrize('status, again', [(0, False), (2, False), (3, False), (5, True)])
def test_the_slurm_script_gives_main_its_flags_and_goes_back_into_the_queue_where_it_should(tmp_path, status, again):
    """Status 3 without a signal to the script: a person has stopped the tasks."""
    environment = stand_ins(tmp_path, srun=f'exit {status}', scontrol='')
    script = ['bash', str(DOCS / 'pods' / 'slurm.sh'), '--workdir=/a b']
    assert subprocess.run(script, env=environment).returncode == status
    said = (tmp_path / 'said').read_text()
    assert 'main.py --workdir=/a b' in said and ('scontrol requeue 7' in said) is again


@pytest.mark.parametrize('number, again', [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_the_end_of_its_time_sends_the_slurm_script_back_into_the_queue_and_a_person_does_not(tmp_path, number, again):
    """The tasks get their signal from Slurm or scancel and save for a while; srun, given TERM, would kill them."""
    tasks = 'trap "exit 137" TERM\nuntil [ -e ~/signalled ]; do sleep 0.05; done\nsleep 0.3\nexit 3'
    environment = stand_ins(tmp_path, srun=tasks, scontrol='', scancel='touch ~/signalled')
    script = ['bash', str(DOCS / 'pods' / 'slurm.sh'), '--workdir=/a']
    with subprocess.Popen(script, env=environment) as job:
        appears(lambda: 'srun' in (tmp_path / 'said').read_text())
        job.send_signal(number)
        if number == signal.SIGTERM:
            (tmp_path / 'signalled').touch()
        assert job.wait(timeout=20) == 3
    said = (tmp_path / 'said').read_text()
    assert ('scancel --signal=TERM 7' in said) is again
    assert ('scontrol requeue 7' in said) is again


def test_the_slurm_script_asks_for_the_signal_that_it_hears_and_the_page_stops_the_tasks_alone():
    script = (DOCS / 'pods' / 'slurm.sh').read_text()
    assert '#SBATCH --signal=B:USR1@' in script
    assert '`scancel --signal=TERM JOBID`' in PAGE and 'scancel --signal=TERM --full' not in PAGE


def appears(there, seconds=20):
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until
        time.sleep(0.05)


MAIN = """
import pathlib, signal, sys, time
home = pathlib.Path.home()
def stop(*_):
    (home / 'stopped').touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
(home / 'words').write_text('\\n'.join(sys.argv[1:]))
time.sleep(30)
"""


def test_the_tpu_script_starts_main_behind_its_back_and_stop_reaches_it(tmp_path):
    """gcloud is replaced by a shell that does on this machine what each worker would."""
    environment = stand_ins(tmp_path, gcloud='for word in "$@"; do :; done\nbash -c "${word#--command=}"')
    (tmp_path / 'alexnet_jax').mkdir()
    (tmp_path / 'alexnet_jax' / 'main.py').write_text(MAIN)
    words = ['--config=configs/imagenet.py', "--config.name=it's"]

    def run(action, *words):
        script = ['bash', str(DOCS / 'pods' / 'tpu.sh'), action, 'mine', 'zone-a', *words]
        assert subprocess.run(script, env=environment, timeout=20).returncode == 0

    run('start', *words)
    appears(lambda: (tmp_path / 'words').exists() and (tmp_path / 'words').read_text())
    assert (tmp_path / 'words').read_text().split('\n') == words
    run('stop')
    appears((tmp_path / 'stopped').exists)


def test_the_tpu_script_quotes_the_flags_for_every_worker(tmp_path):
    said = tmp_path / 'said'
    (tmp_path / 'gcloud').write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {said}\n')
    (tmp_path / 'gcloud').chmod(0o755)

    def run(*words):
        said.write_text('')
        script = ['bash', str(DOCS / 'pods' / 'tpu.sh'), *words]
        done = subprocess.run(script, env={'PATH': f'{tmp_path}:/usr/bin:/bin'}, capture_output=True)
        return done.returncode, said.read_text()

    status, words = run('start', 'mine', 'zone-a', '--config=configs/imagenet.py', "--config.name=it's")
    assert status == 0 and '--worker=all' in words and '--zone=zone-a' in words
    assert "main.py --config=configs/imagenet.py --config.name=it\\'s" in words
    assert run('pause', 'mine', 'zone-a')[0] == 2


def test_the_commands_say_where_the_images_come_from(jobset):
    """Each line that starts ImageNet names a prepared dataset or what it is made from; else it ends with status 2."""
    (job,) = jobset['spec']['replicatedJobs']
    (container,) = job['template']['spec']['template']['spec']['containers']
    commands = [
        line for line in PAGE.split('\n') if '--config=configs/imagenet.py' in line and '--mode=compile' not in line
    ]
    commands.append(' '.join(container['command']))
    assert len(commands) == 4
    for line in commands:
        assert '--config.data.directory=' in line, line
    assert '--mode=prepare' in commands[0] and '--config.prepare.path=' in commands[0]


def test_the_page_says_what_the_code_does():
    assert 'Compiled for real slices, never run on one.' in PAGE
    variables = (*sum(initialize.ENVIRONMENT_VARIABLES.values(), ()), *initialize.SLURM_VARIABLES)
    for name in (*variables, *schema.PER_HOST_FIELDS):
        assert f'`{name}`' in PAGE, name
    for field in ('join_timeout', 'peer_timeout'):
        assert f'machine.{field}' in PAGE and f'machine.{field}' in schema.FIELDS
    for script in (DOCS / 'pods').iterdir():
        assert f'pods/{script.name}' in PAGE
