"""Your own photographs, a few hundred are enough: a trained network learns their classes in its last layers.

    python main.py --config=configs/finetune.py --workdir=/tmp/mine --config.prepare.path=/home/me/photographs \\
        --config.finetune.path=/data/alexnet

The path is a run directory, of --mode=train or --mode=import, or a file of weights (docs/weights.md). Network, mean and
image size are those of the weights. All layers but fc8 are copied; conv1 stays as it is, fc8 is drawn anew and learns
ten times as fast. The log lists what was loaded, drawn and left over; a layer that does not fit is an error.
The photographs lie as configs/folder.py says. For less memory of the old classes raise the rate of other layers:
--config.train.layer_lr_multipliers=conv1=0,fc6=5,fc7=5,fc8=10; 0 freezes a layer.

Cost: unknown
Expected: it depends on the photographs and on the weights. 160 training photographs of ten classes and the miniature of
CIFAR-10: 61.3 % top-1 error, 70.3 % from scratch (benchmarks/results/2026-11-29-averaging.md).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return a short run at a tenth of the paper's rate, with all layers but the last from the weights."""
    config = default.get_config()
    config.name = 'finetune'
    config.model.initialization = 'source2012'  # of fc8 alone
    config.prepare.encoding = 'raw'  # few images
    config.finetune.adopt = True
    config.finetune.layers = 'conv1,conv2,conv3,conv4,conv5,fc6,fc7'
    config.train.batch_size = 32
    config.train.num_epochs = 30.0
    config.train.learning_rate = 0.001
    config.train.layer_lr_multipliers = 'conv1=0,fc8=10'
    config.train.schedule = 'cosine'
    config.train.warmup_epochs = 1.0
    config.log.stalled_loss_steps = 300
    return config
