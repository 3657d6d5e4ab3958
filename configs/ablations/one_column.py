"""One column of the full width: every map sees all maps before it.

    python main.py --config=configs/ablations/one_column.py --workdir=/data/one_column \\
        --config.prepare.path=/data/ilsvrc2012

Published: no figure; 62,378,344 parameters against 60,965,224. --config.model.columns takes any number that divides
the features, 4 for instance. Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: unknown. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.columns': 1}


def get_config() -> ConfigDict:
    """Return run 145 in one column."""
    config = source145.get_config()
    config.name = 'one_column'
    config.update_from_flattened_dict(CHANGES)
    return config
