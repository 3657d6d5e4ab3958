"""Hostile and broken images in every form: refused with a sentence, and nothing is left of them."""

import gzip
import io
import os
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import archives
import pytest

from alexnet_jax import commands
from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import expected_counts, tar
from configs import default

PATCHED = [
    next(iter(split))[0] for split in archives.images(2010).values()
]  # which are blank in their archives
FORMS = {
    '2012': archives.official_2012,
    '2010': lambda root, found: archives.official_2010(root, found, PATCHED),
    'synsets': archives.synsets,
    'synsets in one tar': archives.synsets_in_one,
    'kaggle': archives.kaggle,
    'parquet': archives.parquet,
    'folders': archives.class_folders,
    'tar': archives.class_tar,
    'tar.gz': archives.class_tgz,
    'zip': archives.class_zip,
}
ARCHIVES = {  # of each form the archives that a stranger may have made, and for those in it the inner one
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
BUILT = {**FORMS, 'tfds': archives.tfds}  # which takes TFDS a second each time
LISTS = (
    '*devkit*',
    '*ground_truth.txt',
    'LOC_*',
    'ILSVRC/ImageSets',
)  # what tells how many images there should be
WNID, OTHER = 'n01443537', 'n01440764'


@pytest.fixture(autouse=True)
def small_challenges(monkeypatch):
    """Challenges of three classes, four training images of each."""
    for challenge, held in (('ILSVRC-2012', {}), ('ILSVRC-2010', {'test': 6})):
        expected = expected_counts.ExpectedCounts({'train': 12, 'validation': 6, **held}, 3, 4, 4)
        monkeypatch.setitem(expected_counts.OFFICIAL, challenge, expected)


def images_of(form):
    return archives.images(2010 if form == '2010' else 2012)


def built(form, root, found=None):
    """The form, of other images than its lists tell of where some are given: (kind, path)."""
    kind, path = BUILT[form](root, images_of(form))
    if found is not None:
        lists = [file for pattern in LISTS for file in root.glob(pattern)]
        for file in lists:
            file.rename(root.parent / file.name)
        shutil.rmtree(root)
        kind, path = BUILT[form](root, found)
        for file in lists:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
            (root.parent / file.name).rename(file)
    return kind, path


def prepare(kind, path, workdir, **fields):
    config = default.get_config()
    config.update_from_flattened_dict({
        'model.preset': 'miniature', 'model.crop_size': 32, 'model.num_classes': 3, 'prepare.source': kind,
        'prepare.path': str(path), 'prepare.image_size': 40, 'prepare.validation_fraction': 0.3, **fields,
    })  # fmt: skip
    return commands.run('prepare', config, str(workdir))


def refused(kind, path, sentence, **fields):
    """Raises, and leaves the folder about the images as it was: no dataset, no half of one, nothing unpacked."""
    top = next(folder for folder in Path(path).parents if folder.name.startswith('test_'))
    before = {file: file.lstat().st_mtime_ns for file in top.rglob('*')}
    with pytest.raises(UserError, match=sentence):
        prepare(kind, path, top / 'run', **fields)
    assert {file: file.lstat().st_mtime_ns for file in top.rglob('*')} == before


@pytest.mark.parametrize('form', BUILT)
def test_what_is_whole_is_taken(form, tmp_path):
    """Or nothing below would mean much."""
    numbers = prepare(*built(form, tmp_path / 'images'), tmp_path / 'run')
    assert numbers['classes'] == 3 and numbers['test'] == 6


# What archives may hold


def member(path, content=b'', **fields):
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def added(data, *members):
    """A tar's bytes, packed as before, with members of any kind behind the others."""
    file, is_packed = io.BytesIO(), data[:2] == image_io.GZIP_MAGIC
    with tarfile.open(fileobj=io.BytesIO(data)) as old:
        with tarfile.open(fileobj=file, mode='w:gz' if is_packed else 'w') as new:
            for info in old:
                new.addfile(info, old.extractfile(info))
            for info, content in members:
                new.addfile(info, io.BytesIO(content))
    return file.getvalue()


def again(data):
    """The first of an archive's files once more."""
    with tarfile.open(fileobj=io.BytesIO(data)) as old:
        first = next(info for info in old if info.isreg())
        return added(data, (first, old.extractfile(first).read()))


NAME = f'train/{WNID}/{WNID}_1.JPEG'
BAD = {
    'a way out': (lambda data: added(data, member(f'../{NAME}', b'x')), 'leads out of it'),
    'an absolute path': (lambda data: added(data, member(f'/{NAME}', b'x')), 'leads out of it'),
    'a symbolic link': (
        lambda data: added(data, member(NAME, type=tarfile.SYMTYPE, linkname='/etc/passwd')),
        'is a link',
    ),
    'a hard link': (lambda data: added(data, member(NAME, type=tarfile.LNKTYPE, linkname='x')), 'is a link'),
    'a device': (lambda data: added(data, member(NAME, type=tarfile.CHRTYPE)), 'a device'),
    'a pipe': (lambda data: added(data, member(NAME, type=tarfile.FIFOTYPE)), 'a device'),
    'a name that comes twice': (again, 'twice'),
    'half of it': (lambda data: data[: len(data) // 2 if data[:2] == image_io.GZIP_MAGIC else 1000], 'no whole tar'),
    'a header that would fill the memory': (
        lambda data: added(data, (member('x', type=tarfile.XHDTYPE)[0], b'')), 'no whole tar'
    ),
}  # fmt: skip


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('form', ARCHIVES)
def test_a_hostile_archive_is_refused(form, bad, tmp_path):
    kind, path = built(form, tmp_path / 'images')
    change, sentence = BAD[bad]
    for file in ARCHIVES[form]:
        whole = (tmp_path / 'images' / file).read_bytes()
        (tmp_path / 'images' / file).write_bytes(change(whole))
        refused(kind, path, sentence)
        (tmp_path / 'images' / file).write_bytes(whole)


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('form', NESTED)
def test_a_hostile_archive_in_an_archive_is_refused(form, bad, tmp_path):
    kind, path = built(form, tmp_path / 'images')
    change, sentence = BAD[bad]
    file, inner = NESTED[form]
    with tarfile.open(tmp_path / 'images' / file) as archive:
        files = {info.name: archive.extractfile(info).read() for info in archive}
    archives.write(tmp_path / 'images', {file: archives.tar(files | {inner: change(files[inner])})})
    refused(kind, path, sentence)


@pytest.mark.parametrize('form', [form for form in ARCHIVES if any('gz' in file for file in ARCHIVES[form])])
def test_a_packed_archive_that_would_fill_the_disk_is_refused(form, tmp_path, monkeypatch):
    monkeypatch.setattr(tar, 'MIN_UNPACKED_LIMIT', 2**20)
    kind, path = built(form, tmp_path / 'images')
    file = next(file for file in ARCHIVES[form] if 'gz' in file)
    bomb = added(gzip.decompress((tmp_path / 'images' / file).read_bytes()), member('zeros', bytes(2**24)))
    archives.write(tmp_path / 'images', {file: gzip.compress(bomb, 9)})
    refused(kind, path, 'unpacks to more than 200 times its size')


# What folders may hold


@pytest.mark.parametrize('form, place', [
    ('folders', f'imagenet/train/{WNID}'), ('folders', f'imagenet/val/{WNID}'),
    ('kaggle', f'ILSVRC/Data/CLS-LOC/train/{WNID}'), ('kaggle', 'ILSVRC/Data/CLS-LOC/val'),
])  # fmt: skip
@pytest.mark.parametrize('what', ['pipe', 'link to nothing', 'link to a device', 'link round in a circle'])
def test_a_folder_with_what_is_no_file_is_refused(form, place, what, tmp_path):
    kind, path = built(form, tmp_path / 'images')
    name = tmp_path / 'images' / place / f'{WNID}_7.JPEG'
    if what == 'pipe':
        os.mkfifo(name)
    else:
        name.symlink_to({'nothing': '/nowhere', 'device': '/dev/zero', 'circle': name.name}[what.split()[-1]])
    refused(
        kind,
        path,
        rf'holds .*{WNID}_7.JPEG.*, which is not a regular file|Too many levels of symbolic links',
        **{'prepare.expected_counts': 'any'},
    )


# What images may be, and which there are


def png_of(width, height):
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(bytes(100))) + chunk(b'IEND', b'')


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'data, sentence',
    [
        (archives.jpeg(1)[:300], 'damaged or truncated JPEG'),
        (png_of(60000, 60000), 'more pixels than the limit of 64,000,000'),
        (gzip.compress(bytes(80 * 2**20)), 'exceed the limit of 67,108,864'),
    ],
    ids=['half of one', 'a bomb', 'a packed bomb'],
)
def test_an_image_that_cannot_be_read_is_named(form, data, sentence, tmp_path):
    found = images_of(form)
    name = list(found['train'])[5]
    found['train'][name] = data
    refused(*built(form, tmp_path / 'images', found), f'(?s)1 image cannot be read.*{name[0]}: .*{sentence}')


@pytest.mark.parametrize('split', ['train', 'validation'])
@pytest.mark.parametrize('form', BUILT)
def test_an_image_of_another_class_than_its_name_says_is_refused(form, split, tmp_path):
    found = images_of(form)
    old = next(key for key in found[split] if key[1] == WNID)
    new = {(f'{OTHER}_1', WNID) if key == old else key: data for key, data in found[split].items()}
    sentence = f'its name says {OTHER}|{OTHER}_1.*has label|not list the same images|expected names of'
    refused(*built(form, tmp_path / 'images', {**found, split: new}), sentence)


@pytest.mark.parametrize('form', FORMS)
def test_a_class_that_is_missing_is_refused(form, tmp_path):
    found = images_of(form)
    there = {split: {key: data for key, data in of.items() if key[1] != OTHER} for split, of in found.items()}
    only_train = {**found, 'train': there['train']}
    for number, less in enumerate((only_train, there)):
        for expect in ('official', 'listed'):
            root = tmp_path / f'{number}{expect}'
            kind, path = built(form, root, less)
            refused(
                kind,
                path,
                f'{OTHER}|2 classes|classes 2 instead of 3|images of 2, none of|not list the same images',
                **{'prepare.expected_counts': expect},
            )


@pytest.mark.parametrize('change', ['one less', 'one more'])
@pytest.mark.parametrize('split', ['train', 'validation'])
@pytest.mark.parametrize('form', BUILT)
def test_counts_that_are_off_by_one_are_refused(form, split, change, tmp_path):
    found = images_of(form)
    if change == 'one less':
        found[split].pop(list(found[split])[-1])
    else:
        name = (
            f'{WNID}_77777' if split == 'train' else f'ILSVRC{2010 if form == "2010" else 2012}_val_00000007'
        )
        found[split][name, WNID] = archives.jpeg(77)
    refused(*built(form, tmp_path / 'images', found), 'instead of|not list the same images')
