"""Test a tar for each synset: any number of classes, with and without splits, and broken ones."""

import archives
import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources

FOUND = archives.make_images()


def opened(path, **options):
    return sources.open_source(
        'synsets', str(path), sources.SourceOptions(**{'validation_fraction': 0, 'test_fraction': 0, **options})
    )


def refused(path, sentence):
    with pytest.raises(UserError, match=sentence):
        opened(path)


def releases(root, more=()):
    tars = {
        f'{wnid}.tar': archives.pack_tar(archives.files_of_class(FOUND['train'], wnid)) for wnid in archives.CLASSES
    }
    archives.write_files(root, tars | dict(more))
    return root


def test_without_splits_all_images_are_split_by_chance(tmp_path):
    releases(tmp_path / 'fall11', {'words.txt': b'n01440764\ttench, Tinca tinca\nn00001740\tentity\n'})
    source = opened(tmp_path / 'fall11')
    told = {item.id: (source.class_names[item.label], source.read(item)) for item in source.splits['train']}
    assert told == {name: (wnid, data) for (name, wnid), data in FOUND['train'].items()}
    assert source.class_descriptions == ('tench, Tinca tinca', 'n01443537', 'n02084071')  # one has no words
    assert source.name == 'fall11' and set(opened(tmp_path / 'fall11', test_fraction=0.3).splits) == {'train', 'test'}


def test_many_classes_are_as_good_as_few(tmp_path):
    many = {f'n{number:08d}.tar': archives.pack_tar({f'n{number:08d}_1.JPEG': b'x'}) for number in range(1500)}
    archives.write_files(tmp_path / 'fall11', many)
    assert len(opened(tmp_path / 'fall11').class_names) == 1500


def test_a_synset_without_images_is_no_class_and_told_in_the_note(tmp_path):
    source = opened(releases(tmp_path / 'fall11', {'n00000009.tar': archives.pack_tar({})}))
    assert 'n00000009' not in source.class_names and '.tar 1' in source.note


def test_an_image_in_the_wrong_tar_is_refused(tmp_path):
    wrong = {'n00000009.tar': archives.pack_tar({'n00000008_1.JPEG': b'x'})}
    refused(releases(tmp_path / 'fall11', wrong), 'is of class n00000009, but its name says n00000008')


def test_an_image_that_comes_twice_is_refused(tmp_path):
    twice = {'n00000009.tar': archives.pack_tar({'a/n00000009_1.JPEG': b'x', 'b/n00000009_1.JPEG': b'y'})}
    refused(releases(tmp_path / 'fall11', twice), "'n00000009/n00000009_1.JPEG' twice")


def test_half_a_tar_is_refused_and_named(tmp_path):
    half = releases(tmp_path / 'fall11')
    (half / 'n02084071.tar').write_bytes((half / 'n02084071.tar').read_bytes()[:2000])
    refused(half, 'n02084071.tar is no whole tar')


def test_a_folder_without_tars_is_refused(tmp_path):
    refused(tmp_path, 'holds no tars with images; expected one for each class, such as n01440764.tar')
    archives.write_files(tmp_path, {'all.tar': archives.pack_tar({'n00000009_1.JPEG': b'x'})})
    refused(tmp_path / 'all.tar', 'holds no tars with images')
