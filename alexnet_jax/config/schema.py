"""Declare every config field once: default, meaning, values, whether it may change on resuming, and by host.

`python -m alexnet_jax.config.schema > docs/config.md` writes the list of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import data_fields, mode_fields, parse
from alexnet_jax.config.field import MAX_INT, Field, fraction_field, seed_field
from alexnet_jax.evaluate import view_places

MAX_BATCH_SIZE = 2**17  # images; four times the 32,768 of You et al. (2017)


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
    'momentum': fraction_field(0.9, 'fraction of the last update that is kept (paper, section 5)'),
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
    'min_delta': fraction_field(0.001, 'plateau: decrease of the top-1 validation error that is an improvement'),
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
    'seed': seed_field('decides initial weights, order of examples, crops, flips, lighting and dropout'),
    **_section('model', _MODEL),
    **_section('data', data_fields.DATA, resumable=True),
    **_section('prepare', data_fields.PREPARE),
    **_section('augment', data_fields.AUGMENT),
    **_section('train', _TRAIN),
    **_section('finetune', _FINETUNE),
    **_section('evaluate', _EVALUATE),
    **_section('predict', mode_fields.PREDICT, resumable=True),
    **_section('features', mode_fields.FEATURES, resumable=True),
    **_section('neighbors', mode_fields.NEIGHBORS, resumable=True),
    **_section('figures', mode_fields.FIGURES, resumable=True),
    **_section('summary', mode_fields.SUMMARY, resumable=True),
    **_section('ensemble', mode_fields.ENSEMBLE, resumable=True),
    **_section('weights', mode_fields.WEIGHTS, resumable=True),
    **_section('report', mode_fields.REPORT, resumable=True),
    **_section('benchmark', mode_fields.BENCHMARK, resumable=True),
    **_section('compile', mode_fields.COMPILE, resumable=True),
    **_section('ablations', mode_fields.ABLATIONS, resumable=True),
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
