"""The schedule of run 137 of the 2012 source release on ImageNet of 2010, for the network of run 145.

    python main.py --config=configs/run137_2010.py --workdir=/data/137 --config.prepare.path=/data/ilsvrc2010

Run 137 itself had a second path of blurred images at a quarter of the size beside 32 instead of 48 kernels of conv1 per
column, which this package does not build. The rest is run 145, whose images and recipe these are.

Cost: unknown
Expected: 37.6 % top-1 and 17.1 % top-5 error on the test images, ten views (notes of run 137: 37.617 and 17.125).
What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145_2010


def get_config() -> ConfigDict:
    """Return the recipe of configs/source145_2010.py with another diary."""
    config = source145_2010.get_config()
    config.name = 'run137_2010'
    config.train.num_epochs = 103.0
    config.train.diary = (
        '25: learning_rate=0.001; 49: learning_rate=0.0001; 81: conv1=0.1, lighting=off; '
        '85: conv1=0, learning_rate=1e-05'
    )
    return config
