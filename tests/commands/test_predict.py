"""--mode=predict: classes of image files, one by one, by the run in a folder whatever config it is given."""

import dataclasses
import io
import json
import logging
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import run_dir
from alexnet_jax.data import dataset_info
from alexnet_jax.errors import UserError
from alexnet_jax.report.plots import style, top_five
from alexnet_jax.runtime import streams
from configs import default


def write_image(file, color='red'):
    Image.new('RGB', (80, 60), color).save(file)
    return str(file)


@pytest.fixture
def log_lines(caplog):
    """Return the lines logged so far."""
    caplog.set_level('INFO', 'alexnet_jax')
    return lambda: '\n'.join(caplog.messages).splitlines()


def with_images(config, *images):
    config.predict.images = ','.join(map(str, images))
    return config


def test_each_image_gets_five_classes_with_their_probabilities(trained, tmp_path, log_lines):
    _, workdir = trained
    files = [write_image(tmp_path / f'{color}.png', color) for color in ('red', 'blue')]
    assert commands.run('predict', with_images(tiny_config(), *files), workdir) == {'images': 2, 'unreadable': 0}
    lines = log_lines()[-12:]
    for first, file in zip((0, 6), files, strict=True):
        assert lines[first] == file
        shares = [float(line.split()[0].rstrip('%')) for line in lines[first + 1 : first + 6]]
        assert shares == sorted(shares, reverse=True) and 50 <= sum(shares) <= 100.01


def test_what_cannot_be_read_is_named_and_counted_when_the_others_are_done(trained, tmp_path, log_lines):
    _, workdir = trained
    broken = tmp_path / 'a.jpg'
    broken.write_text('no image')
    write_image(tmp_path / 'b.png')
    with pytest.raises(UserError, match='^1 of 2 images could not be read; they are named above'):
        commands.run('predict', with_images(tiny_config(), tmp_path), workdir)
    lines = log_lines()
    assert lines[-7].startswith(f'{broken}: not a JPEG, PNG or WebP')
    assert lines[-6] == str(tmp_path / 'b.png') and '%' in lines[-5]


def test_what_a_folder_holds_beside_images_is_said(trained, tmp_path, log_lines, monkeypatch):
    _, workdir = trained
    monkeypatch.chdir(tmp_path)
    for name in ('scan.tif', 'IMG_1.HEIC', 'IMG_2.heic'):
        (tmp_path / name).write_bytes(b'x')
    write_image(tmp_path / 'Rome, in May.png')
    assert commands.run('predict', with_images(tiny_config(), tmp_path), workdir)['images'] == 1
    assert 'Skipped, as not named JPEG, PNG or WebP: .heic 2, .tif 1.' in log_lines()
    (tmp_path / 'gone.jpg').symlink_to('nowhere')
    with pytest.raises(UserError, match='^1 of 2 files and folders could not be read; they are named above'):
        commands.run('predict', with_images(tiny_config(), tmp_path), workdir)
    assert any(line.startswith(f'{tmp_path}/gone.jpg is not a regular file') for line in log_lines())
    assert commands.run('predict', with_images(tiny_config(), 'Rome, in May.png'), workdir)['images'] == 1


def test_classes_of_wordnet_are_called_by_their_words(trained, tmp_path, log_lines):
    shutil.copytree(trained[1], tmp_path / 'run', ignore=shutil.ignore_patterns('dataset'))
    file, descriptions = (tmp_path / 'run' / run_dir.DATASET_INFO_FILE, [f'fish {n}, Piscis' for n in range(10)])
    info = dataset_info.read_dataset_info(file)
    assert info.short_class_names == info.class_names
    info = dataclasses.replace(info, class_descriptions=tuple(descriptions))
    assert info.short_class_names[3] == 'fish 3'  # on pictures
    dataset_info.write_dataset_info(file, info)
    commands.run('predict', with_images(tiny_config(), write_image(tmp_path / 'a.png')), str(tmp_path / 'run'))
    assert {line.split(maxsplit=1)[1] for line in log_lines()[-5:]} <= set(descriptions)


