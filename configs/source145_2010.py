"""Run 145 of the 2012 source release on ImageNet of 2010, whose test labels are public: the paper's table 1.

    python main.py --config=configs/source145_2010.py --workdir=/data/145 --config.prepare.path=/data/ilsvrc2010

The folder holds the archives of ILSVRC 2010 as downloaded (docs/data.md). The network and recipe are those of
configs/source145.py; the diary is that of 2012-09-27, and the official validation split is used for validation.

Cost: unknown on today's devices; the paper's two GTX 580 took five to six days.
Expected: 37.5 % top-1 and 17.0 % top-5 error on the 150,000 test images, ten views; 39.0 % and 18.3 % with the center
view (37.4727 and 16.9987, 39.0247 and 18.2953 in the notes). What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145


def get_config() -> ConfigDict:
    """Return the recipe of configs/source145.py with the other images and their diary."""
    config = source145.get_config()
    config.name = 'source145_2010'
    config.prepare.source = 'imagenet2010'
    config.train.num_epochs = 93.0
    config.train.diary = (
        '23: learning_rate=0.001; 51: learning_rate=0.0001; 68: conv1=0.1, lighting=off; 72: conv1=0; '
        '78: learning_rate=1e-05'
    )
    return config
