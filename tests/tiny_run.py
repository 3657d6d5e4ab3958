"""The config of a run that takes seconds, for tests of whole commands."""


def tiny_config():
    """Return the quickstart with a few steps of the miniature on a few cut-outs."""
    from configs import quickstart

    config = quickstart.get_config()
    config.update_from_flattened_dict(
        {
            'mesh': '1,2',
            'prepare.num_cutouts': '48,16,20',
            'train.batch_size': 8,
            'train.num_epochs': 1.0,
            'train.learning_rate': 0.001,
            'train.warmup_epochs': 0.0,
            'evaluate.batch_size': 8,
            'evaluate.views': 1,
            'log.every_steps': 2,
            'log.tensorboard': False,
            'log.pictures': False,
        }
    )
    return config


def open_source(folder, step='6', **fields):
    """Return the run in `folder` as figures need it, with these fields of config.evaluate."""
    from alexnet_jax.commands.figure_source import FigureSource
    from alexnet_jax.commands.run_family import RunAddress

    config = tiny_config()
    config.evaluate.update(fields)
    return FigureSource(config, RunAddress(str(folder), step))
