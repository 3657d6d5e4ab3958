"""The archives of the ImageNet challenges of 2010 and 2012, as their owners ship them.

The training archive holds one archive for each class; validation and test images lie flat, their labels apart.
"""

import collections
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import devkit, expected_counts, tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, build_source
from alexnet_jax.prepare.splits import LabeledImage, assign_splits, skipped_files_note


@dataclasses.dataclass(frozen=True)
class Challenge:
    """The names of a challenge's files."""

    year: int
    train: str
    validation: str
    kit: str
    test: str = ''  # where its labels are public
    test_labels: str = ''
    patches: str = ''  # images in place of those that are blank


YEARS = {
    2010: Challenge(
        year=2010,
        train='ILSVRC2010_images_train.tar',
        validation='ILSVRC2010_images_val.tar',
        kit='ILSVRC2010_devkit-1.0.tar.gz',
        test='ILSVRC2010_images_test.tar',
        test_labels='ILSVRC2010_test_ground_truth.txt',
        patches='patch_images.tar',
    ),
    2012: Challenge(
        year=2012,
        train='ILSVRC2012_img_train.tar',
        validation='ILSVRC2012_img_val.tar',
        kit='ILSVRC2012_devkit_t12.tar.gz',
    ),
}


def open_2012(path: Path, wanted: SourceOptions) -> Source:
    """ILSVRC-2012 from the folder that holds its archives for training and validation, and the development kit."""
    return _open(YEARS[2012], path, wanted)


def open_2010(path: Path, wanted: SourceOptions) -> Source:
    """ILSVRC-2010 from the folder that holds its archives, the kit, the test labels and the patch images."""
    return _open(YEARS[2010], path, wanted)


def _open(challenge: Challenge, path: Path, wanted: SourceOptions) -> Source:
    folder = path if path.is_dir() else path.parent
    files = [file for file in dataclasses.astuple(challenge)[1:] if file]
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise UserError(
            f'{folder} holds no {", no ".join(missing)}; expected were {", ".join(files)}, with these very names.'
        )
    archives = _ChallengeArchives(folder, challenge, strict=wanted.expect != 'any')
    images = archives.labeled()
    if wanted.expect == 'official':
        expected_counts.check_official_counts(images, f'ILSVRC-{challenge.year}', str(folder))
    note = ''
    if challenge.patches:
        images, note = archives.patched(images)
    arrangement = assign_splits(images, origin=str(folder), seed=wanted.seed, shares=wanted.shares)
    note = f'ILSVRC-{challenge.year}, its archives. {arrangement.note}{note}{skipped_files_note(archives.others)}'
    reader = tar.TarReader(str(folder))
    return build_source(f'imagenet{challenge.year}', arrangement, wanted, reader, note=note, words=archives.kit.words)


class _ChallengeArchives:
    """Those of a challenge, in their folder. `strict` are they refused where they are not what the kit says."""

    def __init__(self, folder: Path, challenge: Challenge, *, strict: bool):
        self._folder, self._challenge, self._strict = folder, challenge, strict
        self.kit = devkit.read_devkit(folder / challenge.kit, challenge.year)
        self.others: list[str] = []  # the names of members that are no images

    def labeled(self) -> dict[str, list[LabeledImage]]:
        """The images of each split; where not all classes are there for training, those of the others are left out."""
        challenge, kit = self._challenge, self.kit
        images = {
            'train': self._train(challenge.train),
            'validation': self._flat(challenge.validation, kit.validation),
        }
        if challenge.test:
            labels = self._folder / challenge.test_labels
            truth = devkit.parse_ground_truth(labels.read_bytes(), kit.classes, str(labels))
            images['test'] = self._flat(challenge.test, truth)
        known = {image.label for image in images['train']}
        return {split: [image for image in of if image.label in known] for split, of in images.items()}

    def _train(self, file: str) -> list[LabeledImage]:
        """The training images, whose classes are the names of the archives in the archive."""
        path, images = self._folder / file, []
        for inner in tar.iter_members(path):
            wnid, ending = PurePosixPath(inner.name).stem, PurePosixPath(inner.name).suffix
            if ending != '.tar' or wnid not in self.kit.images:
                raise UserError(
                    f'{path} holds {inner.name!r}; expected were archives called by the WordNet ids of the '
                    f'{len(self.kit.images)} classes in {self._challenge.kit}.'
                )
            images += [
                LabeledImage(wordnet.imagenet_image_id(name, wnid, origin=str(path)), wnid, where)
                for name, where in self._pictures(file, inner)
            ]
        if self._strict:
            counts = collections.Counter(image.label for image in images)
            expected_counts.check_listed_counts(counts, self.kit.images, 'the training images', str(path))
        return images

    def _flat(self, file: str, truth: Sequence[str]) -> list[LabeledImage]:
        """Images whose labels are listed in the order of the images' names, which are numbered from 1."""
        origin = str(self._folder / file)
        found = sorted((PurePosixPath(name).name, where) for name, where in self._pictures(file))
        if self._strict:
            expected_counts.check_listed_counts({'all': len(found)}, {'all': len(truth)}, 'the images', origin)
        labels = [self._numbered(name, truth, origin) for name, _ in found]
        return [
            LabeledImage(wordnet.imagenet_image_id(name, wnid, origin=origin), wnid, where)
            for (name, where), wnid in zip(found, labels, strict=True)
        ]

    def _numbered(self, name: str, truth: Sequence[str], origin: str) -> str:
        """The label on the line that the name's number tells."""
        number = re.match(rf'ILSVRC{self._challenge.year}_[a-z]+_(\d+)\D', name)
        if not number or not 1 <= int(number[1]) <= len(truth):
            raise UserError(
                f'{origin} holds {name!r}; expected were names of ILSVRC-{self._challenge.year} numbered from 1 to '
                f'{len(truth)}.'
            )
        return truth[int(number[1]) - 1]

    def _pictures(self, file: str, within: tar.Member | None = None) -> list[tuple[str, tuple]]:
        """Names of images and where they lie."""
        path = self._folder / file
        origin = f'{path}, {within.name}' if within else path
        found, others = tar.image_members(tar.iter_members(path, within), origin)
        self.others += others
        place = file, tar.file_version(path)
        return [(member.name, (*place, member.offset, member.size)) for member in found]

    def patched(self, images: dict[str, list[LabeledImage]]) -> tuple[dict[str, list[LabeledImage]], str]:
        """The images, those for which there are patches in their place, and a sentence about it."""
        file = self._challenge.patches
        patches = {PurePosixPath(name).stem: where for name, where in self._pictures(file)}
        known = {image.id for of_split in images.values() for image in of_split}
        if self._strict and (unknown := sorted(set(patches) - known)):
            raise UserError(
                f'{self._folder / file} holds {unknown[0]!r}, which replaces no image; fetch the archives again.'
            )
        replaced = {
            split: [dataclasses.replace(one, location=patches.get(one.id, one.location)) for one in of_split]
            for split, of_split in images.items()
        }
        return replaced, f' {len(known & set(patches))} images come from {file}.'
