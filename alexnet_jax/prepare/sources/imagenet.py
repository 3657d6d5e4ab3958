"""The archives of an ImageNet challenge, as their owners publish them.

The training archive holds one archive for each class; validation and test images are unsorted, with labels apart.
"""

import collections
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import compression, devkit, expected_counts, tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, build_source
from alexnet_jax.prepare.splits import LabeledImage, assign_splits, skipped_files_note


@dataclasses.dataclass(frozen=True)
class Challenge:
    """The names of a challenge's files."""

    year: int
    train: str
    validation: str
    kit: str
    # Of a test split with published labels.
    test: str = ''
    test_labels: str = ''
    # Images that replace blank ones.
    patches: str = ''


def open_challenge(challenge: Challenge, path: Path, options: SourceOptions) -> Source:
    """Open the challenge whose archives are in a folder (`path` is the folder or a file in it)."""
    folder = path if path.is_dir() else path.parent
    files = [file for file in dataclasses.astuple(challenge)[1:] if file]
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise UserError(
            f'{folder} holds no {", no ".join(missing)}; expected {", ".join(files)}, with exactly these names.'
        )
    archives = _ChallengeArchives(folder, challenge, strict=options.expected_counts != 'any')
    images = archives.labeled_images()
    if options.expected_counts == 'official':
        expected_counts.check_official_counts(images, f'ILSVRC-{challenge.year}', str(folder))
    patches_note = ''
    if challenge.patches:
        images, patches_note = archives.apply_patches(images)
    assignment = assign_splits(images, origin=str(folder), seed=options.seed, fractions=options.fractions)
    name, reader = f'imagenet{challenge.year}', tar.TarReader(str(folder))
    source = build_source(name, assignment, options, reader, synonyms=archives.kit.synonyms)
    note = f'ILSVRC-{challenge.year}, its archives. {source.note}{patches_note}'
    return dataclasses.replace(source, note=note + skipped_files_note(archives.skipped))


class _ChallengeArchives:
    """The archives of a challenge in their folder; if `strict`, counts must be those of its development kit."""

    def __init__(self, folder: Path, challenge: Challenge, *, strict: bool):
        self._folder, self._challenge, self._strict = folder, challenge, strict
        self.kit = devkit.read_devkit(folder / challenge.kit, challenge.year)
        self.skipped: list[str] = []  # names of members that are not images

    def labeled_images(self) -> dict[str, list[LabeledImage]]:
        """Return the images of each split, only of the classes that have training images."""
        challenge, kit = self._challenge, self.kit
        images = {
            'train': self._train_images(challenge.train),
            'validation': self._unsorted_images(challenge.validation, kit.validation),
        }
        if challenge.test:
            labels = self._folder / challenge.test_labels
            truth = devkit.parse_ground_truth(labels.read_bytes(), kit.classes, str(labels))
            images['test'] = self._unsorted_images(challenge.test, truth)
        known = {image.label for image in images['train']}
        return {split: [image for image in of_split if image.label in known] for split, of_split in images.items()}

    def _train_images(self, file: str) -> list[LabeledImage]:
        """Return the training images, whose classes are the names of the archives in the archive."""
        path, images = self._folder / file, []
        compression.check_uncompressed(path)
        for inner in tar.iter_members(path):
            wnid, extension = PurePosixPath(inner.name).stem, PurePosixPath(inner.name).suffix
            if extension != '.tar' or wnid not in self.kit.train_counts:
                raise UserError(
                    f'{path} holds {inner.name!r}; expected archives named by the WordNet ids of the '
                    f'{len(self.kit.train_counts)} classes in {self._challenge.kit}.'
                )
            images += [
                LabeledImage(wordnet.imagenet_image_id(name, wnid, origin=str(path)), wnid, location)
                for name, location in self._find_images(file, inner)
            ]
        if self._strict:
            counts = collections.Counter(image.label for image in images)
            expected_counts.check_listed_counts(counts, self.kit.train_counts, 'the training images', str(path))
        return images

    def _unsorted_images(self, file: str, truth: Sequence[str]) -> list[LabeledImage]:
        """Return images labeled by `truth`, in the order of their names, which are numbered from 1."""
        origin = str(self._folder / file)
        found = sorted((PurePosixPath(name).name, location) for name, location in self._find_images(file))
        if self._strict:
            expected_counts.check_listed_counts({'all': len(found)}, {'all': len(truth)}, 'the images', origin)
        labels = [self._label_by_number(name, truth, origin) for name, _ in found]
        return [
            LabeledImage(wordnet.imagenet_image_id(name, wnid, origin=origin), wnid, location)
            for (name, location), wnid in zip(found, labels, strict=True)
        ]

    def _label_by_number(self, name: str, truth: Sequence[str], origin: str) -> str:
        """Return the label on the line whose number is in the name."""
        number = re.match(rf'ILSVRC{self._challenge.year}_[a-z]+_(\d+)\D', name)
        if not number or not 1 <= int(number[1]) <= len(truth):
            raise UserError(
                f'{origin} holds {name!r}; expected names of ILSVRC-{self._challenge.year} numbered from 1 to '
                f'{len(truth)}.'
            )
        return truth[int(number[1]) - 1]

    def _find_images(self, file: str, within: tar.Member | None = None) -> list[tuple[str, tuple]]:
        """Return names and locations of the images in an archive, or in the archive that is its member `within`."""
        path = self._folder / file
        origin = f'{path}, {within.name}' if within else path
        compression.check_uncompressed(path)
        found, skipped = tar.image_members(tar.iter_members(path, within), origin)
        self.skipped += skipped
        version = tar.file_version(path)
        return [(member.name, (file, version, member.offset, member.size)) for member in found]

    def apply_patches(self, images: dict[str, list[LabeledImage]]) -> tuple[dict[str, list[LabeledImage]], str]:
        """Return the images, some replaced by their patches, and a sentence that says how many."""
        file = self._challenge.patches
        patches = {PurePosixPath(name).stem: location for name, location in self._find_images(file)}
        known = {image.id for of_split in images.values() for image in of_split}
        if self._strict and (unknown := sorted(set(patches) - known)):
            raise UserError(
                f'{self._folder / file} holds {unknown[0]!r}, which replaces no image; download the archives again.'
            )
        replaced = {
            split: [dataclasses.replace(one, location=patches.get(one.id, one.location)) for one in of_split]
            for split, of_split in images.items()
        }
        return replaced, f' {len(known & set(patches))} images come from {file}.'
