"""--mode=features: writes activations of a trained network for a set of images to files."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.analysis.activation_names import resolve_layers
from alexnet_jax.analysis.feature_writer import FeatureWriter
from alexnet_jax.analysis.features import Extractor, FeatureExtractor, FeatureOptions, iterate_features
from alexnet_jax.analysis.image_set import ImageSet, dataset_image_set, image_files_set
from alexnet_jax.commands import evaluate, export, factories, prepare
from alexnet_jax.commands.evaluate import LoadedRun
from alexnet_jax.commands.run_family import RunAddress, find_runs
from alexnet_jax.config import build, parse, validate
from alexnet_jax.data import dataset
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.data.image_io import UnreadableImage
from alexnet_jax.distributed.mesh import describe_mesh
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.find_images import split_paths
from alexnet_jax.evaluate.image_files import read_batches
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.models.presets import TORCHVISION
from alexnet_jax.prepare.splits import skipped_files_note
from alexnet_jax.report.text import format_table
from alexnet_jax.runtime import signals
from alexnet_jax.runtime.progress import ImageProgress
from alexnet_jax.runtime.xla_options import compiler_options
from alexnet_jax.weights.architecture_json import architecture_to_dict
from alexnet_jax.weights.layout import to_torch_layout
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.names import caffe_points, torchvision_points
from alexnet_jax.weights.own_metadata import RESIZE_RULE, tensor_checksum

LIST = 'list'
DEFAULT_DIRECTORY = '{workdir}/features/{step}'
LAYERS_HEADER = ('layer', 'shape', 'of one column', 'torchvision', 'Caffe blob')

log = logging.getLogger(__name__)


class ExtractedFeatures(NamedTuple):
    """A complete folder of features, the images that they are of, and how many of these could not be read."""

    directory: Path
    images: ImageSet
    layers: tuple[str, ...]
    unreadable: int


def features(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Write the features of every run that --workdir names; return their folders and the number of images.

    --layers=list prints the layers instead. Raises UserError at the end if images could not be read; they were named.
    """
    if config.features.layers == LIST:
        arch = _listed_architecture(config, workdir)
        log.info('%s', '\n'.join(format_layers(arch)))
        return {'layers': list(arch.activation_shapes())}
    extracted = extract_family(config, workdir)
    unreadable = sum(each.unreadable for each in extracted)
    if unreadable:
        raise UserError(
            f'{unreadable} images could not be read; they are named above and left out. The features of all others are '
            'complete.'
        )
    return {'directories': [str(each.directory) for each in extracted], 'images': len(extracted[0].images)}


def extract_family(config: ConfigDict, workdir: str) -> list[ExtractedFeatures]:
    """Write the features of every run and checkpoint that --workdir names, or go on where a kill came."""
    validate.validate_workdir(workdir, needed=True, writes=False)
    addresses = find_runs(workdir)
    template = config.features.directory or DEFAULT_DIRECTORY
    if len({address.expand(template, step=address.step) for address in addresses}) < len(addresses):
        raise UserError(
            f'--config.features.directory={template} is one folder for {len(addresses)} networks; write {{run}} and '
            '{step} into it, as in /features/{run}/{step}.'
        )
    with signals.interrupt_immediately('what was extracted is kept; run the same command again to go on.'):
        return [extract_run(config, address) for address in addresses]


def extract_run(config: ConfigDict, address: RunAddress, *, template: str = '') -> ExtractedFeatures:
    """Write the features of one network to the folder of `template`, else that of config.features.directory."""
    if address.step:
        config = ConfigDict(config.to_dict())
        config.evaluate.checkpoint = address.step
    run_config, info = evaluate.read_trained_run(config, address.run_dir)
    arch = build.preset_architecture(run_config, len(info.class_names))
    layers = resolve_layers(arch, parse.layer_names(config.features.layers) or ())
    images = open_images(config, run_config, info, address.run_dir)
    run = evaluate.load_run(run_config, info, address.run_dir)
    use_onednn = factories.pays_onednn(config, arch, len(images))
    options = FeatureOptions(config.features.column, config.features.space, config.features.dtype, use_onednn)
    weights = export.run_weights(run, address.run_dir)
    extractor = FeatureExtractor(
        run.model,
        weights.preprocessing,
        layers,
        options,
        batch_size=config.evaluate.batch_size,
        mesh=run.mesh,
        compiler_options=compiler_options(config.machine.ynnpack_dots_only),
    )
    template = template or config.features.directory or DEFAULT_DIRECTORY
    directory = Path(address.expand(template, step=str(run.step)))
    writer = FeatureWriter(
        directory,
        describe_features(run, weights, extractor, images),
        extractor.shapes,
        options.dtype,
        num_images=len(images),
        notes={'run': str(Path(address.run_dir).absolute()), 'images': images.source},
    )
    with writer:
        write_features(writer, run, extractor, images, threads=config.data.num_threads)
    for sentence in writer.unreadable:
        log.info('%s', sentence)
    return ExtractedFeatures(directory, images, tuple(layers), len(writer.unreadable) + len(images.errors))


