"""The paper's network on Imagenette, ten classes of ImageNet: a trial of the whole pipeline on real photographs.

    python main.py --config=configs/imagenette.py --workdir=/tmp/imagenette --config.prepare.path=imagenette2-320.tgz

The archive comes from github.com/fastai/imagenette; any tar of train/<class>/* and val/<class>/* does. As it has no
third split, a tenth of its training images becomes the validation split and `val` is the test split.

Cost: a step of 32 takes 0.9 to 1.1 s on two CPU cores (benchmarks/results/2026-11-21-layers.md).
Expected: unknown for the whole archive. On a part of it (1,812 training images) six epochs gave a validation
loss of 1.85 to 2.07 and about 30 % top-1 (benchmarks/results/2026-11-21-imagenette.md).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return the paper's 60 million parameters with fewer classes and smaller steps."""
    config = default.get_config()
    config.name = 'imagenette'
    config.prepare.source = 'tar'
    config.model.initialization = 'source2012'  # with the paper's own the loss can stay at ln 10 for long
    # Some 270 steps an epoch of about 8,500 images; a step takes about a second on two CPU cores.
    config.train.batch_size = 32
    config.evaluate.every_epochs = 5.0
    config.evaluate.batch_size = 32
    config.checkpoint.every_steps = 100
    config.machine.cpu_devices = 2  # a column on each
    return config
