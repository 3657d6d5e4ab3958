"""Builds small copies of every form of ImageNet, from a few JPEGs.

All three classes have training and validation images; the kit numbers the classes against the order of their names.
"""

import gzip
import io
import json
import random
import tarfile
import zipfile

import numpy as np
from PIL import Image

CLASSES = {'n01440764': 'tench, Tinca tinca', 'n01443537': 'goldfish', 'n02084071': 'dog, domestic dog'}
NUMBERS = {1: 'n02084071', 2: 'n01440764', 3: 'n01443537'}  # the kit's own, in another order
SYNSET = np.dtype(
    [(name, object) for name in ('ID', 'WNID', 'words', 'gloss', 'num_children', 'children', 'wordnet_height')]
    + [('num_train_images', object)]
)


def make_jpeg(seed, size=(24, 32), mode='RGB', **options):
    """Return a small JPEG that is different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    picture.save(file, 'JPEG', quality=90, **options)
    return file.getvalue()


def make_rotated_jpeg(seed):
    """Return a JPEG with an EXIF orientation, which nobody applies to ImageNet."""
    tags = Image.Exif()
    tags[274] = 6
    return make_jpeg(seed, exif=tags)


def make_images(year=2012, each=4):
    """Return split -> (id, class) -> bytes, with gray, CMYK, rotated and gzipped images among them."""
    train, seed = {}, 0
    for wnid in CLASSES:
        for number in random.Random(wnid).sample(range(1, 30000), each):
            seed += 1
            train[f'{wnid}_{number}', wnid] = make_jpeg(seed, size=(20 + 3 * seed, 60 - 2 * seed))
    first = list(train)
    train[first[0]] = make_jpeg(100, mode='L')
    train[first[1]] = make_jpeg(101, mode='CMYK')
    train[first[2]] = make_rotated_jpeg(102)
    train[first[3]] = gzip.compress(make_jpeg(103), mtime=0)
    held = {'validation': 'val', 'test': 'test'} if year == 2010 else {'validation': 'val'}
    found = {'train': train}
    for split, word in held.items():
        found[split] = {}
        for number in range(1, 7):
            wnid = sorted(CLASSES)[(number * number + len(word)) % 3]
            seed += 1
            found[split][f'ILSVRC{year}_{word}_{number:08d}', wnid] = make_jpeg(200 + seed)
    return found


def pack_tar(members, mode='w', order=None):
    """Return the bytes of a tar of members (name -> bytes), shuffled if `order` is a seed."""
    file = io.BytesIO()
    names = list(members)
    random.Random(order).shuffle(names) if order is not None else None
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            archive.addfile(info, io.BytesIO(members[name]))
    return file.getvalue()


def class_paths(split, suffix=False):
    """Return class/file -> bytes; with `suffix` names end with the class, as in Hugging Face's files."""
    return {f'{wnid}/{name}{f"_{wnid}" if suffix else ""}.JPEG': data for (name, wnid), data in split.items()}


def files_of_class(split, wnid):
    """Return file -> bytes of one class."""
    return {f'{name}.JPEG': data for (name, own), data in split.items() if own == wnid}


def pack_meta_mat(year, numbers=None, counts=None, leaves_only=False):
    """Return meta.mat: the classes, and an inner node of the tree."""
    import scipy.io

    rows = []
    for number, wnid in (numbers or NUMBERS).items():
        count = (counts or {}).get(wnid, 4)
        rows.append((number, wnid, CLASSES.get(wnid, 'x'), 'a gloss', 0, np.zeros(0), 0, count))
    if not leaves_only:
        rows.append((1001, 'n00001740', 'entity', 'that which is', len(rows), np.arange(1, 4), 9, 0))
    table = np.array(rows, SYNSET.descr)
    table.dtype.names = (f'ILSVRC{year}_ID', *SYNSET.names[1:])
    file = io.BytesIO()
    scipy.io.savemat(file, {'synsets': table.reshape(-1, 1)})
    return file.getvalue()


def ground_truth_lines(split):
    """Return the kit's class numbers in the order of the images' names."""
    number = {wnid: number for number, wnid in NUMBERS.items()}
    return ''.join(f'{number[wnid]}\n' for _, wnid in sorted(split)).encode()


def pack_devkit(year, found, **changes):
    """Return the development kit, with `changes` (name -> bytes) to its data."""
    top = 'ILSVRC2012_devkit_t12' if year == 2012 else 'devkit-1.0'
    files = {
        f'{top}/readme.txt': b'Introduction',
        f'{top}/data/meta.mat': pack_meta_mat(year),
        f'{top}/data/ILSVRC{year}_validation_ground_truth.txt': ground_truth_lines(found['validation']),
    }
    files |= {f'{top}/data/{name}': data for name, data in changes.items()}
    return pack_tar(files, 'w:gz')


def pack_nested_tar(split, prefix='', order=3):
    """Return the tar of tars of a challenge's training images."""
    inner = {f'{prefix}{wnid}.tar': pack_tar(files_of_class(split, wnid), order=order) for wnid in CLASSES}
    return pack_tar(inner, order=order)


def write_imagenet2012(root, found):
    """Write the archives of ILSVRC-2012; like every write_* function return the source and its path."""
    write_files(root, {
        'ILSVRC2012_img_train.tar': pack_nested_tar(found['train']),
        'ILSVRC2012_img_val.tar': pack_tar({f'{name}.JPEG': data for (name, _), data in found['validation'].items()}),
        'ILSVRC2012_devkit_t12.tar.gz': pack_devkit(2012, found),
    })  # fmt: skip
    return 'imagenet2012', root