def write_features(
    writer: FeatureWriter, run: LoadedRun, extractor: Extractor, images: ImageSet, *, threads: int
) -> None:
    """Append what the writer lacks, batch by batch, and make its folder complete."""
    if writer.is_complete:
        log.info('%s has these features already.', writer.directory)
        return
    if writer.images_done:
        log.info('%s has those of %s images; going on.', writer.directory, f'{writer.images_done:,}')
    pending: collections.deque[list] = collections.deque()

    def readable_images() -> Iterator[np.ndarray]:
        batch_number = writer.images_done // extractor.batch_size
        for batch in read_batches(images.records, extractor.batch_size, first=batch_number, threads=threads):
            pending.append(batch)
            pixels = [each[0] for each in batch if not isinstance(each, UnreadableImage)]
            yield np.stack(pixels) if pixels else np.zeros((0, extractor.image_size, extractor.image_size, 3), np.uint8)

    with ImageProgress(len(images), 'went through', done=writer.images_done) as progress:
        for part in iterate_features(extractor, run.params, readable_images()):
            batch = pending.popleft()
            readable = [each for each in batch if not isinstance(each, UnreadableImage)]
            unreadable = [str(each) for each in batch if isinstance(each, UnreadableImage)]
            writer.append(part, [name for _, _, name in readable], [label for _, label, _ in readable], unreadable)
            progress.advance(len(batch))
    writer.finish()
    log.info(
        'Features of step %d for %s images in %s (%.1f images/s): %s.',
        run.step,
        f'{len(images):,}',
        writer.directory,
        progress.images_per_second,
        ', '.join(f'{layer} {shape}' for layer, shape in extractor.shapes.items()),
    )


def describe_features(run: LoadedRun, weights: ModelWeights, extractor: Extractor, images: ImageSet) -> dict[str, Any]:
    """Return all that decides features, as features.json has it."""
    arch, preprocessing = weights.arch, weights.preprocessing
    return {
        'architecture': architecture_to_dict(arch),
        'checkpoint_step': run.step,
        'weights_sha256': tensor_checksum(to_torch_layout(arch, weights.parameters)),
        'layers': extractor.shapes,
        **dataclasses.asdict(extractor.options),
        'preprocessing': {
            'image_size': preprocessing.image_size,
            'resize': RESIZE_RULE,
            'crop': f'center, {arch.crop_size} pixels',
            'channels': 'RGB, 0..255, minus the mean, divided by the standard deviation',
            'mean_kind': preprocessing.mean_kind,
            'mean_of_channels': preprocessing.mean_image().mean(axis=(0, 1), dtype=np.float64).tolist(),
            'mean_sha256': hashlib.sha256(np.ascontiguousarray(preprocessing.mean)).hexdigest(),
            'std': preprocessing.std.tolist(),
        },
        'images_sha256': images.digest,
        'num_images': len(images),
        'class_names': list(images.class_names),
        'computation': {
            'batch_size': extractor.batch_size,
            'devices': describe_mesh(run.mesh, columns=arch.columns),
            'dtype': run.config.model.compute_dtype,
            'matmul_precision': run.config.model.matmul_precision,
        },
    }


def open_images(
    config: ConfigDict, run_config: ConfigDict, info: DatasetInfo, run_dir: str, *, upright: bool = True
) -> ImageSet:
    """Return the images of --images: files and folders, or a split of a prepared dataset; empty: the run's dataset.

    The split is that of config.evaluate.split, as for an evaluation. Files are turned as their EXIF says if `upright`.
    """
    data = open_named_dataset(config, run_config, run_dir)
    if data is None:
        paths = split_paths(config.predict.images)
        images = image_files_set(paths, info.image_size, info.class_names, upright=upright)
        if images.skipped:
            log.info('%s', skipped_files_note(images.skipped).strip())
        for error in images.errors:
            log.info('%s', error)
        return images
    evaluate.check_same_image_size(info, data)
    return dataset_image_set(data, evaluate.report_split(config, data.counts))


def open_named_dataset(config: ConfigDict, run_config: ConfigDict, run_dir: str) -> dataset.Dataset | None:
    """Return the prepared dataset that --images names, the run's without --images; None where it names files."""
    paths = split_paths(config.predict.images)
    if not paths:
        return factories.open_prepared_dataset(run_config, run_dir)
    if len(paths) == 1 and prepare.has_dataset(Path(paths[0])):
        return dataset.open_dataset(paths[0])
    return None


def _listed_architecture(config: ConfigDict, workdir: str) -> Architecture:
    """Return the network of the run in --workdir, without one that of the config."""
    if not workdir:
        return build.preset_architecture(config)
    run_config, info = evaluate.read_trained_run(config, find_runs(workdir)[0].run_dir)
    return build.preset_architecture(run_config, len(info.class_names))


def format_layers(arch: Architecture) -> list[str]:
    """Return a table of the activations: name, shape for one image, that of one column, torchvision's and Caffe's name.

    The names are those of the same operation there; in Caffe, of the blob that holds it after a forward pass.
    """
    modules, blobs = torchvision_points(TORCHVISION), caffe_points(arch)
    rows = [LAYERS_HEADER]
    for layer, shape in arch.activation_shapes().items():
        *space, maps = shape
        has_halves = arch.columns > 1 and maps % arch.columns == 0
        half = (*space, maps // arch.columns) if has_halves else ()
        rows.append((layer, _format_shape(shape), _format_shape(half), modules.get(layer, '-'), blobs.get(layer, '-')))
    return format_table(rows, left_columns=len(LAYERS_HEADER))


def _format_shape(shape: tuple[int, ...]) -> str:
    return ' x '.join(map(str, shape)) or '-'
