"""The paper's one-GPU net (section 3.2): conv1 to conv4 with half the kernels in one column, the rest as it was.

    python main.py --config=configs/one_gpu.py --workdir=/data/one_gpu --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. The paper sets this net against its two columns, which are better by 1.7
points top-1 and 1.2 top-5; with conv5 and the dense layers whole, both have about as many parameters.

Cost: unknown
Expected: unknown on ILSVRC 2012. On the test images of 2010, ten views, the authors' notes have 39.2 % top-1 and 18.2 %
top-5 error, against 37.5 % and 17.0 % in two columns (runs 145-half and 145).
"""

from ml_collections import ConfigDict

from configs import imagenet


def get_config() -> ConfigDict:
    """Return the recipe of configs/imagenet.py with another network."""
    config = imagenet.get_config()
    config.name = 'one_gpu'
    config.model.preset = 'one_gpu'
    return config
