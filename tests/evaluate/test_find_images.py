"""Find image files by their names, by folders, by patterns and by lists."""

import os

import pytest
from PIL import Image

from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.find_images import find_image_files, find_listed_files, split_paths


def write(file, color, size=(12, 10), **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, color).save(file, **options)
    return str(file)


def test_a_folder_gives_the_images_in_it_and_below_sorted(tmp_path):
    images = [write(tmp_path / name, 'red') for name in ('b/2.png', 'a.JPG', 'b/1.jpeg', 'c.webp')]
    for other in ('notes.txt', '.hidden.png', '._a.jpg', '.cache/x.png'):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b'')
    assert find_image_files([str(tmp_path)]).files == sorted(images)
    assert find_image_files([images[0], str(tmp_path / 'b')]).files == [images[0], images[2], images[0]]


def test_pictures_that_a_run_drew_are_left_out_of_a_folder_and_that_is_said(tmp_path):
    photographs = [write(tmp_path / name, 'red') for name in ('a.png', 'holiday/b.png')]
    drawn = write(tmp_path / 'runs/one/curves.png', 'red')
    for name in ('runs/one/run.json', 'runs/one/config.json'):
        (tmp_path / name).touch()
    found = find_image_files([str(tmp_path)])
    assert (found.files, found.skipped) == (photographs, [])
    assert found.notes == ['Left out, as results of this program: runs/one/.']
    assert find_image_files([drawn]).files == [drawn]
    with pytest.raises(UserError, match=r'has no images\. Left out, as results of this program: \./\.'):
        find_image_files([str(tmp_path / 'runs/one')])


def test_a_pattern_counts_below_the_folders_that_exist_as_they_stand(tmp_path):
    images = [write(tmp_path / 'photos [2024]' / name, 'red') for name in ('1.png', 'b*/2.png')]
    write(tmp_path / 'photos 2' / '3.png', 'red')
    assert find_image_files([str(tmp_path / 'photos [2024]' / '*.png')]).files == images[:1]
    assert find_image_files([str(tmp_path / 'photos [2024]' / 'b*' / '?.png')]).files == images[1:]
    assert find_image_files([str(tmp_path / 'photos [0-9]' / '*.png')]).files == [str(tmp_path / 'photos 2' / '3.png')]


def test_a_file_named_outright_is_taken_whatever_its_name(tmp_path):
    file = tmp_path / 'photograph'
    file.write_bytes(b'')
    assert find_image_files([str(file)]).files == [str(file)]


def test_what_names_no_image_is_refused_by_its_name(tmp_path):
    with pytest.raises(UserError, match=r'nowhere.jpg does not exist'):
        find_image_files([str(tmp_path / 'nowhere.jpg')])
    with pytest.raises(UserError, match='has no images'):
        find_image_files([str(tmp_path)])
    with pytest.raises(UserError, match='No images were named'):
        find_image_files([])


def test_signs_that_a_shell_would_have_read_are_read_here(tmp_path, monkeypatch):
    images = [write(tmp_path / name, 'red') for name in ('a.png', 'b.png', 'c[1].png')]
    monkeypatch.setenv('HOME', str(tmp_path))
    assert find_image_files(['~/[ab].png']).files == images[:2]
    assert find_image_files([images[2]]).files == [images[2]]


