"""The pictures of a run while it trains, in its directory and in TensorBoard."""

import numpy as np
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax.commands import training_pictures
from alexnet_jax.data import dataset
from alexnet_jax.evaluate.evaluator import Predictions


class Recorder:
    """A MetricsWriter of which only the pictures are looked at."""

    def __init__(self):
        self.pictures = []

    def add_picture(self, step, tag, file):
        with Image.open(file) as picture:
            self.pictures.append((step, tag, picture.size))


def test_curves_kernels_and_predictions_are_those_of_the_step(trained, tmp_path):
    data, recorder = dataset.open_dataset(f'{trained[1]}/dataset'), Recorder()
    (tmp_path / 'metrics.jsonl').write_text(
        '{"step": 2, "epoch": 0.5, "rate": 0.1, "loss": 2.2, "top1_error": 0.8}\n'
        '{"step": 4, "validation_loss": 2.0, "validation_top1_error": 0.7}\n'
    )
    kernels = np.random.default_rng(0).normal(size=(2, 5, 5, 3, 8)).astype(np.float32)
    ids, right = np.arange(16, dtype=np.int32), np.arange(16) % 2
    predictions = Predictions(ids, ids % 10, (ids + right) % 10, np.full(16, 0.5, np.float32), ids)

    def refresh(predictions, step):
        training_pictures.refresh_pictures(
            recorder, tiny_config(), data, kernels, predictions, step=step, workdir=str(tmp_path)
        )

    refresh(predictions, 4)
    files = {name: (tmp_path / name).read_bytes() for name in ('curves.png', 'kernels.png', 'answers.png')}
    assert [picture[:2] for picture in recorder.pictures] == [(4, 'kernels/conv1'), (4, 'validation/predictions')]
    kernels = kernels[::-1]
    refresh(None, 6)  # without a validation split
    assert recorder.pictures[2:] == [(6, 'kernels/conv1', recorder.pictures[0][2])]
    changed = {name for name, content in files.items() if (tmp_path / name).read_bytes() != content}
    assert changed == {'curves.png', 'kernels.png'}
