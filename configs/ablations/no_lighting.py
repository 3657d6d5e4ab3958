"""No color noise: training images are cropped and flipped alone.

    python main.py --config=configs/ablations/no_lighting.py --workdir=/data/no_lighting \\
        --config.prepare.path=/data/ilsvrc2012

Published: lighting is worth over 1 point top-1 (paper, section 4.1); the notes name no run. Uses the images of
configs/imagenet.py; to reuse a dataset prepared for it, set --config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: over 1 point top-1 worse than 40.664 and 18.210 of run 145. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'augment.lighting': 'none'}
PUBLISHED = PublishedDifference('over 1 / -', 'section 4.1', top1=1.0)


def get_config() -> ConfigDict:
    """Return run 145 without lighting."""
    config = source145.get_config()
    config.name = 'no_lighting'
    config.update_from_flattened_dict(CHANGES)
    config.train.diary = (
        '25: learning_rate=0.001; 51: learning_rate=0.0001; 67: conv1=0.1; 72: conv1=0; 79: learning_rate=1e-05'
    )
    return config
