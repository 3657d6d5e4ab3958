"""Declare every config field once: default, meaning, values, whether it may change on resuming, and by host.

`python -m alexnet_jax.config.schema > docs/config.md` writes the list of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import parse
from alexnet_jax.config.field import MAX_INT, Field
from alexnet_jax.evaluate import view_places

MAX_BATCH_SIZE = 2**17  # images; four times the 32,768 of You et al. (2017)
MAX_SEED = 2**32 - 1  # what JAX, NumPy and grain all take


def _seed(help: str) -> Field:
    return Field(0, help, 0, MAX_SEED)


def _fraction(default: float, help: str) -> Field:
    return Field(default, help, 0, 1, exclusive_high=True)


def _section(name: str, fields: Mapping[str, Field], **common: bool) -> dict[str, Field]:
    """Return the fields under their full names, with what they have in common."""
    return {f'{name}.{field}': dataclasses.replace(value, **common) for field, value in fields.items()}


# Architecture and precision.
_MODEL = {
    'preset': Field('paper', 'the network; the next fields change it', choices='alexnet_jax.models.presets.PRESETS'),
    'num_classes': Field(0, '0: as many as the dataset has', 0, MAX_INT),
    'crop_size': Field(0, "pixels; 0: the preset's own (paper: 224, of images of 256)", 0, MAX_INT),
    'columns': Field(0, "in how many parts; 0: as many as the preset's", 0, 64),
    'removed_layers': Field(
        '',
        'convolutions to leave out, each with its activation',
        parse=parse.layer_names,
        expected="convolutions such as 'conv3,conv4', or empty",
    ),
    'feature_multipliers': Field(
        '',
        'on the numbers of features of layers',
        parse=parse.layer_multipliers,
        expected="multipliers by layer such as 'conv1=0.5,fc6=2', or empty",
    ),
    'exchange_layers': Field(
        '',
        "layers that see all columns; none; empty: the preset's own",
        parse=parse.layer_names,
        expected="layers such as 'conv3,fc6,fc7,fc8', none, or empty",
    ),
    'activation': Field('', "empty: the preset's own", choices='alexnet_jax.models.overrides.ACTIVATIONS'),
    'pooling': Field('', "empty: the preset's own", choices='alexnet_jax.models.overrides.POOLINGS'),
    'pool_overlap': Field(
        '',
        "none: windows as wide as their stride, which give maps of the same sizes; empty: the preset's own",
        choices='alexnet_jax.models.overrides.POOL_OVERLAPS',
    ),
    'normalization': Field(
        '',
        "none: no response normalization; norm1: that one alone; empty: the preset's own",
        choices='alexnet_jax.models.overrides.NORMALIZATIONS',
    ),
    'lrn_alpha_over_n': Field(
        '',
        "divide alpha of response normalization by n: true in the 2012 source; empty: the preset's own",
        choices='alexnet_jax.models.overrides.ALPHA_OVER_N',
    ),
    'dropout': Field(
        '',
        "paper: times keep probability at test; inverted: divided by it in training; empty: the preset's own",
        choices='alexnet_jax.models.overrides.DROPOUTS',
    ),
    'dropout_position': Field(
        '',
        "after fc6 and fc7 (paper) or before them (torchvision); empty: the preset's own",
        choices='alexnet_jax.models.overrides.DROPOUT_POSITIONS',
    ),
    'initialization': Field('paper', 'initial weights', choices='alexnet_jax.models.initializers.INITIALIZATIONS'),
    'compute_dtype': Field(
        'float32',
        'bfloat16: half the memory and bandwidth; parameters and loss stay float32',
        choices=('float32', 'bfloat16'),
    ),
    'exchange_dtype': Field(
        '',
        'round what exchanging layers see, own numbers too, and its gradient, as run 170-quant; empty: no rounding',
        choices=('', 'float16', 'bfloat16'),
    ),
    'matmul_precision': Field(
        'float32',
        'of float32 products on GPU and TPU; tensorfloat32: faster, 10 bits of mantissa',
        choices=('float32', 'tensorfloat32', 'bfloat16'),
    ),
    'use_reference_ops': Field(False, 'plain gradients, for forward-mode and second derivatives', resumable=True),
}
_DATA = {
    'directory': Field('', 'prepared dataset; empty: <workdir>/dataset', per_host=True),
    'num_threads': Field(2, 'threads that decode; batches do not depend on it', 1, 1024, per_host=True),
    'prefetch': Field(2, 'batches that wait on the device', 1, 1024, per_host=True),
    'device_cache': Field(False, 'keep all training images as uint8 on every device, if they fit'),
}
# How images become a dataset.
_PREPARE = {
    'source': Field('folder', 'form of the images; docs/data.md', choices='alexnet_jax.prepare.sources.SOURCES'),
    'path': Field('', 'folder or archive, or the folder that holds the archives', resumable=True),
    'image_size': Field(256, 'pixels of the shorter side, then center square (paper, section 2)', 8, 8192),
    'encoding': Field(
        'jpeg',
        'jpeg: small; raw: uint8 pixels, faster to read, about eight times larger',
        choices='alexnet_jax.data.encoding.ENCODINGS',
    ),
    'jpeg_quality': Field(95, 'of encoding jpeg', 1, 100),
    'validation_fraction': _fraction(0.1, 'of the training images, if the source has no such split'),
    'test_fraction': _fraction(0.1, 'of the training images, if the source has no such split'),
    'num_cutouts': Field(
        '8000,1000,1000',
        'images to make, for source cutouts',
        parse=parse.split_counts,
        expected=f'three whole numbers from 1 to {parse.MAX_CUTOUTS:,} for train, validation and test, '
        'such as 8000,1000,1000',
    ),
    'expected_counts': Field(
        'official',
        'images that ImageNet and CIFAR-10 must have: all of the official ones, those listed, or any',
        choices='alexnet_jax.prepare.sources.COUNT_CHECKS',
        resumable=True,
    ),
    'verify_md5': Field(False, "compare ImageNet's archives with their known MD5; reads all", resumable=True),
    'max_unreadable': Field(0, 'unreadable images that may be left out', 0, MAX_INT, resumable=True),
    'num_workers': Field(1, 'processes; the bytes written do not depend on it', 1, 1024, resumable=True),
    'seed': _seed('decides random splits and cut-outs'),
}
_AUGMENT = {
    'horizontal_flip': Field(True, 'flip with probability one half'),
    'mean': Field(
        'image',
        'image: cropped as the image is; center: unmoved, as in the 2012 source; channel: three numbers',
        choices='alexnet_jax.data.augment.MEAN_KINDS',
    ),
    'lighting': Field(
        'eigenvalues',
        "scale of the color shift: eigenvalues, the paper's formula; deviations, the 2012 source's; none",
        choices='alexnet_jax.data.augment.LIGHTING_KINDS',
    ),
    'pca_basis': Field(
        'dataset',
        'principal colors: of the training split, or published ones of ImageNet',
        choices='alexnet_jax.data.statistics.PCA_BASES',
    ),
    'lighting_std': Field(0.1, 'of the three normal draws of the color shift', 0),
    'lighting_rescale': Field(
        False, 'divide images less the mean by 1 + lighting_std while there is lighting, as in the 2012 source'
    ),
    'crop_block': Field(1, 'images in a row that share one crop and flip; 32 in the 2012 source', 1, MAX_INT),
}
_TRAIN = {
    'batch_size': Field(128, 'images per step, over all devices', 1, MAX_BATCH_SIZE),
    'grad_accumulation': Field(1, 'parts of a batch, one after another, for less memory', 1, MAX_INT, resumable=True),
    'num_epochs': Field(90.0, 'passes over the training images', 0, 100_000, exclusive_low=True),
    'learning_rate': Field(0.01, "the paper's epsilon", 0, exclusive_low=True),
    'batch_scaling': Field(
        'none',
        'on the learning rate by batch_size / reference_batch_size',
        choices='alexnet_jax.train.schedule.BATCH_SCALINGS',
    ),
    'reference_batch_size': Field(128, 'of batch_scaling', 1, MAX_BATCH_SIZE),
    'optimizer': Field(
        'sgd', "sgd: the paper's rule; lars: a rate by layer, for large batches", choices=('sgd', 'lars')
    ),
    'trust_coefficient': Field(0.001, 'lars: length of an update as a fraction of that of the weights', 0),
    'momentum': _fraction(0.9, 'fraction of the last update that is kept (paper, section 5)'),
    'weight_decay': Field(0.0005, "multiplied by the learning rate, as in the paper's update rule", 0),
    'schedule': Field(
        'step',
        'step: divide by ten at milestones; cosine: to zero; polynomial: by the square of what is left; plateau: '
        'divide by ten when validation stalls; diary: as train.diary says',
        choices='alexnet_jax.train.schedule.SCHEDULES',
    ),
    'milestones': Field(
        '30,60,80',
        'epochs of schedule step; the paper divided by hand, three times',
        parse=parse.increasing_epochs,
        expected='increasing epochs such as 30,60,80',
    ),
    'patience': Field(5, 'plateau: evaluations without improvement until a division', 1, MAX_INT),
    'min_delta': _fraction(0.001, 'plateau: decrease of the top-1 validation error that is an improvement'),
    'diary': Field(
        '',
        'changes by epoch, with any schedule: multipliers of layers (0 freezes), lighting=off or on; with schedule '
        'diary also learning_rate. On resuming, entries to come may change',
        parse=parse.diary,
        expected="empty, or entries such as '23: learning_rate=0.001; 68: conv1=0.1, lighting=off; 72: conv1=0'",
        resumable=True,
    ),
    'warmup_epochs': Field(0.0, 'the learning rate rises linearly from zero over these', 0),
    'decay_biases': Field(True, 'False: biases do not decay, as in the 2012 source and Caffe'),
    'bias_lr_multiplier': Field(1.0, 'on the learning rates of biases; 2 in the 2012 source and Caffe', 0),
    'layer_lr_multipliers': Field(
        '',
        'on the learning rates of layers; 0 freezes a layer',
        parse=parse.layer_multipliers,
        expected="multipliers from 0 by layer such as 'conv1=0.1,fc8=2'",
    ),
    'on_nonfinite': Field(
        'stop',
        'if the loss is not finite; skip: continue without those batches',
        choices=('stop', 'skip'),
        resumable=True,
    ),
    'profile_steps': Field(
        '',
        'steps that the profiler of jax traces into the workdir',
        parse=parse.step_range,
        expected='empty, or the first and the last step to trace such as 10:15',
        resumable=True,
    ),
}
_EVALUATE = {
    'every_epochs': Field(1.0, 'on the validation split, center view; 0: only at the end', 0),
    'views': Field(10, "at the end: 10 are the paper's, 1 is the center view", choices=(1, 10), resumable=True),
    'view_list': Field(
        '',
        'at the end, instead of `views`: any crops, the probabilities of which are averaged',
        parse=view_places.parse_view_list,
        expected="empty, or places such as 'center,top_left,bottom_right+mirror,0:16': names or TOP:LEFT in pixels",
        resumable=True,
    ),
    'split': Field(
        'test',
        'that the final figure is measured on, if it exists',
        choices=('train', 'validation', 'test'),
        resumable=True,
    ),
    'batch_size': Field(128, 'images per step', 1, MAX_BATCH_SIZE, resumable=True),
    'checkpoint': Field(
        'final',
        'best: lowest validation error with the center view',
        parse=parse.checkpoint_choice,
        expected='final, best or the number of a step',
        resumable=True,
    ),
}
_PREDICT = {
    'images': Field('', 'images and folders, as --images gives them'),
    'json': Field('', 'file of JSON lines for the predictions, - for standard output; empty: text'),
    'picture': Field('', 'PNG of the first images with their most probable classes; empty: none'),
}
_FEATURES = {
    'layers': Field('fc7', 'activations, as --layers gives them; list: show them'),
    'column': Field('both', 'a or b: of networks with two columns', choices=('both', 'a', 'b')),
    'space': Field('whole', 'mean: averaged over height and width', choices=('whole', 'mean')),
    'dtype': Field('float32', 'of the numbers in the files', choices=('float32', 'float16')),
    'directory': Field('', 'where they are written; {workdir}, {run} and {step} are filled in', per_host=True),
}
# Of the modes export and import; docs/weights.md.
_WEIGHTS = {
    'path': Field('', 'file of weights to write or read; its ending says the format'),
    'preset': Field(
        '',
        'import: network of a file that does not say which it is; empty: what the file says',
        choices='alexnet_jax.models.presets.PRESETS',
    ),
    'partial': Field(False, 'import: take what fits and draw the rest, instead of refusing'),
    'tensor_names': Field(
        '', "export: names of the tensors; empty: this package's", choices='alexnet_jax.weights.TENSOR_NAMES'
    ),
    'card': Field(False, 'export: also write README.md beside the file, as model hubs expect it'),
    'license': Field('', 'export: of the weights, as file and card say it'),
}
# A training that begins with a trained network; commands/finetune.py.
_FINETUNE = {
    'path': Field('', 'run directory, checkpoint or file of weights to begin with; empty: weights drawn by the seed'),
    'checkpoint': Field(
        'final', 'of a run directory', parse=parse.checkpoint_choice, expected='final, best or the number of a step'
    ),
    'layers': Field(
        '',
        'layers to copy, the others are drawn; fitting: all that fit; empty: all, and none may be left over',
        parse=parse.layer_names,
        expected="layers such as 'conv1,conv2', fitting, or empty",
    ),
    'adopt': Field(False, 'take network, mean and image size from the weights instead of from the config'),
}
_NEIGHBORS = {
    'queries': Field('', 'images and folders whose neighbors are sought; empty: each of --images among the others'),
    'count': Field(5, 'neighbors of each', 1, MAX_INT),
    'metric': Field('euclidean', 'between two activations', choices=('euclidean', 'cosine', 'correlation')),
}
# Of the mode figures; docs/gallery.md.
_FIGURES = {
    'names': Field(
        '',
        'architecture, kernels, specialization, curves, confusion, answers, neighbors, feature_maps, saliency, '
        'excitation; empty: all',
        parse=parse.layer_names,
        expected="figures such as 'kernels,curves', or empty",
    ),
    'directory': Field(
        '', 'where they are written; {workdir} and {run} are filled in; empty: <workdir>/figures', per_host=True
    ),
    'layer': Field('', 'of excitation; empty: the last convolution'),
    'maps': Field(
        '',
        'of excitation, from 0; empty: eight at even steps',
        parse=parse.map_numbers,
        expected="numbers of maps from 0 such as '3,17', or empty",
    ),
    'max_images': Field(2000, 'images that neighbors and excitation search, drawn by figures.seed', 8, MAX_INT),
    'steps': Field(256, 'of the ascent to an optimized image, of excitation', 1, MAX_INT),
    'seed': _seed('decides which images are shown and searched'),
}
# Of the mode ensemble; docs/results.md.
_ENSEMBLE = {
    'weights': Field(
        'equal',
        'of the networks; top5 or top1: with the fewest such errors on the validation split, found by coordinate '
        'search as in the 2012 source',
        choices=('equal', 'top5', 'top1'),
    ),
    'devkit': Field('', "archive of the challenge's development kit: also write submission.txt, by its class numbers"),
    'directory': Field('', 'of the figures; empty: the folder ensemble beside the runs', per_host=True),
}
_REPORT = {
    'path': Field('', 'HTML file; empty: report.html in the run directory, or in the folder of several', per_host=True)
}
_BENCHMARK = {
    'steps': Field(10, 'training steps to time', 1, MAX_INT),
    'rounds': Field(5, 'in which each layer and the peak rates of the machine are timed', 1, MAX_INT),
}
# Of the mode compile; docs/pods.md.
_COMPILE = {
    'target': Field(
        'list', 'machine to compile for: tpu:v5e:16x16, cuda:h100:8, cuda:h100:2x8, cpu:8; list: show them'
    ),
    'evaluation': Field(False, 'also compile the evaluation'),
    'num_images': Field(50_000, 'training images, where data.device_cache holds them', 1, MAX_INT),
}
# Of the mode ablations; commands/ablations.py.
_ABLATIONS = {
    'cards': Field(
        'no_lrn,no_overlap,no_lighting,no_dropout,one_gpu,no_communication',
        'what is changed in the network, one at a time: cards of configs/ablations, or files of your own',
    ),
    'seeds': Field(5, 'of each network: config.seed and those after it', 1, 1000),
    'parallel': Field(1, 'runs at once; GPUs are shared out among them', 1, 1024),
}
_CHECKPOINT = {
    'every_steps': Field(1000, '0: only at the end of epochs that are evaluated', 0, MAX_INT),
    'keep_every_steps': Field(0, 'keep these for ever; 0: the two newest and the best', 0, MAX_INT),
}
_LOG = {
    'every_steps': Field(20, 'between two lines of the log', 1, MAX_INT),
    'stalled_loss_steps': Field(1000, 'warn after this many steps at ln(classes); 0: off', 0, MAX_INT),
    'time_breakdown': Field(False, 'print the time breakdown with every line of the log'),
    'tensorboard': Field(True, 'write event files for `tensorboard --logdir`'),
    'pictures': Field(True, 'draw curves, kernels and some predictions after every evaluation'),
}
_MACHINE = {
    'cpu_devices': Field(1, 'CPU devices to make if there is no accelerator', 1, 1024),
    'join_timeout': Field(300, 'seconds in which all processes must join', 1, 86400),
    'peer_timeout': Field(60, 'seconds without heartbeat before a run aborts (exit status 5)', 2, 86400),
    'stall_timeout': Field(0, 'seconds without progress before a run aborts; 0: off', 0, 864000),
    'compilation_cache': Field('auto', 'folder of compiled programs; auto: in ~/.cache; empty: none', per_host=True),
    'keep_memory': Field(True, 'glibc: keep freed pages instead of faulting them in every step', per_host=True),
    'deterministic': Field(False, 'GPU: runs equal to the bit, by slower kernels; not measured'),
    'ynnpack_dots_only': Field(True, 'CPU: YNNPACK for matrix products and sums alone, not for convolutions'),
    'onednn': Field(True, "CPU: convolutions by jaxlib's oneDNN where a run is long enough to gain by it"),
}

FIELDS: Mapping[str, Field] = {
    'name': Field('paper', 'of this run in logs and plots', resumable=True),
    'seed': _seed('decides initial weights, order of examples, crops, flips, lighting and dropout'),
    **_section('model', _MODEL),
    **_section('data', _DATA, resumable=True),
    **_section('prepare', _PREPARE),
    **_section('augment', _AUGMENT),
    **_section('train', _TRAIN),
    **_section('finetune', _FINETUNE),
    **_section('evaluate', _EVALUATE),
    **_section('predict', _PREDICT, resumable=True),
    **_section('features', _FEATURES, resumable=True),
    **_section('neighbors', _NEIGHBORS, resumable=True),
    **_section('figures', _FIGURES, resumable=True),
    'summary.figure': Field(
        '', 'draw the network as FILE.svg and FILE.png, its numbers in FILE.csv', resumable=True, per_host=True
    ),
    **_section('ensemble', _ENSEMBLE, resumable=True),
    **_section('weights', _WEIGHTS, resumable=True),
    **_section('report', _REPORT, resumable=True),
    **_section('benchmark', _BENCHMARK, resumable=True),
    **_section('compile', _COMPILE, resumable=True),
    **_section('ablations', _ABLATIONS, resumable=True),
    **_section('checkpoint', _CHECKPOINT, resumable=True),
    **_section('log', _LOG, resumable=True),
    'mesh': Field(
        'auto',
        'devices along data and column; auto: 2 along column if it fits, the others along data',
        parse=parse.mesh_shape,
        expected="auto, or the numbers of devices along data and column such as '4,2'",
        resumable=True,
    ),
    **_section('machine', _MACHINE, resumable=True),
}
RESULT_FIELDS = frozenset(name for name, field in FIELDS.items() if not field.resumable)
PER_HOST_FIELDS = frozenset(name for name, field in FIELDS.items() if field.per_host)


def default_config() -> ConfigDict:
    """Return a config with every field at its default."""
    config: dict[str, Any] = {}
    for name, field in FIELDS.items():
        section, _, last = name.rpartition('.')
        (config.setdefault(section, {}) if section else config)[last] = field.default
    return ConfigDict(config)


def format_fields() -> str:
    """Return docs/config.md: a table of all fields."""
    lines = [
        '# Config fields',
        '',
        'Made by `python -m alexnet_jax.config.schema > docs/config.md`. Set a field on the command line by',
        '`--config.train.batch_size=64`, or in a config file. Fields marked * may change between a run and its',
        'resumption; all others decide the result, and a run refuses another value (except for `train.batch_size`).',
        '',
        '| field | default | values | meaning |',
        '|---|---|---|---|',
    ]
    for name, field in FIELDS.items():
        mark = ' *' if field.resumable else ''
        values = '' if field.describe() == 'text' else field.describe()
        lines.append(f'| `{name}`{mark} | `{field.default!r}` | {values} | {field.help} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    print(format_fields(), end='')
