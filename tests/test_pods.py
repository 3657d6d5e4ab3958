"""docs/pods.md and the files beside it: scripts without faults, a JobSet of the documented fields, the true limits."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from alexnet_jax import fields, pod
from alexnet_jax.modes import joining

DOCS = Path(__file__).resolve().parent.parent / 'docs'
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
            'rules': [
                {'name': str, 'action': str, 'onJobFailureReasons': [str], 'targetReplicatedJobs': [str]}
            ],
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
    """Where the content has a field the schema does not have, or another type."""
    if schema is ANY:
        return []
    if isinstance(schema, dict):
        if not isinstance(content, dict):
            return [f'{where} is no mapping']
        unknown = [f'{where}.{name} is unknown' for name in content if name not in schema]
        known = content.keys() & schema.keys()
        return unknown + [
            fault for name in known for fault in faults(content[name], schema[name], f'{where}.{name}')
        ]
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
        == [
            ".spec.suspend is 'no'",
            '.spec.replicatedJobs[0].replica is unknown',
        ]
        or len(faults({'spec': {'suspend': 'no'}}, JOBSET)) == 1
    )


def test_the_pods_of_the_jobset_find_one_another(jobset):
    """The variables that its pods would have lead each to its place, at the address of the first pod."""
    name, (job,) = jobset['metadata']['name'], jobset['spec']['replicatedJobs']
    spec = job['template']['spec']
    (container,) = spec['template']['spec']['containers']
    assert spec['completionMode'] == 'Indexed' and spec['parallelism'] == spec['completions']
    for index in range(spec['completions']):
        variables = {each['name']: each['value'] for each in container['env']} | {
            'KUBERNETES_SERVICE_HOST': '10.0.0.1',
            'JOB_COMPLETION_INDEX': str(index),
        }
        place = pod.place(environ=variables)
        assert (place.process, place.processes) == (index, spec['completions'])
        assert (
            place.coordinator == f'{name}-{job["name"]}-0-0.{name}:{container["ports"][0]["containerPort"]}'
        )
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


def test_the_slurm_script_gives_main_its_flags_and_goes_back_into_the_queue_where_it_should(tmp_path):
    """With srun and scontrol replaced by words on a file."""
    said = tmp_path / 'said'
    for name, line in {'srun': 'exit "$STATUS"', 'scontrol': 'true'}.items():
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {said}\n{line}\n')
        (tmp_path / name).chmod(0o755)
    for status, again in ((0, False), (2, False), (3, True), (5, True)):
        said.write_text('')
        done = subprocess.run(
            ['bash', str(DOCS / 'pods' / 'slurm.sh'), '--workdir=/a b'],
            env={'PATH': f'{tmp_path}:/usr/bin:/bin', 'STATUS': str(status), 'SLURM_JOB_ID': '7'},
        )
        assert done.returncode == status
        assert 'main.py --workdir=/a b' in said.read_text()
        assert ('scontrol requeue 7' in said.read_text()) is again


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
    assert 'kill -TERM' in run('stop', 'mine', 'zone-a')[1]
    assert run('pause', 'mine', 'zone-a')[0] == 2


def test_the_page_says_what_the_code_does():
    assert 'Not run on a real pod' in PAGE
    for name in (*sum(pod.VARIABLES.values(), ()), *pod.SLURM, *joining.OWN):
        assert f'`{name}`' in PAGE, name
    for field in ('join_seconds', 'peer_seconds'):
        assert f'machine.{field}' in PAGE and f'machine.{field}' in fields.FIELDS
    for script in (DOCS / 'pods').iterdir():
        assert f'pods/{script.name}' in PAGE
