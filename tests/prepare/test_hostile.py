"""Hostile and broken images in every form are refused with a message, and leave nothing behind."""

import functools
import gzip
import io
import os
import shutil
import tarfile
from pathlib import Path

import archives
import hostile_files
import pytest

from alexnet_jax import commands
from alexnet_jax.data import image_io
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import builder, sources
from alexnet_jax.prepare.sources import expected_counts, tar
from configs import default

# Images that are blank in their archives.
PATCHED = [next(iter(split))[0] for split in archives.make_images(2010).values()]
FORMS = {
    '2012': archives.write_imagenet2012,
    '2010': lambda root, found: archives.write_imagenet2010(root, found, PATCHED),
    'synsets': archives.write_synsets,
    'synsets in one tar': archives.write_synsets_in_one_tar,
    'kaggle': archives.write_kaggle,
    'parquet': archives.write_parquet,
    'folders': archives.write_class_folders,
    'tar': archives.write_class_tar,
    'tar.gz': archives.write_class_tgz,
    'zip': archives.write_class_zip,
}
# The archives of each form that a stranger may have made; NESTED: one that has archives in it, and one of these.
ARCHIVES = {
    '2012': ('ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar', 'ILSVRC2012_devkit_t12.tar.gz'),
    '2010': (
        'ILSVRC2010_images_train.tar',
        'ILSVRC2010_images_val.tar',
        'ILSVRC2010_images_test.tar',
        'ILSVRC2010_devkit-1.0.tar.gz',
        'patch_images.tar',
    ),
    'synsets': ('train/n01443537.tar', 'val/n01443537.tar'),
    'synsets in one tar': ('releases.tar',),
    'tar': ('images.tar',),
    'tar.gz': ('images.tar.gz',),
}
NESTED = {
    '2012': ('ILSVRC2012_img_train.tar', 'n01443537.tar'),
    '2010': ('ILSVRC2010_images_train.tar', 'n01443537.tar'),
    'synsets in one tar': ('releases.tar', 'train/n01443537.tar'),
}
# TFDS takes a second each time.
ALL_FORMS = {**FORMS, 'tfds': archives.write_tfds}
# Files that say how many images there should be.
LISTS = ('*devkit*', '*ground_truth.txt', 'LOC_*', 'ILSVRC/ImageSets')
WNID, OTHER = 'n01443537', 'n01440764'


@pytest.fixture(autouse=True)
def small_challenges(monkeypatch):
    """Expect challenges of three classes, with four training images each."""
    for challenge, held in (('ILSVRC-2012', {}), ('ILSVRC-2010', {'test': 6})):
        expected = expected_counts.ExpectedCounts({'train': 12, 'validation': 6, **held}, 3, 4, 4)
        monkeypatch.setitem(expected_counts.OFFICIAL, challenge, expected)


def images_of(form):
    return archives.make_images(2010 if form == '2010' else 2012)


def write_form(form, root, found=None):
    """Write a form and return its source and path; with `found`, its lists are those of other images."""
    kind, path = ALL_FORMS[form](root, images_of(form))
    if found is not None:
        lists = [file for pattern in LISTS for file in root.glob(pattern)]
        for file in lists:
            file.rename(root.parent / file.name)
        shutil.rmtree(root)
        kind, path = ALL_FORMS[form](root, found)
        for file in lists:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
            (root.parent / file.name).rename(file)
    return kind, path


def prepare(name, path, directory, expected_counts='official'):
    options = sources.SourceOptions(expected_counts=expected_counts, validation_fraction=0.3)
    source = sources.open_source(name, str(path), options)
    return builder.prepare_dataset(source, directory, EncodingSpec(40), progress=False)


def run_command(name, path, directory, expected_counts):
    """Prepare a dataset as --mode=prepare does, which also compares the number of classes with the config's."""
    config = default.get_config()
    config.model.preset, config.model.crop_size, config.model.num_classes = 'miniature', 32, 3
    config.prepare.source, config.prepare.path, config.prepare.image_size = name, str(path), 40
    config.prepare.expected_counts = expected_counts
    return commands.run('prepare', config, str(directory))


