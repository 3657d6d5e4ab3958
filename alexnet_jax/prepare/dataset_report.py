"""Report on a prepared dataset: counts, anomalies, unreadable and duplicate images.

It depends on the images and the settings alone: it has no time, no path, no number of workers. Its keys are a format.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.prepare.shard_writer import ShardMetadata
from alexnet_jax.prepare.splits import Item

MIN_TRAINING_IMAGES = 10  # per class; fewer are too few to learn from
MAX_IDS = 100  # named for each kind of anomaly
MAX_CLASSES = 10  # that are named in the summary; of more, only the number
MAX_GROUPS = 20  # of duplicate images that are named


@dataclasses.dataclass
class ReportBuilder:
    """Collects the metadata of all shards, those of a split in order."""

    classes: Sequence[str]
    formats: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    anomalies: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # kind -> ids
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    images: dict[str, list[Item]] = dataclasses.field(default_factory=dict)  # by split
    digests: list[np.ndarray] = dataclasses.field(default_factory=list)

    def add_shard(self, split: str, items: Iterable[Item], metadata: ShardMetadata) -> None:
        """Add the next shard of `split`, made of `items`."""
        self.formats.update(metadata.forms)
        for kind, ids in metadata.odd.items():
            self.anomalies.setdefault(kind, []).extend(ids)
        self.left_out.update(metadata.left_out)
        self.images.setdefault(split, []).extend(item for item in items if item.id not in metadata.left_out)
        self.digests.append(metadata.digests)

    def build(self) -> dict[str, Any]:
        """Return the report, as JSON has it."""
        by_class = {split: self._count_by_class(items) for split, items in self.images.items()}
        train = by_class['train']
        return {
            'images': {split: len(items) for split, items in self.images.items()},
            'classes': len(self.classes),
            'training_images_of_a_class': {
                'least': min(train.values()),
                'median': int(np.median(list(train.values()))),
                'most': max(train.values()),
            },
            'classes_with_few_training_images': {
                name: count for name, count in train.items() if count < MIN_TRAINING_IMAGES
            },
            'forms': dict(sorted(self.formats.items())),
            'odd': {
                kind: {
                    'images': len(self.anomalies[kind]),
                    'treatment': treatment,
                    'first': sorted(self.anomalies[kind])[:MAX_IDS],
                }
                for kind, treatment in image_io.ANOMALIES.items()
                if kind in self.anomalies
            },
            'left_out': dict(sorted(self.left_out.items())),
            'identical': self._find_duplicates(),
            'images_by_class': {
                name: {split: counts[name] for split, counts in by_class.items()} for name in self.classes
            },
        }

    def _count_by_class(self, items: Iterable[Item]) -> dict[str, int]:
        counts = collections.Counter(item.label for item in items)
        return {name: counts[label] for label, name in enumerate(self.classes)}

    def _find_duplicates(self) -> dict[str, Any]:
        """Return the groups of images that are equal as they are stored, whatever their names and files."""
        images = [(split, item) for split, items in self.images.items() for item in items]
        groups = [[images[index] for index in group] for group in _group_equal_digests(self.digests)]
        across_splits = [group for group in groups if len({split for split, _ in group}) > 1]
        across_classes = [group for group in groups if len({item.label for _, item in group}) > 1]

        def describe_groups(groups: list) -> dict[str, Any]:
            first = [[f'{split}: {item.id}' for split, item in group] for group in groups[:MAX_GROUPS]]
            return {'groups': len(groups), 'images': sum(map(len, groups)), 'first': first}

        return {
            'in_two_splits': describe_groups(across_splits),
            'in_two_classes': describe_groups(across_classes),
            'altogether': describe_groups(groups),
        }


def _group_equal_digests(digests: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the indices of equal digests, for those that occur more than once, in the order of first occurrence."""
    every = np.concatenate(digests)
    order = np.argsort(every, kind='stable')
    groups: list[list[int]] = []
    last = None
    for index in np.flatnonzero(every[order][1:] == every[order][:-1]):  # few, or none
        if index == last:
            groups[-1].append(int(order[index + 1]))
        else:
            groups.append([int(order[index]), int(order[index + 1])])
        last = index + 1
    return sorted(groups)


def summarize_report(report: Mapping[str, Any]) -> str:
    """Return in a few sentences what a person should know before training."""
    counts = ', '.join(f'{split} {number:,}' for split, number in report['images'].items())
    per_class, names = report['training_images_of_a_class'], ''
    if report['classes'] <= MAX_CLASSES:
        names = f' ({", ".join(report["images_by_class"])})'
    sentences = [
        f'{counts} images of {report["classes"]:,} classes{names}; training images of a class: '
        f'{per_class["least"]:,} to {per_class["most"]:,}, the median {per_class["median"]:,}.'
    ]
    if few := report['classes_with_few_training_images']:
        names = _join_first([f'{name} ({count})' for name, count in few.items()])
        sentences.append(f'Classes with fewer than {MIN_TRAINING_IMAGES} training images: {names}.')
    if odd := report['odd']:
        kinds = ', '.join(f'{kind} {entry["images"]:,}' for kind, entry in odd.items())
        sentences.append(f'Not plain photographs: {kinds}.')
    if dark := report['odd'].get(image_io.NEARLY_BLACK):
        sentences.append(f'Of the 16-bit images {dark["images"]:,} were {dark["treatment"]}.')
    if left_out := report['left_out']:
        sentences.append(f'Left out because they are unreadable: {_join_first(list(left_out))}.')
    for key, places, effect in (
        ('in_two_splits', 'two splits', ', which inflates accuracy'),
        ('in_two_classes', 'two classes', ''),
    ):
        if groups := report['identical'][key]['groups']:
            first = _format_group(report['identical'][key]['first'][0])
            subject = 'image appears' if groups == 1 else 'images appear'
            sentences.append(f'{groups:,} {subject} in {places}{effect}: {first} (see report.json).')
    return ' '.join(sentences)


def _join_first(names: Sequence[str]) -> str:
    more = f' and {len(names) - 5:,} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more


def _format_group(names: Sequence[str]) -> str:
    more = f' = {len(names) - 3:,} more' if len(names) > 3 else ''
    return ' = '.join(names[:3]) + more