def test_what_lies_in_a_folder_and_is_no_image_is_counted_and_what_cannot_be_opened_named(tmp_path, monkeypatch):
    """As prepare has it; links to folders are followed."""
    images = [write(tmp_path / 'in' / name, 'red') for name in ('a.jpg', 'linked.d/c.png', 'z.webp')]
    for name in ('b.JPE', 'c.jfif'):
        images.append(write(tmp_path / 'in' / name, 'red', format='JPEG'))
    (tmp_path / 'in' / 'linked.d').rename(tmp_path / 'elsewhere')
    (tmp_path / 'in' / 'linked.d').symlink_to(tmp_path / 'elsewhere')
    for name in ('1.HEIC', '2.heic', 'scan.tiff', 'README'):
        (tmp_path / 'in' / name).write_bytes(b'x')
    (tmp_path / 'in' / 'gone.jpg').symlink_to('nowhere.jpg')
    os.mkfifo(tmp_path / 'in' / 'pipe.png')
    (tmp_path / 'in' / 'locked').mkdir()
    scandir = os.scandir

    def refuse_locked(path):
        if os.path.basename(path) == 'locked':
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse_locked)  # root may read any folder
    found = find_image_files([str(tmp_path / 'in')])
    assert found.files == sorted(images)
    assert sorted(found.skipped) == ['1.HEIC', '2.heic', 'README', 'scan.tiff']
    told = ' '.join(found.errors)
    assert len(found.errors) == 3 and f'{tmp_path}/in/locked cannot be read (Permission denied).' in told
    assert 'gone.jpg is not a regular file' in told and 'pipe.png is not a regular file' in told
    (tmp_path / 'scans').mkdir()
    (tmp_path / 'scans' / 'a.tiff').write_bytes(b'x')
    with pytest.raises(UserError, match=r'scans has no images\. Skipped, .*: \.tiff 1\. Names of images end in \.jpg'):
        find_image_files([str(tmp_path / 'scans')])
    with pytest.raises(UserError, match=r'locked has no images\. .*locked cannot be read \(Permission denied\)'):
        find_image_files([str(tmp_path / 'in' / 'locked')])


def test_a_name_that_exists_as_it_stands_is_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    for name in ('Paris, France.jpg', ' first.jpg', 'last.jpg ', 'a.jpg', 'b.jpg', 'b.jpg,c', 'June, July,'):
        (tmp_path / name).write_bytes(b'')
    for value, paths in {
        'a.jpg,b.jpg': ['a.jpg', 'b.jpg'],
        'a.jpg, b.jpg ,': ['a.jpg', 'b.jpg'],
        'Paris, France.jpg': ['Paris, France.jpg'],
        'a.jpg,~/Paris, France.jpg,b.jpg': ['a.jpg', f'{tmp_path}/Paris, France.jpg', 'b.jpg'],
        ' first.jpg,last.jpg ': [' first.jpg', 'last.jpg '],
        'b.jpg,c,a.jpg': ['b.jpg,c', 'a.jpg'],
        'June, July,,a.jpg': ['June, July,', 'a.jpg'],
        'nowhere.jpg, *.jpg': ['nowhere.jpg', '*.jpg'],
        ' , ': [],
    }.items():
        assert split_paths(value) == paths, value
    assert len(split_paths(','.join(f'{number}.jpg' for number in range(400)))) == 400
    assert find_image_files(split_paths('last.jpg , first.jpg')).files == ['last.jpg ', ' first.jpg']


def test_a_list_names_images_in_its_order_and_what_is_missing_stays_in_its_place(tmp_path):
    for name in ('b.png', ' spaced, name.png', 'in/c.png', 'in/a.png'):
        write(tmp_path / name, 'red')
    (tmp_path / 'empty').mkdir()
    os.mkfifo(tmp_path / 'pipe.png')
    names = ['b.png', 'gone.png', '', ' spaced, name.png', 'in', '*.png', 'empty', 'pipe.png']
    listed = [f'{tmp_path}/{name}' if name else '' for name in names]
    expected = [f'{tmp_path}/{name}' for name in ('b.png', 'gone.png', ' spaced, name.png', 'in/a.png', 'in/c.png')]
    for text in ('\n'.join(listed), '\r\n'.join(listed) + '\r\n', '\0'.join(listed) + '\0'):
        found = find_listed_files(text)
        assert found.files == [*expected, f'{tmp_path}/*.png']
        assert len(found.errors) == 2 and 'empty has no images' in found.errors[0] and 'pipe' in found.errors[1]


def test_a_line_longer_than_any_name_stays_a_name_that_cannot_be_read(tmp_path):
    write(tmp_path / 'b.png', 'red')
    line = 'x' * 5000
    assert find_listed_files(f'{tmp_path}/b.png\n{line}').files == [f'{tmp_path}/b.png', line]


def test_a_list_without_a_name_is_refused(tmp_path):
    for text, message in [
        ('', 'names no image'),
        ('\n \n'.replace(' ', ''), 'names no image'),
        (f'{tmp_path}\n', 'has no images'),
    ]:
        with pytest.raises(UserError, match=message):
            find_listed_files(text)
