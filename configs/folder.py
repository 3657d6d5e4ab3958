"""Your own photographs: a classifier and an honest error rate from a folder with one folder inside for each class.

    python main.py --config=configs/folder.py --workdir=/tmp/mine --config.prepare.path=/home/me/photographs

The folder holds <class>/*.jpg (also PNG and WebP), split at random but always in the same way: a tenth for validation,
a tenth for the test. Or it holds train/, validation/ and test/ with the classes inside, which are used as they are.
The names of the folders are the classes.

A class needs about a thousand images, as the network learns from these alone. With a hundred it mostly memorizes them,
and a tenth of them is a test of ten, with a wide interval. Near-copies of one scene (frames of a film, bursts) belong
into one split: sort them into train/, validation/ and test/ yourself.

Cost: 4 to 6 minutes on two cores (EPYC, Zen 4) for 2,000 photographs.
Expected: it depends on the photographs. 180 of each of ten classes of Imagenette: 36.5 % top-1 error (35.0 to 38.2,
three seeds); nearest neighbors without a network, the baseline in result.json, 68.0 %. Twice the epochs with stronger
color noise may give two points more: --config.train.num_epochs=120 --config.augment.lighting=deviations
--config.augment.lighting_std=0.5.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return the miniature at 64 pixels, for a laptop. For more: --config.model.preset=paper and image_size 256."""
    config = default.get_config()
    config.name = 'folder'
    config.model.preset = 'miniature'
    config.model.initialization = 'he'
    config.prepare.image_size = 64
    config.prepare.encoding = 'raw'  # 12 KB an image; nothing to decode in each epoch
    config.train.num_epochs = 60.0
    config.train.learning_rate = 0.05
    # Near 1 / 60^2: pixels deviate by 60, where He assumes one.
    config.train.layer_lr_multipliers = 'conv1=0.001'
    config.train.schedule = 'cosine'
    config.train.warmup_epochs = 1.0
    config.log.stalled_loss_steps = 300
    config.machine.cpu_devices = 2
    return config
