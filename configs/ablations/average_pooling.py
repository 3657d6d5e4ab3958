"""The mean of each window in place of the largest number.

    python main.py --config=configs/ablations/average_pooling.py --workdir=/data/average_pooling \\
        --config.prepare.path=/data/ilsvrc2012

Published: no figure; the paper takes max-pooling throughout (section 3.5). Uses the images of configs/imagenet.py; to
reuse a dataset prepared for it, set --config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: unknown. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.pooling': 'average'}


def get_config() -> ConfigDict:
    """Return run 145 with average pooling."""
    config = source145.get_config()
    config.name = 'average_pooling'
    config.update_from_flattened_dict(CHANGES)
    return config
