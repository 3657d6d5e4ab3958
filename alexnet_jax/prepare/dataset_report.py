"""Findings: what a preparation met with, image by image, as a report. Knows neither files nor pixels.

The report holds nothing but what the images and the settings decide: no time, no path, no number of workers.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.prepare.shard_writer import ShardMetadata
from alexnet_jax.prepare.splits import Item

MIN_TRAINING_IMAGES = 10  # training images of a class with fewer, which is too few to learn from
MAX_IDS = 100  # ids that are named of each kind of oddity
MAX_GROUPS = 20  # groups of identical images that are named


@dataclasses.dataclass
class ReportBuilder:
    """Is told of one shard after the other, those of a split in order."""

    classes: Sequence[str]
    forms: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    odd: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    kept: dict[str, list[Item]] = dataclasses.field(default_factory=dict)  # by split
    digests: list[np.ndarray] = dataclasses.field(default_factory=list)

    def add(self, split: str, items: Iterable[Item], account: ShardMetadata) -> None:
        """What is known of a shard."""
        self.forms.update(account.forms)
        for word, ids in account.odd.items():
            self.odd.setdefault(word, []).extend(ids)
        self.left_out.update(account.left_out)
        self.kept.setdefault(split, []).extend(item for item in items if item.id not in account.left_out)
        self.digests.append(account.digests)

    def report(self) -> dict[str, Any]:
        """As JSON has it."""
        by_class = {split: self._by_class(items) for split, items in self.kept.items()}
        train = by_class['train']
        return {
            'images': {split: len(items) for split, items in self.kept.items()},
            'classes': len(self.classes),
            'training_images_of_a_class': {
                'least': min(train.values()),
                'median': int(np.median(list(train.values()))),
                'most': max(train.values()),
            },
            'classes_with_few_training_images': {
                name: number for name, number in train.items() if number < MIN_TRAINING_IMAGES
            },
            'forms': dict(sorted(self.forms.items())),
            'odd': {
                word: {
                    'images': len(self.odd[word]),
                    'treatment': treatment,
                    'first': sorted(self.odd[word])[:MAX_IDS],
                }
                for word, treatment in image_io.ANOMALIES.items()
                if word in self.odd
            },
            'left_out': dict(sorted(self.left_out.items())),
            'identical': self._identical(),
            'images_by_class': {
                name: {split: counts[name] for split, counts in by_class.items()} for name in self.classes
            },
        }

    def _by_class(self, items: Iterable[Item]) -> dict[str, int]:
        counts = collections.Counter(item.label for item in items)
        return {name: counts[label] for label, name in enumerate(self.classes)}

    def _identical(self) -> dict[str, Any]:
        """Images that are the same as they are stored, whatever their names and files."""
        splits = [split for split, items in self.kept.items() for _ in items]
        items = [item for of_split in self.kept.values() for item in of_split]
        groups = [[(splits[place], items[place]) for place in group] for group in _group_equal_digests(self.digests)]
        across = [group for group in groups if len({split for split, _ in group}) > 1]
        labels = [group for group in groups if len({item.label for _, item in group}) > 1]

        def named(some: list) -> dict[str, Any]:
            first = [[f'{split}: {item.id}' for split, item in group] for group in some[:MAX_GROUPS]]
            return {'groups': len(some), 'images': sum(map(len, some)), 'first': first}

        return {
            'in_two_splits': named(across),
            'in_two_classes': named(labels),
            'altogether': named(groups),
        }


def _group_equal_digests(digests: Sequence[np.ndarray]) -> list[list[int]]:
    """Places of equal digests, those that are not alone, in the order in which they first occur."""
    every = np.concatenate(digests)
    order = np.argsort(every, kind='stable')
    groups: list[list[int]] = []
    last = None
    for place in np.flatnonzero(every[order][1:] == every[order][:-1]):  # few, or none
        if place == last:
            groups[-1].append(int(order[place + 1]))
        else:
            groups.append([int(order[place]), int(order[place + 1])])
        last = place + 1
    return sorted(groups)


def summarize_report(report: Mapping[str, Any]) -> str:
    """The report in a few words: what a person should know before training."""
    counts = ', '.join(f'{split} {number:,}' for split, number in report['images'].items())
    each = report['training_images_of_a_class']
    said = [f'{counts} images of {report["classes"]:,} classes; training images of a class: ']
    said[0] += f'{each["least"]:,} to {each["most"]:,}, the median {each["median"]:,}.'
    if few := report['classes_with_few_training_images']:
        said.append(
            f'Fewer than {MIN_TRAINING_IMAGES} training images have {_join_first([f"{name} ({n})" for name, n in few.items()])}.'
        )
    if odd := report['odd']:
        said.append('Odd: ' + ', '.join(f'{word} {found["images"]:,}' for word, found in odd.items()) + '.')
    if left_out := report['left_out']:
        said.append(f'Left out, as they cannot be read: {_join_first(list(left_out))}.')
    if across := report['identical']['in_two_splits']['groups']:
        first = _format_group(report['identical']['in_two_splits']['first'][0])
        said.append(
            f'{across:,} images are in two splits, so that the figure flatters: {first}; report.json names more.'
        )
    if labels := report['identical']['in_two_classes']['groups']:
        first = _format_group(report['identical']['in_two_classes']['first'][0])
        said.append(f'{labels:,} images are in two classes: {first}; report.json names more.')
    return ' '.join(said)


def _join_first(names: Sequence[str]) -> str:
    more = f' and {len(names) - 5:,} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more


def _format_group(names: Sequence[str]) -> str:
    more = f' = {len(names) - 3:,} more' if len(names) > 3 else ''
    return ' = '.join(names[:3]) + more
