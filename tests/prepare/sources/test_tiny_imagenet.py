"""Test Tiny ImageNet as its owners ship it, in each form, and results of the program among the images."""

import pytest
from image_trees import open_form

from alexnet_jax.commands import benchmark, run_dir
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import base

WNIDS = ('n01443537', 'n02504458')
SORTED = {f'train/{wnid}/images/{wnid}_{n}.JPEG': b'%d' % n for wnid in WNIDS for n in range(3)}
LITTER = {f'train/{wnid}/{wnid}_boxes.txt': b'' for wnid in WNIDS} | {'wnids.txt': '\n'.join(WNIDS).encode()}
UNSORTED = {f'val/images/val_{n}.JPEG': b'val %d' % n for n in range(4)} | {
    f'test/images/test_{n}.JPEG': b'test' for n in range(5)
}
LIST = ''.join(f'val_{n}.JPEG\t{WNIDS[n % 2]}\t0\t32\t44\t62\n' for n in range(4)).encode()
TINY = SORTED | LITTER | UNSORTED | {'val/val_annotations.txt': LIST}


@pytest.mark.parametrize('form', ['folder', 'zip', 'tar', 'tgz'])
def test_validation_images_get_the_classes_of_their_list(form, tmp_path):
    source = open_form(form, tmp_path, TINY, 'tiny-imagenet-200/')
    assert source.class_names == WNIDS and not source.upright
    test = {item.id: (item.label, source.read(item)) for item in source.splits['test']}
    assert test == {f'val_{n}': (n % 2, b'val %d' % n) for n in range(4)}
    assert len(source.splits['train']) + len(source.splits['validation']) == 6
    assert '5 test images without labels are left out.' in source.note


def test_validation_images_that_are_sorted_already_stay_so(tmp_path):
    moved = {f'val/{WNIDS[1]}/{path[11:]}' if path[:3] == 'val' else path: TINY[path] for path in UNSORTED}
    source = open_form('folder', tmp_path, SORTED | moved | {'val/val_annotations.txt': LIST})
    assert [item.label for item in source.splits['test']] == [1] * 4


def test_an_image_that_is_not_in_the_list_is_named(tmp_path):
    with pytest.raises(UserError, match='val_annotations.txt has no class for val/images/val_9.JPEG'):
        open_form('zip', tmp_path, TINY | {'val/images/val_9.JPEG': b''})


PETS = {f'{name}/{n}.jpg': b'x' for name in ('cat', 'dog') for n in range(10)}
RUN = dict.fromkeys((run_dir.RUN_FILE, run_dir.CONFIG_FILE, 'curves.png', 'more/kernels.png'), b'')
DATASET = dict.fromkeys((dataset.MANIFEST_FILE, dataset.STATISTICS_FILE, 'contact.png'), b'')
BENCHMARK = dict.fromkeys((benchmark.REPORT_FILE, benchmark.PLOT_FILE), b'')


@pytest.mark.parametrize('form', ['folder', 'tar', 'zip'])
@pytest.mark.parametrize(
    'results',
    [
        {'run/1/': RUN, 'run/1/dataset/': DATASET},
        {'run/dataset/': DATASET},
        {'cat/speed/': BENCHMARK},
        {'': {name: b'' for name in RUN if '/' not in name}, 'dataset/': DATASET},
    ],
    ids=['a run', 'its dataset', 'a benchmark', 'a run around the images'],
)
def test_pictures_of_runs_among_the_images_are_left_out(results, form, tmp_path):
    written = {f'{folder}{name}': data for folder, files in results.items() for name, data in files.items()}
    source = open_form(form, tmp_path, PETS | written)
    assert source.class_names == ('cat', 'dog')
    assert {item.id for items in source.splits.values() for item in items} == set(PETS)
    assert 'Left out, as results of this program: ' in source.note and 'Skipped' not in source.note


def test_files_of_other_programs_of_the_same_names_mean_nothing(tmp_path):
    source = open_form('folder', tmp_path, PETS | {'cat/run.json': b'', 'dog/manifest.json': b''})
    assert source.class_names == ('cat', 'dog') and '.json 2' in source.note


def test_results_are_known_by_the_names_that_they_are_written_under():
    assert base.RESULT_FILES == {
        run_dir.RUN_FILE: run_dir.CONFIG_FILE,
        benchmark.REPORT_FILE: benchmark.PLOT_FILE,
        dataset.MANIFEST_FILE: dataset.STATISTICS_FILE,
    }
