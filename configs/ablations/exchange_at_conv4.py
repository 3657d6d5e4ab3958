"""Runs 132 and 133: the exchange at conv4 in place of conv3.

    python main.py --config=configs/ablations/exchange_at_conv4.py --workdir=/data/exchange_at_conv4 \\
        --config.prepare.path=/data/ilsvrc2012

Published in the notes alone: killed, worse (with other details of those days). In the source conv4 lists its own half
first, which renumbers inputs only. Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: unknown; worse than 40.664 and 18.210 of run 145. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.exchange_layers': 'conv4,fc6,fc7,fc8'}
PUBLISHED = PublishedDifference('worse', 'runs 132 and 133')


def get_config() -> ConfigDict:
    """Return run 145 with another exchange."""
    config = source145.get_config()
    config.name = 'exchange_at_conv4'
    config.update_from_flattened_dict(CHANGES)
    return config
