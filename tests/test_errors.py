"""Mistakes on the command line: each gets one sentence and exit status 2, and nothing is written.

All are made in one process, which calls `main.main`.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from alexnet_jax.data import dataset_info

ROOT = Path(__file__).resolve().parent.parent

# {f} is the folder of all that is made for them, `quick` the words that would train for a moment.
QUICK = (
    '--workdir={f}/run --config.prepare.num_cutouts=48,16,20 --config.train.batch_size=8 --config.train.num_epochs=0.5 '
    '--config.evaluate.batch_size=8 --config.train.warmup_epochs=0 --config.log.tensorboard=False'
).split()
MINE = '--config=configs/folder.py --workdir={f}/run'.split()
PREPARE = '--config=configs/folder.py --mode=prepare --workdir={f}/run'.split()
IMAGES = '--config.prepare.path={f}/images'
# The name of the mistake, the words typed, and what the answer says.
MISTAKES = {
    'a field that does not exist': ('--config.train.bach_size=64', 'did you mean'),
    'a field without its section': (
        '--config.batch=64',
        'did you mean config.train.batch_size or config.evaluate.batch_size?',
    ),
    'a section for a field': ('--config.train=64', 'config.train is a section and not a field; its fields are'),
    'a flag that does not exist': ('--workdri=/tmp/x', 'no flag --workdri; did you mean --workdir?'),
    "another trainer's flag": ('--lr=0.1', 'no flag --lr; did you mean --config.train.learning_rate=...?'),
    'a card behind its fields': (
        '--config.data.directory={f}/run --config=configs/folder.py',
        'Give --config before its fields.',
    ),
    'two cards': (
        '--config=configs/folder.py --config=configs/imagenet.py --config.train.batch_size=3',
        '--config is given twice; give it once.',
    ),
    'an image that is no flag': ('--mode=predict --workdir={f}/run cat.jpg', 'use --images=cat.jpg'),
    'nothing to verify': ('--mode=verify', 'Nothing to verify: set --workdir or --config.data.dir'),
    'a mode that is nearly one': ('--mode=eval', "no mode 'eval'; did you mean evaluate?"),
    'a path for the cut-outs': (
        '--workdir={f}/run --config.prepare.path=~/photos',
        "path is '~/photos', but cutouts are generated. Use --config=configs/folder.py",
    ),
    'a preset for larger images': (
        '--workdir={f}/run --config.model.preset=paper',
        'Raise config.prepare.image_size to 256 or',
    ),
    'another number of classes than there are cut-outs': (
        [*QUICK, '--config.model.num_classes=3'],
        'the source cutouts has 10 classes. Set --config.model.num_classes=0 to take their number.',
    ),
    'a class without an image': (
        [*MINE, '--config.prepare.path={f}/halves'],
        "only one class, 'dogs', and a classifier needs two (no images in 'cats');",
    ),
    'no field as a flag': ('--train.lr=0.1', 'no flag --train.lr; did you mean --config.train.learning_rate=...?'),
    'a card that is nearly one': (
        '--config=configs/imagnet.py --workdir={f}/run',
        "no config file 'configs/imagnet.py'; did you mean configs/imagenet.py?",
    ),
    'a card of no name': ('--config= --workdir={f}/run', "no config file ''; choose one such as"),
    'an address for an image': (
        '--mode=predict --workdir={f}/whole --images=https://example.org/cat.jpg',
        'https://example.org/cat.jpg is a URL',
    ),
    'a device for an image': ('--mode=predict --workdir={f}/whole --images=/dev/zero', '/dev/zero is not a file'),
    'a zip for a folder': ([*MINE, '--config.prepare.path={f}/images.zip'], 'set --config.prepare.source=zip.'),
    'a zip for a tar': (
        [*MINE, '--config.prepare.path={f}/images.zip', '--config.prepare.source=tar'],
        'for a zip file set --config.prepare.source=zip.',
    ),
    'a tar for a zip': (
        [*MINE, '--config.prepare.path={f}/images.tar', '--config.prepare.source=zip'],
        'for a tar file set --config.prepare.source=tar.',
    ),
    'no archive': (
        '--config=configs/cifar10.py --workdir={f}/run',
        "the source 'cifar10' needs the file cifar-10-binary.tar.gz.",
    ),
    'a field as a flag': (
        '--train.batch_size=64',
        'no flag --train.batch_size; did you mean --config.train.batch_size=',
    ),
    'a mode that does not exist': (
        '--mode=test --workdir={f}/run',
        "no mode 'test'; the modes are train, prepare, evaluate",
    ),
    'a word that is no flag': ('train --workdir={f}/run', "'train' is not a flag"),
    'no workdir': ('--mode=train', 'set one such as --workdir='),
    'a card that does not exist': (
        '--config=imagenet --workdir={f}/run',
        "no config file 'imagenet'; did you mean configs/imagenet.py?",
    ),
    'a card with a mistake in its syntax': (
        '--config={f}/syntax.py',
        "syntax.py, line 4: SyntaxError: '(' was never closed",
    ),
    'a card that stumbles': ('--config={f}/stumbles.py', 'stumbles.py, line 5: AttributeError'),
    'a text for a number': (
        '--config.train.num_epochs=ten',
        "config.train.num_epochs is 'ten'; expected a number above 0",
    ),
    'a fraction for a whole number': ('--config.train.batch_size=1.5', 'expected a whole number from 1'),
    'a value out of its range': ('--config.train.momentum=1', 'expected a number from 0 and below 1'),
    'an unknown word': ('--config.train.schedule=linear', 'expected one of step, cosine, polynomial, plateau, diary'),
    'images for another mode': (
        [*QUICK, '--images=cat.jpg'],
        '--images is for --mode=predict or features or ensemble or neighbors or figures; --mode=train takes none',
    ),
    'no images': ('--mode=predict --workdir={f}/run', 'No images were named'),
    'images that do not exist': ('--mode=predict --workdir={f}/run --images={f}/no.jpg', 'no.jpg does not exist'),
    'a workdir that is a file': ('--workdir={f}/file', 'file is not a folder that you may write to'),
    'a workdir that cannot be made': (
        '--workdir=/proc/alexnet --config.data.directory={f}/whole/dataset --config.train.batch_size=8',
        'cannot be created',
    ),
    'nothing to train on': (MINE, 'config.prepare.path is empty. Set --config.prepare.path='),
    'a path that does not exist': ([*MINE, '--config.prepare.path={f}/nowhere'], 'does not exist'),
    'an empty folder': ([*MINE, '--config.prepare.path={f}/empty'], 'holds no image; expected split/class/image'),
    'one class alone': ([*MINE, '--config.prepare.path={f}/alone'], 'holds only one class'),
    'images in no class': ([*MINE, '--config.prepare.path={f}/images/cat'], 'is in no class folder'),
    'a file for a folder': (
        [*MINE, '--config.prepare.path={f}/file'],
        'is no folder; set --config.prepare.path to a folder or an archive.',
    ),
    'another number of classes': (
        [*MINE, IMAGES, '--config.model.num_classes=10'],
        'images has 2 classes. Set --config.model.num_classes=0',
    ),
    'another number of classes than prepared': (
        [*QUICK, '--config.data.directory={f}/whole/dataset', '--config.model.num_classes=7'],
        'classes is 7, but the dataset in',
    ),
    'images too small for the network': (
        [*QUICK, '--config.data.directory={f}/whole/dataset', '--config.model.preset=paper'],
        'paper needs crops of 224 pixels, but the images in',
    ),
    'a damaged image': (
        [*PREPARE, '--config.prepare.path={f}/damaged'],
        '1 image cannot be read (--config.prepare.max_unreadable=0): cat/3.png: a damaged',
    ),
    'a batch that the mesh does not divide': (
        [*QUICK, '--config.mesh=2,1', '--config.train.batch_size=7'],
        'multiple of 2',
    ),
    'an evaluation that the mesh does not divide': (
        [*QUICK, '--config.mesh=2,1', '--config.evaluate.batch_size=7'],
        'make config.evaluate.batch_size a multiple of 2',
    ),
    'a mesh larger than the devices': (
        [*QUICK, '--config.mesh=4,2'],
        'needs 8 devices, but there are 2; choose a smaller',
    ),
    'a mesh that does not divide the columns': ([*QUICK, '--config.mesh=1,4'], 'divides the 2 columns of miniature'),
    "another run's workdir": (
        [*QUICK, '--workdir={f}/whole', '--config.train.momentum=0.5'],
        'whole holds another run: config.',
    ),
    'checkpoints of another network': (
        '--mode=predict --workdir={f}/mixed --images={f}/images/cat/0.png',
        'is of another network: parameters/fc8/bias is float32 (2, 5) there and float32 (2, 1) here. Put the',
    ),
    'the dataset of a run, removed': (
        '--mode=evaluate --workdir={f}/mixed',
        'mixed/dataset does not exist; prepare one with "python main.py --mode=prepare ...", which also continues an '
        'unfinished one, or set --config.data.directory to one.',
    ),
    'a checkpoint that is not there': (
        '--mode=evaluate --workdir={f}/whole --config.evaluate.checkpoint=77',
        'no checkpoint of step 77',
    ),
    'a folder that was never trained in': ('--mode=evaluate --workdir={f}/empty', 'has no trained run. Train first'),
    'half a dataset': ([*QUICK, '--config.data.directory={f}/half'], 'is missing. 1 of'),
    'no space': ([*QUICK, '--workdir={f}/full'], 'No space is left (run.json); free some space'),
    'plateaus without validation, by the config alone': (
        '--config=configs/imagenet.py --workdir={f}/run --config.prepare.validation_fraction=0',
        'plateau needs a validation split, and imagenet2012 has none at config.prepare.val',
    ),
    'plateaus without validation': (
        [*MINE, IMAGES, '--config.train.schedule=plateau', '--config.prepare.validation_fraction=0'],
        'needs a validation split',
    ),
}
DRIVER = """
import contextlib, errno, io, json, sys
from unittest import mock
import main
answers = {}
for name, words in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    full = OSError(errno.ENOSPC, 'No space left on device', 'run.json')
    on_disk = mock.patch('os.replace', side_effect=full) if name == 'no space' else contextlib.nullcontext()
    with contextlib.redirect_stderr(err), on_disk:
        try:
            status = main.main(['main.py', *words])
        except BaseException as error:
            status = repr(error)
    answers[name] = [status, err.getvalue()]