def test_the_network_is_that_of_the_run_whatever_the_card(trained, tmp_path, log_lines):
    _, workdir = trained
    config = with_images(default.get_config(), write_image(tmp_path / 'a.png'))
    config.mesh, config.evaluate.batch_size = '1,2', 8
    assert commands.run('predict', config, workdir)['images'] == 1
    assert any("model.preset 'miniature'" in line for line in log_lines())


def test_the_dataset_is_found_where_the_run_had_it(trained, tmp_path, monkeypatch, without_plots):
    """Given once when training, relative to another folder than the present one."""
    _, workdir = trained
    shutil.copytree(workdir, tmp_path / 'run')
    (tmp_path / 'run' / 'dataset').rename(tmp_path / 'elsewhere')
    monkeypatch.chdir(tmp_path)
    config = tiny_config()
    config.data.directory = 'elsewhere'
    commands.run('train', config, str(tmp_path / 'run'))  # already at its end
    monkeypatch.chdir('/')
    config = with_images(tiny_config(), write_image(tmp_path / 'a.png'))
    assert commands.run('predict', config, str(tmp_path / 'run'))['images'] == 1
    assert not (tmp_path / 'run' / 'dataset').exists()


def test_images_are_looked_for_before_anything_is_read(tmp_path):
    for images, message in [('', 'No images were named'), (str(tmp_path / 'no.jpg'), 'does not exist')]:
        with pytest.raises(UserError, match=message):
            commands.run('predict', with_images(tiny_config(), images), str(tmp_path / 'nowhere'))


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match='has no trained run. Train first'):
        commands.run('predict', with_images(tiny_config(), write_image(tmp_path / 'a.png')), str(tmp_path))


def test_a_machine_that_the_training_batch_does_not_fit_predicts_and_evaluates(trained, tmp_path, log_lines):
    """Three devices, and a run that was trained by batches of eight, which may not be given here."""
    config = with_images(tiny_config(), write_image(tmp_path / 'a.png'))
    config.mesh, config.evaluate.batch_size = '3,1', 9
    assert commands.run('predict', config, trained[1])['images'] == 1
    shutil.copytree(trained[1], tmp_path / 'run')
    config.train.grad_accumulation = 5
    assert commands.run('evaluate', config, str(tmp_path / 'run'))['images'] == 20
    config.evaluate.batch_size = 8
    with pytest.raises(UserError, match='make config.evaluate.batch_size a multiple of 3'):
        commands.run('predict', config, trained[1])


def list_on_stdin(monkeypatch, *names):
    text = ''.join(f'{name}\n' for name in names).encode()
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(text)))


def test_predictions_of_a_list_are_json_lines_and_what_is_missing_is_one_of_them(
    trained, tmp_path, monkeypatch, log_lines
):
    files = [write_image(tmp_path / f'{color}.png', color) for color in ('red', 'blue')]
    list_on_stdin(monkeypatch, files[0], tmp_path / 'gone.png', files[1])
    config = with_images(tiny_config(), '-')
    config.predict.json = str(tmp_path / 'predictions.jsonl')
    with pytest.raises(UserError, match='^1 of 3 images could not be read'):
        commands.run('predict', config, trained[1])
    rows = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    assert [row['file'] for row in rows] == [files[0], str(tmp_path / 'gone.png'), files[1]]
    assert rows[1] == {
        'file': str(tmp_path / 'gone.png'),
        'error': f'{tmp_path}/gone.png cannot be read (No such file or directory).',
    }
    info = dataset_info.read_dataset_info(f'{trained[1]}/{run_dir.DATASET_INFO_FILE}')
    for row in (rows[0], rows[2]):
        probabilities = [each['probability'] for each in row['predictions']]
        assert (
            len(probabilities) == 5
            and probabilities == sorted(probabilities, reverse=True)
            and sum(probabilities) <= 1.001
        )
        assert [info.class_names[each['label']] for each in row['predictions']] == [
            each['class'] for each in row['predictions']
        ]
    assert f'Predictions of 3 images in {tmp_path}/predictions.jsonl' in '\n'.join(log_lines())
    assert not any('%' in line for line in log_lines())  # the classes are in the file alone


