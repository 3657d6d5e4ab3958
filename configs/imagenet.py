"""The paper: two columns on ImageNet (ILSVRC 2012), 1.28 million images of 1,000 classes, about 90 epochs.

    python main.py --config=configs/imagenet.py --workdir=/data/alexnet --config.prepare.path=/data/ilsvrc2012

Without a path, imagenet2012 is read from the data directory of TFDS (TFDS_DATA_DIR, else ~/tensorflow_datasets).
The folder holds the archives as downloaded: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
ILSVRC2012_devkit_t12.tar.gz; nothing is unpacked. For Kaggle's tree, Hugging Face's parquet files, class folders and
others set another --config.prepare.source (docs/data.md). Preparing takes --config.prepare.num_workers processes.
As the test labels of ILSVRC are not public, one in a hundred training images is the validation split, and the official
validation images are the test split, reported once.

Cost: unknown on today's devices; the paper's two GTX 580 took five to six days. Prepared as JPEG about 33 GB.
Expected: 40.7 % top-1 and 18.2 % top-5 error on the validation images for one network, ten views (paper, table 2).
What this code reaches: unknown.

Batch 128 is the whole batch, over all devices. With two columns and mesh 'auto' half of the
devices go along `column`, so that each pair takes 128 / (devices / 2) images of a step:
    8 devices (4,2): 32 images a pair. Small, but columns move little: worth it.
    64 devices (32,2): 4 images a pair. Mostly waiting for one another; a larger batch is the better use.
    256 devices (128,2): 1 image a pair, the most that batch 128 can be split; 512 devices are refused.
What such a step needs, before a machine is there (docs/pods.md), with the results of 29 November 2026. For a TPU slice:
    python main.py --config=configs/imagenet.py --mode=compile --config.compile.target=tpu:v5e:16x16 \\
        --config.train.batch_size=8192 --config.evaluate.batch_size=8192 \\
        --config.model.compute_dtype=bfloat16
    compiles; (128,2), columns on neighboring chips; 0.61 of 14.9 GiB a chip; estimate 6.9 ms a step, bound by
    the reduction of gradients.
For a host of eight GPUs, the same with --config.compile.target=cuda:h100:8:
    compiles; (4,2), columns within the host; 4.0 of 74.5 GiB a GPU; estimate 8.1 ms a step, bound by memory. At
    batch 128 one pair is best, --config.mesh=1,2 on two GPUs: estimate 0.8 ms a step (docs/scale.md).
A larger batch is another recipe: learning rate and warm-up must be tuned, and its figure is not the paper's.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return the paper's recipe (the defaults) with what ImageNet needs."""
    config = default.get_config()
    config.name = 'imagenet'
    config.prepare.source = 'imagenet2012'
    config.model.num_classes = 1000  # a folder that lacks some of them is refused
    # About 12,800 images that the paper trained on; enough for the schedule.
    config.prepare.validation_fraction = 0.01
    config.train.schedule = 'plateau'  # the paper's heuristic, applied by rule instead of by hand
    config.data.num_threads = 8  # a device that waits for photographs is the usual bottleneck
    return config
