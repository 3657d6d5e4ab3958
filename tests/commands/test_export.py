"""--mode=export and --mode=import: what a run learned leaves it, and comes back as a run on which every mode works."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from PIL import Image
from slim_networks import assert_same_bits, photographs
from tiny_run import tiny_config

import alexnet_jax
import main
from alexnet_jax import commands
from alexnet_jax import weights as weight_files
from alexnet_jax.commands import export, import_weights, run_dir
from alexnet_jax.data.dataset_info import DatasetInfo, read_dataset_info, write_dataset_info
from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import ResponseNormalization
from alexnet_jax.network import fresh_weights
from alexnet_jax.weights import foreign, layout


def with_path(config, path, **fields):
    config = config.copy_and_resolve_references()
    config.weights.update({'path': str(path), **fields})
    return config


@pytest.fixture(scope='module')
def exported(trained, tmp_path_factory):
    """(config, workdir of the run, folder with network.safetensors and what stands beside it)."""
    config, workdir = trained
    folder = tmp_path_factory.mktemp('exported')
    commands.run('export', with_path(config, folder / 'network.safetensors', card=True, license='MIT'), workdir)
    return config, workdir, folder


@pytest.fixture(scope='module')
def imported(exported, tmp_path_factory):
    """(config, workdir) of a run that began with the exported file."""
    config, _, folder = exported
    workdir = str(tmp_path_factory.mktemp('imported') / 'run')
    commands.run('import', with_path(config, folder / 'network.safetensors'), workdir)
    return config, workdir


def test_the_file_holds_the_run_with_its_figure_and_license(exported):
    _, workdir, folder = exported
    weights = weight_files.read_weights(folder / 'network.safetensors')
    result = json.loads((Path(workdir) / 'result.json').read_text())
    assert weights.notes['license'] == 'MIT'
    assert f'{result["top1_error"]:.2%}'.rstrip('%') in weights.notes['figure']
    assert f'{result["images"]} test images' in weights.notes['figure']
    assert weights.notes['checkpoint_step'] == str(result['checkpoint_step'])
    info = read_dataset_info(Path(workdir) / 'dataset_info.npz')
    np.testing.assert_array_equal(weights.preprocessing.mean, info.mean)
    assert weights.class_names == info.class_names


def test_beside_it_stand_the_module_and_the_card(exported):
    _, _, folder = exported
    assert sorted(file.name for file in folder.iterdir()) == ['README.md', 'network.safetensors', 'network_torch.py']
    card = (folder / 'README.md').read_text()
    assert card.startswith('---\n') and 'license_name: "MIT"' in card
    assert "alexnet_jax.load('network.safetensors')" in card and 'top-1' in card


def test_a_readme_of_another_hand_stays(exported, tmp_path):
    config, workdir, _ = exported
    (tmp_path / 'README.md').write_text('mine')
    with pytest.raises(UserError, match='README.md was not written by this package'):
        commands.run('export', with_path(config, tmp_path / 'a.safetensors', card=True), workdir)
    assert (tmp_path / 'README.md').read_text() == 'mine'


def test_an_imported_run_has_the_bits_of_the_exported_one(exported, imported, tmp_path):
    config, workdir, folder = exported
    assert_same_bits(
        dataclasses.replace(alexnet_jax.load(imported[1]).weights, notes={}),
        dataclasses.replace(alexnet_jax.load(workdir).weights, notes={}),
    )
    again = tmp_path / 'again.safetensors'
    commands.run('export', with_path(config, again), imported[1])
    first, second = (safetensors.numpy.load_file(path) for path in (folder / 'network.safetensors', again))
    assert {name: tensor.tobytes() for name, tensor in first.items()} == {
        name: tensor.tobytes() for name, tensor in second.items()
    }
    assert weight_files.read_weights(again).notes['license'] == 'MIT'


def test_every_mode_works_on_an_imported_run(exported, imported, tmp_path, caplog):
    config, workdir, _ = exported
    stored = run_dir.read_run(imported[1])
    assert stored['imported']['file'].endswith('network.safetensors')
    config = config.copy_and_resolve_references()
    config.data.directory = str(Path(workdir) / 'dataset')
    expected = commands.run('evaluate', config, workdir)
    actual = commands.run('evaluate', config, imported[1])
    assert actual['checkpoint_step'] == 0
    for name in ('top1_error', 'top5_error', 'loss', 'images'):
        assert actual[name] == expected[name]
    Image.fromarray(photographs()[0]).save(tmp_path / 'cat.png')
    config.predict.images = str(tmp_path / 'cat.png')
    assert commands.run('predict', config, imported[1]) == {'images': 1, 'unreadable': 0}
    config.data.directory = ''
    assert commands.run('verify', config, imported[1])['damaged'] == 0


def test_an_import_that_was_killed_is_run_again(imported, exported, tmp_path):
    config, _, folder = exported
    shutil.copytree(imported[1], tmp_path / 'run')
    (tmp_path / 'run' / 'run.json').unlink()
    commands.run('import', with_path(config, folder / 'network.safetensors'), str(tmp_path / 'run'))
    assert_same_bits(alexnet_jax.load(tmp_path / 'run').weights, alexnet_jax.load(imported[1]).weights)


def test_overrides_of_a_network_come_back_as_fields():
    from alexnet_jax.models.overrides import ArchitectureOverrides
    from alexnet_jax.models.presets import get_architecture

    fresh = fresh_weights('miniature')
    arch = get_architecture(
        'miniature',
        overrides=ArchitectureOverrides(
            exchange_layers=['conv2', 'fc6', 'fc7', 'fc8'], pooling='average', crop_size=57
        ),
    )
    config = import_weights.imported_config(
        tiny_config(), dataclasses.replace(fresh, arch=arch, parameters=matching(arch))
    )
    assert config.model.preset == 'miniature' and config.model.crop_size == 57
    assert config.model.exchange_layers == 'conv2,fc6,fc7,fc8' and config.model.pooling == 'average'
    assert (config.augment.mean, config.prepare.image_size) == ('channel', 64)


def matching(arch):
    return {
        name: {
            'kernel': np.zeros((arch.columns, *shape), np.float32),
            'bias': np.zeros((arch.columns, shape[-1]), np.float32),
        }
        for name, shape in arch.kernel_shapes().items()
    }


def test_a_network_that_no_config_makes_is_refused_with_the_differences(tmp_path):
    fresh = fresh_weights('miniature')
    layers = tuple(
        dataclasses.replace(layer, n=7) if isinstance(layer, ResponseNormalization) else layer
        for layer in fresh.arch.layers
    )
    weight_files.write_weights(
        tmp_path / 'other.safetensors', dataclasses.replace(fresh, arch=dataclasses.replace(fresh.arch, layers=layers))
    )
    with pytest.raises(UserError, match='from miniature it differs in norm1, norm2'):
        commands.run('import', with_path(tiny_config(), tmp_path / 'other.safetensors'), str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_a_deviation_and_a_mean_color_come_along(tmp_path):
    fresh = fresh_weights('miniature', seed=2)
    prepared = dataclasses.replace(fresh.preprocessing, std=np.array([58.4, 57.1, 57.4], np.float32))
    weights = dataclasses.replace(fresh, preprocessing=prepared, notes={})
    weight_files.write_weights(tmp_path / 'a.safetensors', weights)
    commands.run('import', with_path(tiny_config(), tmp_path / 'a.safetensors'), str(tmp_path / 'run'))
    network = alexnet_jax.load(tmp_path / 'run')
    np.testing.assert_array_equal(network.preprocessing.std, prepared.std)
    np.testing.assert_array_equal(network.preprocessing.mean_image(), prepared.mean_image())
    assert network.preprocessing.mean_kind == 'channel'
    expected = alexnet_jax.Network(weights).features(photographs(), ['conv1'])['conv1']
    np.testing.assert_allclose(network.features(photographs(), ['conv1'])['conv1'], expected, rtol=1e-5, atol=1e-5)
    undivided = dataclasses.replace(weights, preprocessing=fresh.preprocessing)
    other = alexnet_jax.Network(undivided).features(photographs(), ['conv1'])['conv1']
    assert np.abs(other).max() > 40 * np.abs(expected).max()


def test_a_part_of_a_network_begins_a_run_and_the_drawn_layers_are_named(tmp_path):
    fresh = fresh_weights('miniature')
    tensors = layout.to_torch_layout(fresh.arch, fresh.parameters)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith('fc8')}
    safetensors.numpy.save_file(tensors, tmp_path / 'part.safetensors')
    config = with_path(tiny_config(), tmp_path / 'part.safetensors', preset='miniature')
    with pytest.raises(UserError, match='missing: fc8.weight, fc8.bias'):
        commands.run('import', config, str(tmp_path / 'run'))
    config.weights.partial = True
    commands.run('import', config, str(tmp_path / 'run'))
    network = alexnet_jax.load(tmp_path / 'run')
    assert network.weights.notes['drawn'].startswith('fc8: not in the file')
    np.testing.assert_array_equal(
        network.weights.parameters['fc7']['kernel'], fresh.parameters['fc7']['kernel'], strict=True
    )


def run_main(*arguments):
    return main.main(['main.py', *map(str, arguments), '--config.machine.compilation_cache='])


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--mode=export'], 'No file of weights was named; set --config.weights.path=FILE.'),
        (['--mode=export', '--config.weights.path=a.zip'], 'a.zip has no ending of a file of weights'),
        (['--mode=export', '--config.weights.path=/nowhere/a.safetensors'], 'there is no folder /nowhere'),
        (
            ['--mode=export', '--config.weights.path=a.onnx', '--config.weights.tensor_names=torchvision'],
            'a.onnx: tensors are named as those of torchvision in',
        ),
        (['--mode=import', '--config.weights.path=b.safetensors'], 'b.safetensors does not exist'),
        (
            ['--mode=import', '--config.weights.path=bvlc_alexnet.caffemodel'],
            'or fetch bvlc_alexnet.caffemodel of BVLC',
        ),
        (['--mode=import', '--config.weights.path=README.md'], 'README.md has no ending of a file of weights'),
    ],
)
def test_a_wrong_path_gets_a_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_main(*arguments, f'--workdir={tmp_path}/run') == 2
    assert message in ' '.join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_run_is_not_imported_over(exported, capsys):
    _, workdir, folder = exported
    path = folder / 'network.safetensors'
    assert run_main('--mode=import', f'--workdir={workdir}', f'--config.weights.path={path}') == 2
    assert 'holds a run already' in capsys.readouterr().err


def test_a_run_of_a_version_that_divided_by_nothing_is_read(tmp_path):
    mean = np.full((8, 8, 3), 100, np.float32)
    info = DatasetInfo('a', ('x', 'y'), ('x', 'y'), 8, mean, 'sum', std=np.array([1, 2, 3], np.float32))
    write_dataset_info(tmp_path / 'info.npz', info)
    np.testing.assert_array_equal(read_dataset_info(tmp_path / 'info.npz').std, [1, 2, 3])
    with np.load(tmp_path / 'info.npz') as file:
        np.savez(tmp_path / 'old.npz', info=file['info'], mean=file['mean'])
    assert read_dataset_info(tmp_path / 'old.npz').rgb_std == (1, 1, 1)


def test_published_files_are_known_by_their_sums(tmp_path, monkeypatch):
    import hashlib

    from alexnet_jax.weights import published

    data = safetensors.numpy.save({'a': np.zeros(3, np.float32)})
    (tmp_path / 'renamed.safetensors').write_bytes(data)
    assert published.identify_published(tmp_path / 'renamed.safetensors') is None
    known = published.PUBLISHED[0]._replace(checksum=hashlib.sha1(data).hexdigest())
    monkeypatch.setattr(published, 'PUBLISHED', (*published.PUBLISHED, known))
    assert published.identify_published(tmp_path / 'renamed.safetensors') == known


def test_the_classes_of_imagenet_are_those_of_tfds_in_its_order():
    from importlib.resources import files

    tfds = files('tensorflow_datasets') / 'datasets' / 'imagenet2012' / 'labels.txt'
    classes = foreign.imagenet_classes()
    assert list(classes) == tfds.read_text().split()
    assert classes['n01440764'] == 'tench, Tinca tinca'
    assert list(classes.values())[-1] == 'toilet tissue, toilet paper, bathroom tissue'
    assert foreign.foreign_classes(3) == (('class_0', 'class_1', 'class_2'),) * 2


def test_the_figure_is_that_of_the_exported_step(tmp_path):
    result = {'checkpoint_step': 5, 'top1_error': 0.25, 'top5_error': 0.1, 'images': 1000, 'split': 'test', 'views': 10}
    (tmp_path / 'result.json').write_text(json.dumps(result))
    assert export._describe_figure(str(tmp_path), 4) == ''
    figure = export._describe_figure(str(tmp_path), 5)
    assert '25' in figure and '1,000 test images (ten views)' in figure