def test_the_picture_shows_what_could_be_read(trained, tmp_path, log_lines):
    (tmp_path / 'disc').mkdir()
    files = [
        write_image(tmp_path / 'disc' / 'a.png'),
        str(tmp_path / 'bad.png'),
        write_image(tmp_path / 'b.png', 'blue'),
    ]
    (tmp_path / 'bad.png').write_text('no image')
    config = with_images(tiny_config(), *files)
    config.predict.picture = str(tmp_path / 'picture.png')
    with pytest.raises(UserError, match='^1 of 3 images could not be read'):
        commands.run('predict', config, trained[1])
    with Image.open(tmp_path / 'picture.png') as picture:
        pixels = np.asarray(picture.convert('RGB')).astype(int)
    for color in ((255, 0, 0), (0, 0, 255)):
        assert (np.abs(pixels - color).max(axis=2) < 12).sum() > 0.9 * (top_five.SIDE * style.DPI) ** 2
    assert f'Picture: {tmp_path}/picture.png' in log_lines()


def test_json_on_standard_output_is_alone_there(trained, tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level('INFO', 'alexnet_jax')
    handler = streams.LogHandler(sys.stdout)
    monkeypatch.setattr(logging.getLogger(), 'handlers', [handler])
    config = with_images(tiny_config(), write_image(tmp_path / 'a.png'))
    config.predict.json = '-'
    commands.run('predict', config, trained[1])
    printed, told = capsys.readouterr()
    (row,) = map(json.loads, printed.splitlines())
    assert row['file'] == str(tmp_path / 'a.png') and handler.stream is sys.stderr
    assert 'Predictions of 1 images in standard output' in told


def test_a_reader_that_leaves_ends_the_work_without_an_error(trained, tmp_path, monkeypatch, log_lines):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, 'Broken pipe')

    config = with_images(tiny_config(), write_image(tmp_path / 'a.png'))
    config.predict.json = '-'
    monkeypatch.setattr(sys, 'stdout', Gone())
    assert commands.run('predict', config, trained[1])['images'] == 1


def test_files_that_cannot_be_written_are_refused_before_anything_is_read(tmp_path):
    for field, path, message in [
        ('json', tmp_path / 'no' / 'a.jsonl', 'no is no folder that you may write to'),
        ('json', tmp_path, 'is a folder'),
        ('picture', tmp_path / 'no' / 'a.png', 'no is no folder that you may write to'),
        ('picture', tmp_path / 'a.gif', r'must end in \.png'),
    ]:
        config = with_images(tiny_config(), 'nowhere.jpg')
        config.predict[field] = str(path)
        with pytest.raises(UserError, match=message):
            commands.run('predict', config, str(tmp_path / 'nowhere'))


def test_classes_are_those_of_the_evaluation_and_few_images_make_a_small_batch(trained, tmp_path, monkeypatch):
    """The images of the test split as files give its labels and its probabilities."""
    from alexnet_jax.commands import evaluate, factories
    from alexnet_jax.data import dataset

    config, workdir = trained
    data, sizes = dataset.open_dataset(f'{workdir}/dataset'), []
    make_evaluator = factories.make_evaluator

    def recording(*args, **options):
        sizes.append(args[0].evaluate.batch_size)
        return make_evaluator(*args, **options)

    monkeypatch.setattr(factories, 'make_evaluator', recording)
    records = data.split('test')
    for number in range(5):
        Image.fromarray(records[number][0]).save(tmp_path / f'{number}.png')
    given = with_images(tiny_config(), tmp_path)
    given.predict.json = str(tmp_path / 'out.jsonl')
    commands.run('predict', given, workdir)
    given.predict.images = str(tmp_path / '3.png')
    commands.run('predict', given, workdir)
    assert sizes == [8, 1]
    (again,) = [json.loads(line) for line in (tmp_path / 'out.jsonl').read_text().splitlines()]
    run = evaluate.load_run(*evaluate.read_trained_run(config, workdir), workdir)
    evaluator = make_evaluator(run.config, data, run.model, run.mesh, views=1, num_images=20)
    _, predictions = evaluator.evaluate_and_predict(
        run.params, factories.make_eval_pipeline(run.config, data, 'test', run.mesh)
    )
    (place,) = [i for i, number in enumerate(predictions.id) if number == 3]
    assert again['predictions'][0]['label'] == predictions.predicted[place]
    assert again['predictions'][0]['probability'] == pytest.approx(predictions.probability[place], rel=1e-5)
