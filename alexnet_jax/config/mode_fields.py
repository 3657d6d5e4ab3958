"""Declare the config fields of single modes, by section; schema.py joins them to those of a training."""

from alexnet_jax.config import parse
from alexnet_jax.config.field import MAX_INT, Field, seed_field

PREDICT = {
    'images': Field('', 'images and folders, as --images gives them'),
    'json': Field('', 'file of JSON lines for the predictions, - for standard output; empty: text'),
    'picture': Field('', 'PNG of the first images with their most probable classes; empty: none'),
}
FEATURES = {
    'layers': Field('fc7', 'activations, as --layers gives them; list: show them'),
    'column': Field('both', 'a or b: of networks with two columns', choices=('both', 'a', 'b')),
    'space': Field('whole', 'mean: averaged over height and width', choices=('whole', 'mean')),
    'dtype': Field('float32', 'of the numbers in the files', choices=('float32', 'float16')),
    'directory': Field('', 'where they are written; {workdir}, {run} and {step} are filled in', per_host=True),
}
# Of the modes export and import; docs/weights.md.
WEIGHTS = {
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
NEIGHBORS = {
    'queries': Field('', 'images and folders whose neighbors are sought; empty: each of --images among the others'),
    'count': Field(5, 'neighbors of each', 1, MAX_INT),
    'metric': Field('euclidean', 'between two activations', choices=('euclidean', 'cosine', 'correlation')),
}
# Of the mode figures; docs/gallery.md.
FIGURES = {
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
    'seed': seed_field('decides which images are shown and searched'),
}
SUMMARY = {'figure': Field('', 'draw the network as FILE.svg and FILE.png, its numbers in FILE.csv', per_host=True)}
# Of the mode ensemble; docs/results.md.
ENSEMBLE = {
    'weights': Field(
        'equal',
        'of the networks; top5 or top1: with the fewest such errors on the validation split, found by coordinate '
        'search as in the 2012 source',
        choices=('equal', 'top5', 'top1'),
    ),
    'devkit': Field('', "archive of the challenge's development kit: also write submission.txt, by its class numbers"),
    'directory': Field('', 'of the figures; empty: the folder ensemble beside the runs', per_host=True),
}
REPORT = {
    'path': Field('', 'HTML file; empty: report.html in the run directory, or in the folder of several', per_host=True)
}
BENCHMARK = {
    'steps': Field(10, 'training steps to time', 1, MAX_INT),
    'rounds': Field(5, 'in which each layer and the peak rates of the machine are timed', 1, MAX_INT),
}
# Of the mode compile; docs/pods.md.
COMPILE = {
    'target': Field(
        'list', 'machine to compile for: tpu:v5e:16x16, cuda:h100:8, cuda:h100:2x8, cpu:8; list: show them'
    ),
    'evaluation': Field(False, 'also compile the evaluation'),
    'num_images': Field(50_000, 'training images, where data.device_cache holds them', 1, MAX_INT),
}
# Of the mode ablations; commands/ablations.py.
ABLATIONS = {
    'cards': Field(
        'no_lrn,no_overlap,no_lighting,no_dropout,one_gpu,no_communication',
        'what is changed in the network, one at a time: cards of configs/ablations, or files of your own',
    ),
    'seeds': Field(5, 'of each network: config.seed and those after it', 1, 1000),
    'parallel': Field(1, 'runs at once; GPUs are shared out among them', 1, 1024),
}