def refused(name, path, sentence, expected_counts='official', prepare=prepare):
    """Check that a source is refused and nothing is left behind: no dataset, no part of one, nothing unpacked."""
    top = next(folder for folder in Path(path).parents if folder.name.startswith('test_'))
    before = {file: file.lstat().st_mtime_ns for file in top.rglob('*')}
    with pytest.raises(UserError, match=sentence):
        prepare(name, path, top / 'dataset', expected_counts)
    assert {file: file.lstat().st_mtime_ns for file in top.rglob('*')} == before


@pytest.mark.parametrize('form', ALL_FORMS)
def test_what_is_whole_is_taken(form, tmp_path):
    """Check the premise of all tests below."""
    numbers = prepare(*write_form(form, tmp_path / 'images'), tmp_path / 'dataset')
    assert numbers['classes'] == 3 and numbers['test'] == 6


# What archives may hold


def append_member(member, data):
    return hostile_files.append_to_tar(data, member)


def cut_in_half(data):
    return data[: len(data) // 2 if data[:2] == image_io.GZIP_MAGIC else 1000]


def repeat_first(data):
    """Append the first file of an archive once more."""
    with tarfile.open(fileobj=io.BytesIO(data)) as old:
        first = next(info for info in old if info.isreg())
        return hostile_files.append_to_tar(data, (first, old.extractfile(first).read()))


NAME = f'train/{WNID}/{WNID}_1.JPEG'
# Members to append to a tar, and what the error says.
BAD_MEMBERS = {
    'a way out': (hostile_files.tar_member(f'../{NAME}', b'x'), 'leads out of it'),
    'an absolute path': (hostile_files.tar_member(f'/{NAME}', b'x'), 'leads out of it'),
    'a symbolic link': (hostile_files.tar_member(NAME, type=tarfile.SYMTYPE, linkname='/etc/passwd'), 'is a link'),
    'a hard link': (hostile_files.tar_member(NAME, type=tarfile.LNKTYPE, linkname='x'), 'is a link'),
    'a device': (hostile_files.tar_member(NAME, type=tarfile.CHRTYPE), 'a device'),
    'a pipe': (hostile_files.tar_member(NAME, type=tarfile.FIFOTYPE), 'a device'),
    'a header that would fill the memory': (hostile_files.tar_member('x', type=tarfile.XHDTYPE), 'no whole tar'),
}
BAD = {
    **{name: (functools.partial(append_member, member), message) for name, (member, message) in BAD_MEMBERS.items()},
    'a name that comes twice': (repeat_first, 'twice'),
    'half of it': (cut_in_half, 'no whole tar'),
}


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('form', ARCHIVES)
def test_a_hostile_archive_is_refused(form, bad, tmp_path):
    kind, path = write_form(form, tmp_path / 'images')
    change, sentence = BAD[bad]
    for file in ARCHIVES[form]:
        whole = (tmp_path / 'images' / file).read_bytes()
        (tmp_path / 'images' / file).write_bytes(change(whole))
        refused(kind, path, sentence)
        (tmp_path / 'images' / file).write_bytes(whole)


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('form', NESTED)
def test_a_hostile_archive_in_an_archive_is_refused(form, bad, tmp_path):
    kind, path = write_form(form, tmp_path / 'images')
    change, sentence = BAD[bad]
    file, inner = NESTED[form]
    with tarfile.open(tmp_path / 'images' / file) as archive:
        files = {info.name: archive.extractfile(info).read() for info in archive}
    archives.write_files(tmp_path / 'images', {file: archives.pack_tar(files | {inner: change(files[inner])})})
    refused(kind, path, sentence)


@pytest.mark.parametrize('form', [form for form in ARCHIVES if any('gz' in file for file in ARCHIVES[form])])
def test_a_packed_archive_that_would_fill_the_disk_is_refused(form, tmp_path, monkeypatch):
    monkeypatch.setattr(tar, 'MIN_UNPACKED_LIMIT', 2**20)
    kind, path = write_form(form, tmp_path / 'images')
    file = next(file for file in ARCHIVES[form] if 'gz' in file)
    bomb = hostile_files.append_to_tar(
        gzip.decompress((tmp_path / 'images' / file).read_bytes()), hostile_files.tar_member('zeros', bytes(2**24))
    )
    archives.write_files(tmp_path / 'images', {file: gzip.compress(bomb, 9)})
    refused(kind, path, 'unpacks to more than 200 times its size')


# What folders may hold


@pytest.mark.parametrize('form, place', [
    ('folders', f'imagenet/train/{WNID}'), ('folders', f'imagenet/val/{WNID}'),
    ('kaggle', f'ILSVRC/Data/CLS-LOC/train/{WNID}'), ('kaggle', 'ILSVRC/Data/CLS-LOC/val'),
])  # fmt: skip
@pytest.mark.parametrize('what', ['pipe', 'link to nothing', 'link to a device', 'link round in a circle'])
def test_a_folder_with_what_is_no_file_is_refused(form, place, what, tmp_path):
    kind, path = write_form(form, tmp_path / 'images')
    name = tmp_path / 'images' / place / f'{WNID}_7.JPEG'
    if what == 'pipe':
        os.mkfifo(name)
    else:
        name.symlink_to({'nothing': '/nowhere', 'device': '/dev/zero', 'circle': name.name}[what.split()[-1]])
    refused(
        kind, path, rf'holds .*{WNID}_7.JPEG.*, which is not a regular file|Too many levels of symbolic links', 'any'
    )


# What images may be, and which there are


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'data, sentence',
    [
        (archives.make_jpeg(1)[:300], 'damaged or truncated JPEG'),
        (hostile_files.make_fake_png(60000, 60000), 'more pixels than the limit of 64,000,000'),
        (gzip.compress(bytes(80 * 2**20)), 'exceed the limit of 67,108,864'),
    ],
    ids=['half of one', 'a bomb', 'a packed bomb'],
)
def test_an_image_that_cannot_be_read_is_named(form, data, sentence, tmp_path):
    found = images_of(form)
    name = list(found['train'])[5]
    found['train'][name] = data
    refused(*write_form(form, tmp_path / 'images', found), f'(?s)1 image cannot be read.*{name[0]}: .*{sentence}')


