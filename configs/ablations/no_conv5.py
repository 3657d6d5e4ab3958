"""Run 145 without conv5: the depth of the network.

    python main.py --config=configs/ablations/no_conv5.py --workdir=/data/no_conv5 \\
        --config.prepare.path=/data/ilsvrc2012

Published: removing any of the middle layers costs about 2 points top-1 (paper, section 7), which layers and how is not
said; the notes name no run. pool5 and fc6 then see conv4's 384 maps, so that fc6 has half as many weights again. Uses
the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: about 2 points top-1 worse than 40.664 and 18.210 of run 145. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.removed_layers': 'conv5'}
PUBLISHED = PublishedDifference('about 2 / -', 'section 7', top1=2.0)


def get_config() -> ConfigDict:
    """Return run 145 without conv5 and its ReLU."""
    config = source145.get_config()
    config.name = 'no_conv5'
    config.update_from_flattened_dict(CHANGES)
    return config
