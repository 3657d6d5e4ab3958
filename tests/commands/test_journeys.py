"""Journeys: each form of images through prepare, train and evaluate, as the modes do it, to the very same figures."""

import json

import archives
import pytest

from alexnet_jax import commands
from alexnet_jax.data import image_io
from alexnet_jax.prepare.sources import cutouts
from configs import default

FORMS = {
    'ILSVRC-2012': archives.official_2012,
    'ILSVRC-2010': archives.official_2010,
    'synsets': archives.synsets,
    'synsets in one tar': archives.synsets_in_one,
    'kaggle': archives.kaggle,
    'parquet': archives.parquet,
    'folders': archives.class_folders,
    'tar': archives.class_tar,
    'tar.gz': archives.class_tgz,
    'zip': archives.class_zip,
    'tfds': archives.tfds,
}
LABELS = {
    wnid: label for label, wnid in enumerate(archives.CLASSES)
}  # the cut-outs' shapes that stand for them


def pictures(year=2012):
    """Cut-outs, and made images where files are odd."""
    found = archives.images(year)
    for split, of_split in found.items():
        for number, (name, wnid) in enumerate(of_split):
            if (
                split != 'train' or number >= 4
            ):  # of which archives has a gray, an inked, a lying and a gzipped one
                image, _ = cutouts.make_cutout('train', 10 * number + LABELS[wnid], 0, 80)
                of_split[name, wnid] = image_io.encode_jpeg(image, 90)
    return found


def config_of(kind, path):
    """Three steps of a network that sees 32 pixels."""
    config = default.get_config()
    config.update_from_flattened_dict({
        'model.preset': 'miniature', 'model.crop_size': 32, 'model.initialization': 'he',
        'prepare.source': kind, 'prepare.path': str(path), 'prepare.image_size': 40,
        'prepare.expected_counts': 'listed', 'prepare.validation_fraction': 0.3,
        'train.batch_size': 6, 'train.num_epochs': 2.0, 'train.learning_rate': 0.001,
        'evaluate.batch_size': 6, 'evaluate.views': 1, 'log.every_steps': 1, 'log.tensorboard': False,
        'mesh': '1,1',
    })  # fmt: skip
    return config


def travelled(form, root):
    """The figures of training and evaluation, and the rows of the journal."""
    found = pictures(2010 if form == 'ILSVRC-2010' else 2012)
    config = config_of(*FORMS[form](root / 'images', found))
    numbers = commands.run('prepare', config, str(root / 'run'))
    commands.run('train', config, str(root / 'run'))
    rows = (root / 'run' / 'metrics.jsonl').read_text()
    figures = commands.run('evaluate', config, str(root / 'run'))
    return numbers, figures, rows


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    return travelled('ILSVRC-2012', tmp_path_factory.mktemp('first'))


LONG = ('synsets in one tar', 'tar')  # whose way is that of others: left out where time is short


@pytest.mark.parametrize(
    'form',
    [
        pytest.param(form, marks=[pytest.mark.slow] * (form in LONG))
        for form in FORMS
        if form != 'ILSVRC-2012'
    ],
)
def test_every_form_is_prepared_trained_on_and_evaluated_to_the_same_figures(form, first, tmp_path):
    numbers, figures, rows = travelled(form, tmp_path)
    steps = {'ILSVRC-2010': [1, 2, 3, 4]}.get(form, [1, 2, 3])
    assert (figures['split'], figures['images'], figures['checkpoint_step']) == ('test', 6, steps[-1])
    assert [row['step'] for row in map(json.loads, rows.splitlines()) if 'loss' in row] == steps
    if form == 'ILSVRC-2010':  # other images, and a validation split of its own
        assert (numbers['train'], numbers['validation'], numbers['test']) == (12, 6, 6)
    else:
        assert {**numbers, 'seconds': 0} == {**first[0], 'seconds': 0}
        assert (figures, rows) == first[1:]


def test_the_modes_leave_dataset_report_card_contact_sheet_run_and_figures(first, tmp_path_factory):
    folder = next(tmp_path_factory.getbasetemp().glob('first*')) / 'run'
    left = {path.name for path in (folder / 'dataset').iterdir()}
    assert {'manifest.json', 'report.json', 'README.md', 'contact.png', 'statistics.npz'} <= left
    assert '.preparing' not in left
    assert json.loads((folder / 'evaluation.json').read_text()) == first[1]