with open(sys.argv[1], 'w') as file:
    json.dump(answers, file)
"""


def pictures(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (70, 70), (20 * number, 90, 0)).save(folder / name)


def furnished(folder, whole):
    """Fill the folder in which the mistakes are made."""
    (folder / 'empty').mkdir()
    (folder / 'file').touch()
    for form in ('zip', 'tar'):
        shutil.make_archive(str(folder / 'images'), form, folder / 'empty')
    begin = 'from configs import default\n\ndef get_config():\n'
    (folder / 'syntax.py').write_text(begin + '    config = default.get_config(\n    return config\n')
    (folder / 'stumbles.py').write_text(begin + '    config = default.get_config()\n    config.trian.batch = 3\n')
    for name in ('images', 'damaged'):
        pictures(folder / name, *(f'{kind}/{number}.png' for kind in ('cat', 'dog') for number in range(8)))
    pictures(folder / 'halves', 'dogs/1.png', 'dogs/old/2.png')
    for name in ('cats/1.txt', 'dogs/old/about/2.txt', 'readme.txt'):
        (folder / 'halves' / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / 'halves' / name).touch()
    pictures(folder / 'alone', 'cat/1.png', 'cat/2.png')
    (folder / 'damaged/cat/3.png').write_bytes((folder / 'images/cat/3.png').read_bytes()[:60])
    for name in ('whole', 'mixed'):
        shutil.copytree(whole, folder / name)
    shutil.copytree(folder / 'whole/dataset', folder / 'half')
    next((folder / 'half').glob('*train*array_record*')).unlink()
    # A run of two classes with the checkpoints of one of ten, and without its dataset.
    file = folder / 'mixed/dataset_info.npz'
    info = dataset_info.read_dataset_info(file)
    two = {'class_names': ('cat', 'dog'), 'class_descriptions': ('cat', 'dog')}
    dataset_info.write_dataset_info(file, dataclasses.replace(info, **two))
    shutil.rmtree(folder / 'mixed/dataset')


@pytest.fixture(scope='module')
def answers(trained, tmp_path_factory):
    """Return status and message of each mistake, and the folder in which they were made."""
    config, whole = trained
    folder = tmp_path_factory.mktemp('mistakes')
    furnished(folder, whole)
    asked = {}
    for name, (words, _) in MISTAKES.items():
        words = words.split() if isinstance(words, str) else words
        asked[name] = [word.replace('{f}', str(folder)) for word in words]
    done = subprocess.run(
        [sys.executable, '-c', DRIVER, str(folder / 'answers.json')],
        input=json.dumps(asked),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / 'answers.json').read_text()), folder


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_gets_one_sentence_and_status_2(name, answers):
    status, said = answers[0][name]
    assert status == 2
    *before, sentence = said.splitlines()
    assert MISTAKES[name][1] in sentence and sentence.endswith(('.', '?', '"'))
    assert all(line.startswith('prepared ') for line in before)


def test_nothing_was_trained_where_a_mistake_was_made(answers):
    folder = answers[1]
    assert not list((folder / 'run').glob('checkpoints')) and not (folder / 'run' / 'metrics.jsonl').exists()
