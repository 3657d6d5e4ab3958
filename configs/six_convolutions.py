"""The paper's larger net (section 6): a sixth convolution over the last pooling layer, which sees both columns.

    python main.py --config=configs/six_convolutions.py --workdir=/data/six --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. The authors first trained this net on all of ImageNet (Fall 2011, 15
million images of 22,000 classes) and then on ILSVRC 2012; from ILSVRC alone it overfitted, say their notes.

Cost: unknown
Expected: unknown without the 15 million images; with them 39.0 % top-1 and 16.6 % top-5 error on the validation images,
ten views (paper, table 2, the row "1 CNN*").
"""

from ml_collections import ConfigDict

from configs import imagenet


def get_config() -> ConfigDict:
    """Return the recipe of configs/imagenet.py with another network."""
    config = imagenet.get_config()
    config.name = 'six_convolutions'
    config.model.preset = 'six_convolutions'
    # The paper does not say how conv6 begins: 0.03 and biases of one.
    config.model.initialization = 'source2012'
    return config
