"""The first half of 1 CNN* (paper, table 2): six convolutions on all of ImageNet's Fall 2011 release.

    python main.py --config=configs/pretrain_fall2011.py --workdir=/data/fall2011 \\
        --config.prepare.path=/data/fall2011_images

The folder holds one folder for each of the 21,843 synsets, 15 million images. Then configs/finetune_fall2011.py.
Run 146-2011 of the notes had two dense layers of 1,024 units between fc7 and its outputs, which this one has not; fc6
and fc7, which are kept, are as there.

Cost: unknown; prepared as JPEG about 400 GB, and eleven times the images of ILSVRC 2012 in each epoch.
Expected: unknown; the notes give no figure of the pre-training itself. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145


def get_config() -> ConfigDict:
    """Return the recipe of run 145 for the network of run 146 on another set of images."""
    config = source145.get_config()
    config.name = 'pretrain_fall2011'
    config.model.preset = 'source146'
    config.model.num_classes = 0  # as many as there are folders
    config.prepare.source = 'folder'
    config.prepare.test_fraction = 0.01
    return config