@pytest.mark.parametrize('split', ['train', 'validation'])
@pytest.mark.parametrize('form', ALL_FORMS)
def test_an_image_of_another_class_than_its_name_says_is_refused(form, split, tmp_path):
    found = images_of(form)
    old = next(key for key in found[split] if key[1] == WNID)
    new = {(f'{OTHER}_1', WNID) if key == old else key: data for key, data in found[split].items()}
    sentence = f'its name says {OTHER}|{OTHER}_1.*has label|not list the same images|expected names of'
    refused(*write_form(form, tmp_path / 'images', {**found, split: new}), sentence)


@pytest.mark.parametrize('form', FORMS)
def test_a_class_that_is_missing_is_refused(form, tmp_path):
    found = images_of(form)
    there = {split: {key: data for key, data in of.items() if key[1] != OTHER} for split, of in found.items()}
    only_train = {**found, 'train': there['train']}
    for number, less in enumerate((only_train, there)):
        for expect in ('official', 'listed'):
            root = tmp_path / f'{number}{expect}'
            kind, path = write_form(form, root, less)
            refused(
                kind,
                path,
                f'{OTHER}|2 classes|classes 2 instead of 3|images of 2, none of|not list the same images',
                expect,
                run_command,
            )


@pytest.mark.parametrize('change', ['one less', 'one more'])
@pytest.mark.parametrize('split', ['train', 'validation'])
@pytest.mark.parametrize('form', ALL_FORMS)
def test_counts_that_are_off_by_one_are_refused(form, split, change, tmp_path):
    found = images_of(form)
    if change == 'one less':
        found[split].pop(list(found[split])[-1])
    else:
        name = f'{WNID}_77777' if split == 'train' else f'ILSVRC{2010 if form == "2010" else 2012}_val_00000007'
        found[split][name, WNID] = archives.make_jpeg(77)
    refused(*write_form(form, tmp_path / 'images', found), 'instead of|not list the same images')
