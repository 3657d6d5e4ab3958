"""Run 147: poolings of 2 pixels, stride 2, which do not overlap, with paddings that keep the maps near their sizes.

    python main.py --config=configs/ablations/no_overlap.py --workdir=/data/no_overlap \\
        --config.prepare.path=/data/ilsvrc2012

Published: 0.4 points worse top-1 and 0.3 top-5 than windows of 3 pixels, stride 2 (paper, section 3.4). The paper's
s=2, z=2 gives other sizes; run 147 pads conv2 by one pixel and conv5 by none, so that fc6 sees 6x6 again (60,965,224
parameters, as run 145). The notes name no epoch at which the lighting stopped. Uses the images of configs/imagenet.py;
to reuse a dataset prepared for it, set --config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: 41.058 % top-1 and 18.510 % top-5 error on the validation images of 2012, ten views, against 40.664 and
18.210 of run 145; +0.394 and +0.300. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation as --mode=ablations makes it in any network; get_config takes the preset of the recorded run.
CHANGES = {'model.pool_overlap': 'none'}
PUBLISHED = PublishedDifference('0.4 / 0.3', 'section 3.4', top1=0.4)


def get_config() -> ConfigDict:
    """Return run 145 with the poolings and the diary of run 147."""
    config = source145.get_config()
    config.name = 'no_overlap'
    config.model.preset = 'source147'
    config.train.num_epochs = 90.0
    config.train.diary = '23: learning_rate=0.001; 51: learning_rate=0.0001; 79: conv1=0, learning_rate=1e-05'
    return config
