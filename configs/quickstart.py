"""The first run: the miniature on cut-outs of scikit-image's photographs. A smoke test, not a benchmark.

    python main.py --workdir=/tmp/alexnet

Cost: 244 to 268 s on two cores of an EPYC (Zen 4), preparation, evaluation and pictures included.
Expected: 82% top-1 on test images whose photographs were never trained on, ten views; mean of three seeds,
81.6% to 83.3% (benchmarks/results/2026-11-21-quickstart.md). Chance 10 %, nearest neighbors on pixels 20 %.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return the recipe: which of ten shapes was cut out of one photograph and pasted onto another; no download."""
    config = default.get_config()
    config.name = 'quickstart'
    config.model.preset = 'miniature'
    config.model.initialization = 'he'  # the paper's deviation of 0.01 leaves so small a network at chance
    config.prepare.source = 'cutouts'
    config.prepare.num_cutouts = '20000,1000,1000'
    config.prepare.image_size = 64  # pixels; 56 of them are seen at a time
    config.prepare.encoding = 'raw'  # 12 KB an image: no decoding in a run that two cores must carry
    config.augment.lighting = 'deviations'  # and more: the colors of seven photographs are soon memorized
    config.augment.lighting_std = 0.5
    config.train.num_epochs = 15.0  # 2,344 steps
    # For He's weights; the paper's 0.01 needs more epochs than a first run has.
    config.train.learning_rate = 0.08
    # Near 1 / 60^2: pixels deviate by 60, where He assumes one.
    config.train.layer_lr_multipliers = 'conv1=0.001'
    config.train.schedule = 'cosine'
    config.train.warmup_epochs = 0.25
    config.evaluate.every_epochs = 2.0
    config.log.stalled_loss_steps = 300  # of some 2,000
    config.machine.cpu_devices = 2  # two columns on two devices
    return config
