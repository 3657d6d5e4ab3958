"""Your own photographs: a classifier and an honest error rate from a folder with one folder inside for each class.

    python main.py --config=configs/folder.py --workdir=/tmp/mine --config.prepare.path=/home/me/photographs

The folder holds <class>/*.jpg (also PNG and WebP), and is split by chance, though always in the same way: a tenth for
validation, a tenth for the test; or it holds train/, validation/ and test/ with the classes inside, and is taken so.
The classes and their number are read from the folders' names.

How many a class needs: about a thousand images, as this network learns from nothing but these. With a hundred it mostly
learns them by heart, and a tenth of them is a test of ten: its interval will say how little that means. Near-copies of
one scene (frames of a film, bursts) belong into one split: sort those into train/, validation/ and test/ yourself.

Cost: unknown
Expected: unknown, as it depends on the photographs; the baseline in result.json says what colors alone would reach.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The miniature at 64 pixels, which a laptop trains; --config.model.preset=paper with side 256 for more."""
    config = default.get_config()
    config.name = 'folder'
    config.model.preset = 'miniature'
    config.model.initialization = 'he'
    config.prepare.image_size = 64
    config.prepare.encoding = 'raw'  # 12 KB an image; nothing to decode in each epoch
    config.train.num_epochs = 60.0
    config.train.learning_rate = 0.05
    config.train.layer_lr_multipliers = (
        'conv1=0.001'  # near 1 / 60^2: pixels deviate by 60, where He assumes one
    )
    config.train.schedule = 'cosine'
    config.train.warmup_epochs = 1.0
    config.log.stalled_loss_steps = 300
    config.machine.ynnpack_dots_only = False  # faster so for the miniature
    config.machine.cpu_devices = 2
    return config
