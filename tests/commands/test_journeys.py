"""Each form of images goes through the modes prepare, train and evaluate to the same figures."""

import json

import archives
import pytest

from alexnet_jax import commands
from alexnet_jax.data import image_io
from alexnet_jax.prepare.sources import cutouts
from configs import default

pytestmark = pytest.mark.usefixtures('module_without_plots')

FORMS = {
    'ILSVRC-2012': archives.write_imagenet2012,
    'ILSVRC-2010': archives.write_imagenet2010,
    'synsets': archives.write_synsets,
    'synsets in one tar': archives.write_synsets_in_one_tar,
    'kaggle': archives.write_kaggle,
    'parquet': archives.write_parquet,
    'folders': archives.write_class_folders,
    'tar': archives.write_class_tar,
    'tar.gz': archives.write_class_tgz,
    'zip': archives.write_class_zip,
    'tfds': archives.write_tfds,
}
# Shapes of cutouts that stand for them.
LABELS = {wnid: label for label, wnid in enumerate(archives.CLASSES)}


def make_images(year=2012):
    """Return cutouts, and the images of `archives` whose files have anomalies."""
    found = archives.make_images(year)
    for split, of_split in found.items():
        for number, (name, wnid) in enumerate(of_split):
            # The first four of training are gray, CMYK, rotated by EXIF and gzipped.
            if split != 'train' or number >= 4:
                image, _ = cutouts.make_cutout('train', 10 * number + LABELS[wnid], 0, 80)
                of_split[name, wnid] = image_io.encode_jpeg(image, 90)
    return found


def make_config(kind, path):
    """Return a config of three steps of a network that sees 32 pixels."""
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


def run_journey(form, root):
    """Return the summary of the preparation, the figures of the evaluation and the rows of the metrics."""
    found = make_images(2010 if form == 'ILSVRC-2010' else 2012)
    config = make_config(*FORMS[form](root / 'images', found))
    summary = commands.run('prepare', config, str(root / 'run'))
    commands.run('train', config, str(root / 'run'))
    rows = (root / 'run' / 'metrics.jsonl').read_text()
    figures = commands.run('evaluate', config, str(root / 'run'))
    return summary, figures, rows


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    return run_journey('ILSVRC-2012', tmp_path_factory.mktemp('first'))


# The datasets of the other forms are the same (tests/prepare/test_forms.py), and mode prepare takes each of them
# (tests/prepare/test_hostile.py).
FAST = ('ILSVRC-2010', 'folders', 'tfds')


@pytest.mark.parametrize(
    'form',
    [pytest.param(form, marks=[] if form in FAST else [pytest.mark.slow]) for form in FORMS if form != 'ILSVRC-2012'],
)
def test_every_form_is_prepared_trained_on_and_evaluated_to_the_same_figures(form, first, tmp_path):
    summary, figures, rows = run_journey(form, tmp_path)
    steps = {'ILSVRC-2010': [1, 2, 3, 4]}.get(form, [1, 2, 3])
    assert (figures['split'], figures['images'], figures['checkpoint_step']) == ('test', 6, steps[-1])
    assert [row['step'] for row in map(json.loads, rows.splitlines()) if 'loss' in row] == steps
    if form == 'ILSVRC-2010':  # other images, and a validation split of its own
        assert (summary['train'], summary['validation'], summary['test']) == (12, 6, 6)
    else:
        assert {**summary, 'seconds': 0} == {**first[0], 'seconds': 0}
        assert (figures, rows) == first[1:]


def test_the_modes_leave_dataset_report_card_contact_sheet_run_and_figures(first, tmp_path_factory):
    folder = next(tmp_path_factory.getbasetemp().glob('first*')) / 'run'
    left = {path.name for path in (folder / 'dataset').iterdir()}
    assert {'manifest.json', 'report.json', 'README.md', 'contact.png', 'statistics.npz'} <= left
    assert '.preparing' not in left
    assert json.loads((folder / 'evaluation.json').read_text()) == first[1]