def write_imagenet2010(root, found, patches=()):
    """Write the archives of ILSVRC-2010, with top folders, test labels, and blank images that have patches."""
    blank = {
        split: {key: b'not available' if key[0] in patches else data for key, data in of_split.items()}
        for split, of_split in found.items()
    }
    val, test = (
        {f'{word}/{n}.JPEG': d for (n, _), d in blank[split].items()}
        for word, split in (('val', 'validation'), ('test', 'test'))
    )
    write_files(root, {
        'ILSVRC2010_images_train.tar': pack_nested_tar(blank['train']),
        'ILSVRC2010_images_val.tar': pack_tar(val, order=1),
        'ILSVRC2010_images_test.tar': pack_tar(test, order=2),
        'ILSVRC2010_devkit-1.0.tar.gz': pack_devkit(2010, found),
        'ILSVRC2010_test_ground_truth.txt': ground_truth_lines(found['test']),
        'patch_images.tar': pack_tar({
            f'patch_images/{"val" if key == "validation" else key}/{n}.JPEG': d
            for key, split in found.items() for (n, _), d in split.items() if n in patches
        }),
    })  # fmt: skip
    return 'imagenet2010', root


def write_synsets(root, found):
    for split, word in (('train', 'train'), ('validation', 'val')):
        tars = {f'{word}/{wnid}.tar': pack_tar(files_of_class(found[split], wnid), order=5) for wnid in CLASSES}
        write_files(root, tars)
    return 'synsets', root


def write_synsets_in_one_tar(root, found):
    tars = {
        f'{word}/{wnid}.tar': pack_tar(files_of_class(found[split], wnid), order=6)
        for split, word in (('train', 'train'), ('validation', 'val'))
        for wnid in CLASSES
    }
    write_files(root, {'releases.tar': pack_tar(tars, order=7)})
    return 'synsets', root / 'releases.tar'


def write_kaggle(root, found, sorted_validation=False):
    val = class_paths(found['validation'])
    val = val if sorted_validation else {path.split('/')[1]: data for path, data in val.items()}
    rows = [f'{name},{wnid} 1 2 30 40 {wnid} 3 4 50 60' for name, wnid in reversed(found['validation'])]
    listed = [f'{wnid}/{name} {number}' for number, (name, wnid) in enumerate(found['train'], 1)]
    write_files(root, {
        **{f'ILSVRC/Data/CLS-LOC/train/{path}': data for path, data in class_paths(found['train']).items()},
        **{f'ILSVRC/Data/CLS-LOC/val/{path}': data for path, data in val.items()},
        'ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG': make_jpeg(999),
        'ILSVRC/ImageSets/CLS-LOC/train_cls.txt': '\n'.join([*listed, '']).encode(),
        'ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml': b'<annotation/>',
        'LOC_val_solution.csv': '\n'.join(['ImageId,PredictionString', *rows, '']).encode(),
        'LOC_synset_mapping.txt': ''.join(f'{wnid} {words}\n' for wnid, words in CLASSES.items()).encode(),
    })  # fmt: skip
    return 'kaggle', root


def write_class_folders(root, found):
    write_files(root, class_folder_paths(found))
    return 'folder', root


def write_class_tar(root, found):
    write_files(root, {'images.tar': pack_tar(class_folder_paths(found), order=8)})
    return 'tar', root / 'images.tar'


def write_class_tgz(root, found):
    write_files(root, {'images.tar.gz': pack_tar(class_folder_paths(found), 'w:gz', order=9)})
    return 'tar', root / 'images.tar.gz'


def class_folder_paths(found):
    words = {'train': 'train', 'validation': 'val', 'test': 'test'}
    return {
        f'imagenet/{words[split]}/{path}': data for split in found for path, data in class_paths(found[split]).items()
    }


def write_parquet(root, found, files=2, group=3, suffix=True, unlabeled=True):
    """Write shuffled rows over files and groups, as Hugging Face does; the test rows have no labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = json.dumps({'info': {'features': {'label': {'names': list(CLASSES.values())}}}})
    kind = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    schema = pa.schema([('image', kind), ('label', pa.int64())], metadata={'huggingface': names})
    labels = {wnid: label for label, wnid in enumerate(sorted(CLASSES))}
    tables = {
        split: [
            {'image': {'bytes': data, 'path': f'{name}{f"_{wnid}" if suffix else ""}.JPEG'}, 'label': labels[wnid]}
            for (name, wnid), data in of_split.items()
        ]
        for split, of_split in found.items()
    }  # fmt: skip
    if unlabeled:
        row = {'image': {'bytes': make_jpeg(998), 'path': 'ILSVRC2012_test_00000001.JPEG'}, 'label': -1}
        tables['test'] = [row] * 2
    for split, rows in tables.items():
        random.Random(4).shuffle(rows)
        for number in range(files):
            path = root / 'data' / f'{split}-{number:05d}-of-{files:05d}.parquet'
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows[number::files], schema), path, row_group_size=group)
    return 'parquet', root


def write_class_zip(root, found):
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / 'images.zip', 'w') as archive:
        for path, data in class_folder_paths(found).items():
            archive.writestr(path, data)
    return 'zip', root / 'images.zip'


def write_tfds(root, found):
    """Write imagenet2012 as TFDS does, with the images' names; the test images have no labels."""
    import tfds_builders

    examples = {
        split: [(f'{name}.JPEG', sorted(CLASSES).index(wnid), data) for (name, wnid), data in of_split.items()]
        for split, of_split in found.items()
    }
    unlabeled = [('ILSVRC2012_test_00000001.JPEG', -1, make_jpeg(998))]
    return 'tfds', tfds_builders.build_dataset(root, 'Imagenet2012', sorted(CLASSES), examples | {'test': unlabeled})


def write_files(root, files):
    """Write path -> bytes under a folder."""
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
