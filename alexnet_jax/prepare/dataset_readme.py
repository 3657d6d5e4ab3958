"""Text of the README.md in a dataset's folder, for those who find it there."""

from collections.abc import Mapping
from typing import Any

from alexnet_jax.data.encoding import RAW
from alexnet_jax.prepare import dataset_report


def format_readme(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Return the README in Markdown, from the manifest (without its checksum) and the report."""
    sizes = dict.fromkeys(manifest['counts'], 0)
    for name, file in manifest['files'].items():
        for split in sizes:
            sizes[split] += file['bytes'] if f'-{split}.array_record-' in name else 0
    rows = [f'| {split} | {number:,} | {sizes[split] / 1e6:,.1f} MB |' for split, number in manifest['counts'].items()]
    stored = 'uint8 pixels' if manifest['encoding'] == RAW else f'JPEG of quality {manifest["quality"]}'
    versions = ', '.join(f'{package} {version}' for package, version in manifest['versions'].items())
    odd = [f'- {kind}: {entry["images"]:,}, {entry["treatment"]}' for kind, entry in report['odd'].items()]
    return '\n'.join(
        [
            f'# {manifest["name"]}',
            '',
            f'{len(manifest["classes"]):,} classes. {manifest["note"]}',
            '',
            '| split | images | size |',
            '|---|---|---|',
            *rows,
            '',
            f'Of every image the centre square, its side resized to {manifest["side"]} pixels (antialiased, bicubic), '
            f'stored as {stored}. `label.labels.txt` has the classes in the order of their labels, `statistics.npz` '
            'the mean image and the principal colours of the training split, `report.json` what was met with, image by '
            'image, `manifest.json` the SHA-256 of every file.',
            '',
            dataset_report.summarize_report(report),
            *(['', 'Files that were not plain photographs:', '', *odd] if odd else []),
            '',
            f'Decoded by simplejpeg where it can, else by Pillow; made with {versions}.',
            '',
            'Opens with TensorFlow Datasets: `tfds.builder_from_directory("<this folder>").as_data_source("train")`. '
            'The images are under the terms of those who own them; preparing them changes nothing about that.',
            '',
        ]
    )
