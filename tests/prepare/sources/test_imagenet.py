"""Test ImageNet's archives: labels by the kit's numbers, counts by its lists, errors for damage."""

import gzip
import hashlib
import json
import os
import tarfile

import archives
import hostile_files
import pytest
from archives import CLASSES, NUMBERS

from alexnet_jax.data import dataset, image_io
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import builder, sources
from alexnet_jax.prepare.sources import checksums, devkit, expected_counts, tar

TRAIN, VAL, KIT = 'ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar', 'ILSVRC2012_devkit_t12.tar.gz'
FOUND = archives.make_images()


@pytest.fixture
def root(tmp_path):
    archives.write_imagenet2012(tmp_path / 'ilsvrc', FOUND)
    return tmp_path / 'ilsvrc'


def opened(root, kind='imagenet2012', expect='listed', **options):
    return sources.open_source(
        kind, str(root), sources.SourceOptions(**{'expected_counts': expect, 'validation_fraction': 0, **options})
    )


def refused(root, sentence, **options):
    """Check that the source is refused and nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in root.parent.rglob('*')}
    with pytest.raises(UserError, match=sentence):
        opened(root, **options)
    assert {path: path.stat().st_mtime_ns for path in root.parent.rglob('*')} == before


# Labels


def test_validation_labels_go_from_the_kits_order_to_that_of_the_wordnet_ids(root):
    source = opened(root)
    assert source.class_names == tuple(sorted(CLASSES)) != tuple(NUMBERS.values())
    assert source.class_descriptions == tuple(CLASSES[wnid] for wnid in source.class_names)
    told = {item.id: source.class_names[item.label] for item in source.splits['test']}
    assert told == dict(list(FOUND['validation']))
    assert source.name == 'imagenet2012' and not source.upright and not source.sequential


def test_2010_has_its_three_splits_its_test_labels_and_its_patches(tmp_path):
    found = archives.make_images(2010)
    patched = [next(iter(found[split]))[0] for split in found]
    kind, root = archives.write_imagenet2010(tmp_path / 'ilsvrc', found, patched)
    source = opened(root, kind)
    for split in found:
        told = {item.id: (source.class_names[item.label], source.read(item)) for item in source.splits[split]}
        assert told == {name: (wnid, data) for (name, wnid), data in found[split].items()}
    assert '3 images come from patch_images.tar' in source.note and source.name == 'imagenet2010'


def test_a_patch_for_no_image_is_refused_unless_any_will_do(tmp_path):
    found = archives.make_images(2010)
    kind, root = archives.write_imagenet2010(tmp_path / 'ilsvrc', found)
    archives.write_files(
        root, {'patch_images.tar': archives.pack_tar({'train/n01440764_99999.JPEG': archives.make_jpeg(0)})}
    )
    refused(root, r"'n01440764_99999', which replaces no image", kind=kind)
    assert opened(root, kind, expect='any').splits['train']


def test_the_kit_is_read_as_matlab_wrote_it():
    numbers = {7: 'n00000007', 3: 'n00000003'}
    classes, words, counts = devkit._parse_synsets(archives.pack_meta_mat(2012, numbers, {'n00000007': 70}), 2012)
    assert classes == numbers and counts == {'n00000007': 70, 'n00000003': 4} and words['n00000003'] == 'x'
    assert devkit._parse_synsets(archives.pack_meta_mat(2010, {1: 'n00000001'}, leaves_only=True), 2010)[0] == {
        1: 'n00000001'
    }


# Counts


def test_the_challenges_own_counts_are_those_that_are_published():
    assert expected_counts.OFFICIAL['ILSVRC-2012'].images == {'train': 1281167, 'validation': 50000}
    assert (expected_counts.OFFICIAL['ILSVRC-2012'].smallest, expected_counts.OFFICIAL['ILSVRC-2012'].largest) == (
        732,
        1300,
    )


def test_a_part_is_not_taken_for_the_whole(root):
    refused(root, r'not the whole of ILSVRC-2012: train 12 instead of 1,281,167, validation 6', expect='official')


def without(split, place=0):
    name = list(FOUND[split])[place]
    return {**FOUND, split: {key: data for key, data in FOUND[split].items() if key != name}}


def with_one_more(split, name, wnid):
    return {**FOUND, split: {**FOUND[split], (name, wnid): archives.make_jpeg(500)}}


@pytest.mark.parametrize(
    'found, sentence',
    [
        (without('train'), r'training images are not as many as listed: n01440764 3 instead of 4'),
        (with_one_more('train', 'n02084071_77777', 'n02084071'), r'n02084071 5 instead of 4'),
        (without('validation', 2), r'img_val.tar: the images are not as many as listed: all 5 instead of 6'),
        (with_one_more('validation', 'ILSVRC2012_val_00000007', 'n02084071'), 'all 7 instead of 6'),
    ],
)
def test_counts_that_are_off_by_one_are_refused(found, sentence, root):
    kit = (root / KIT).read_bytes()
    archives.write_imagenet2012(root, found)
    (root / KIT).write_bytes(kit)
    refused(root, sentence)


def test_a_part_of_the_classes_is_a_part_of_the_validation_images_too(root):
    train = {key: data for key, data in FOUND['train'].items() if key[1] != 'n01443537'}
    inner = {
        f'{wnid}.tar': archives.pack_tar(archives.files_of_class(train, wnid)) for wnid in ('n01440764', 'n02084071')
    }
    archives.write_files(root, {TRAIN: archives.pack_tar(inner)})
    refused(root, r'n01443537 0 instead of 4')
    source = opened(root, expect='any')
    assert source.class_names == ('n01440764', 'n02084071')
    told = {item.id: source.class_names[item.label] for item in source.splits['test']}
    assert told == {name: wnid for name, wnid in FOUND['validation'] if wnid != 'n01443537'}


def test_a_part_of_the_validation_images_is_labeled_by_its_numbers(root):
    val = {f'{name}.JPEG': data for (name, _), data in list(FOUND['validation'].items())[3:]}
    archives.write_files(root, {VAL: archives.pack_tar(val)})
    source = opened(root, expect='any')
    told = {item.id: source.class_names[item.label] for item in source.splits['test']}
    assert told == dict(list(FOUND['validation'])[3:])
    archives.write_files(root, {VAL: archives.pack_tar({'x.JPEG': archives.make_jpeg(1)})})
    refused(root, r"'x.JPEG'; expected names of ILSVRC-2012 numbered from 1 to 6", expect='any')


# Hostile and broken archives


def in_inner(root, change):
    """Write the training archive with one of its inner ones changed."""
    inner = {f'{wnid}.tar': archives.pack_tar(archives.files_of_class(FOUND['train'], wnid)) for wnid in CLASSES}
    inner['n02084071.tar'] = change(inner['n02084071.tar'])
    archives.write_files(root, {TRAIN: archives.pack_tar(inner)})


def test_names_that_come_twice_are_refused(root):
    again = next(iter(archives.files_of_class(FOUND['train'], 'n02084071')))
    in_inner(root, lambda data: hostile_files.append_to_tar(data, hostile_files.tar_member(again, b'again')))
    refused(root, f"n02084071.tar holds '{again}' twice")
    in_inner(root, lambda data: hostile_files.append_to_tar(data, hostile_files.tar_member(f'below/{again}', b'again')))
    refused(root, f"holds the image '{again[:-5]}' twice", expect='any')
    archives.write_imagenet2012(root, FOUND)
    val = root / VAL
    val.write_bytes(
        hostile_files.append_to_tar(
            val.read_bytes(), hostile_files.tar_member('below/ILSVRC2012_val_00000001.JPEG', b'x')
        )
    )
    refused(root, "'ILSVRC2012_val_00000001' twice", expect='any')
    outer = root / TRAIN
    outer.write_bytes(hostile_files.append_to_tar(outer.read_bytes(), hostile_files.tar_member('n02084071.tar', b'x')))
    refused(root, "'n02084071.tar' twice")


def test_what_is_of_the_wrong_class_is_refused(root):
    in_inner(root, lambda data: hostile_files.append_to_tar(data, hostile_files.tar_member('n01440764_4.JPEG', b'x')))
    refused(root, 'n01440764_4.JPEG is of class n02084071, but its name says n01440764')
    outer = root / TRAIN
    for name in ('n99999999.tar', 'n00001740.tar', 'readme.txt'):  # no class, an inner node of the tree, no archive
        archives.write_imagenet2012(root, FOUND)
        outer.write_bytes(
            hostile_files.append_to_tar(outer.read_bytes(), hostile_files.tar_member(name, archives.pack_tar({})))
        )
        refused(root, f'holds {name!r}; expected archives named by the WordNet ids of the 3 classes')


@pytest.mark.parametrize('file', [TRAIN, VAL, KIT])
@pytest.mark.parametrize('share', [0.0, 0.03, 0.3, 0.5])
def test_half_a_download_is_refused(file, share, root):
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: int(share * len(whole))])
    refused(root, f'{file}.* is no whole tar archive')


def test_half_an_archive_in_an_archive_is_refused(root):
    in_inner(root, lambda data: data[:1700])
    refused(root, 'n02084071.tar is no whole tar')
    in_inner(root, lambda data: data[:700] + b'x' * 512 + data[700:])
    refused(root, 'n02084071.tar is no whole tar')


def test_members_too_large_for_images_are_refused_before_they_are_read(root, monkeypatch):
    monkeypatch.setattr(image_io, 'MAX_FILE_BYTES', 5000)
    in_inner(
        root, lambda data: hostile_files.append_to_tar(data, hostile_files.tar_member('n02084071_4.JPEG', bytes(5001)))
    )
    refused(root, r"'n02084071_4.JPEG' of 5,001 bytes, more than the 5,000")


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(root, monkeypatch):
    monkeypatch.setattr(tar, 'MIN_UNPACKED_LIMIT', 2**20)
    bomb = archives.pack_tar({'ILSVRC2012_devkit_t12/zeros': bytes(2**24)})
    (root / KIT).write_bytes(gzip.compress(bomb, 9))
    refused(root, 'unpacks to more than 200 times its size')


@pytest.mark.parametrize('kind', [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_refused(kind, root):
    header = tarfile.TarInfo('n02084071_5.JPEG')
    header.size, header.type = 2**40, kind
    (root / VAL).write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(root, 'no whole tar.*a header of 1,099,511')


def test_archives_of_too_many_members_are_refused(root, monkeypatch):
    monkeypatch.setattr(tar, 'MAX_MEMBERS', 5)
    refused(root, 'more than 5 files')


def test_what_is_missing_is_named(root):
    (root / VAL).unlink()
    refused(root, f'holds no {VAL}; expected {TRAIN}, {VAL}, {KIT}')


def kit(found=FOUND, **changes):
    return archives.pack_devkit(2012, found, **changes)


@pytest.mark.parametrize(
    'changes, sentence',
    [
        ({'meta.mat': b'no matlab'}, 'meta.mat is not that of ILSVRC-2012'),
        ({'meta.mat': b'MATLAB 5.0 MAT-file' + bytes(200)}, 'meta.mat is not that of ILSVRC-2012'),
        ({'meta.mat': archives.pack_meta_mat(2010)}, 'meta.mat is not that of ILSVRC-2012'),
        ({'meta.mat': archives.pack_meta_mat(2012, {1: 'dog'})}, 'WordNet ids are not one for each class'),
        ({'meta.mat': archives.pack_meta_mat(2012, {1: 'n00000001', 2: 'n00000001'})}, 'not one for each class'),
        ({'ILSVRC2012_validation_ground_truth.txt': b'1\n2\n1001\n'}, '1001; expected numbers of classes from 1 to 3'),
        ({'ILSVRC2012_validation_ground_truth.txt': b'1\nx\n'}, 'expected numbers of classes'),
        ({'ILSVRC2012_validation_ground_truth.txt': b'1\n2\n'}, 'all 6 instead of 2'),
    ],
)
def test_a_kit_that_makes_no_sense_is_refused(changes, sentence, root):
    (root / KIT).write_bytes(kit(**changes))
    refused(root, sentence)


def test_a_kit_without_its_lists_is_refused(root):
    (root / KIT).write_bytes(archives.pack_tar({'data/readme.txt': b''}, 'w:gz'))
    refused(root, 'no ILSVRC2012_validation_ground_truth.txt and no meta.mat')


@pytest.mark.parametrize(
    'data, sentence',
    [
        (hostile_files.make_fake_png(60000, 60000), 'more pixels than the limit of 64,000,000'),
        (gzip.compress(bytes(80 * 2**20)), 'exceed the limit of 67,108,864'),
        (archives.make_jpeg(1)[:300], 'damaged or truncated JPEG'),
        (b'', 'empty file'),
        (b'GIF89a', 'not a JPEG, PNG or WebP'),
    ],
    ids=['bomb', 'gzip bomb', 'truncated', 'empty', 'GIF'],
)
def test_an_image_that_cannot_be_read_is_named_and_leaves_nothing_behind(data, sentence, root, tmp_path):
    name = list(FOUND['train'])[5]
    archives.write_imagenet2012(root, {**FOUND, 'train': {**FOUND['train'], name: data}})
    with pytest.raises(UserError, match=f'(?s)1 image cannot be read.*{name[0]}: .*{sentence}'):
        builder.prepare_dataset(opened(root), tmp_path / 'd', EncodingSpec(16), progress=False)
    assert sorted(os.listdir(tmp_path)) == ['ilsvrc']
    builder.prepare_dataset(opened(root), tmp_path / 'd', EncodingSpec(16), progress=False, max_unreadable=1)
    data = dataset.open_dataset(tmp_path / 'd')
    assert data.counts == {'train': 11, 'test': 6} and len(data.split('train')) == 11
    report = json.loads((tmp_path / 'd' / 'report.json').read_text())
    assert list(report['left_out']) == [name[0]] and sentence in report['left_out'][name[0]]
    ids = [data.split('train')[number][2] for number in range(11)]
    assert ids == sorted(identity for identity, _ in FOUND['train'] if identity != name[0])


# Sums


def test_sums_are_checked_on_request(root, monkeypatch):
    refused(root, r'has the MD5 sum \w{32}, expected fa75699e', verify_md5=True)
    own = {file: hashlib.md5((root / file).read_bytes()).hexdigest() for file in (TRAIN, VAL, KIT)}
    monkeypatch.setattr(checksums, 'KNOWN_MD5', own)
    assert opened(root, verify_md5=True).class_names
    (root / VAL).write_bytes((root / VAL).read_bytes() + b'x')
    refused(root, f'{VAL} has the MD5 sum', verify_md5=True)


def test_an_archive_of_no_known_sum_says_so(tmp_path):
    kind, path = archives.write_class_tar(tmp_path, FOUND)
    refused(path, 'no archive with a known MD5 sum', kind=kind, verify_md5=True)
