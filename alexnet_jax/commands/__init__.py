"""The modes of `main.py --mode=...`: one row each, imported only when it is run."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Mode:
    """A mode: the line that --help shows, and what main.py must check before it starts.

    `trains`: takes training steps. `prepares`: may build a dataset. `takes_images`, `takes_layers`: reads --images,
    --layers. `multi_process`: may be run by several processes together. `needs_workdir`: has no use without --workdir.
    `writes`: has no use where one may only read.
    """

    name: str
    help: str
    trains: bool = False
    prepares: bool = False
    takes_images: bool = False
    takes_layers: bool = False
    multi_process: bool = False
    needs_workdir: bool = True
    writes: bool = True
    function: str = ''

    def run(self, config: ConfigDict, workdir: str = '') -> dict[str, Any]:
        """Run the function of that name in `alexnet_jax/commands/<name>.py`; return its numbers."""
        function = self.function or self.name
        return getattr(importlib.import_module(f'{__name__}.{function}'), function)(config, workdir)


MODES: Mapping[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(
            'train',
            'train or resume, evaluate at the end, draw the plots',
            trains=True,
            prepares=True,
            multi_process=True,
        ),
        Mode('prepare', 'build a dataset from images', prepares=True, multi_process=True, needs_workdir=False),
        Mode('evaluate', 'score a checkpoint of the run in --workdir on a split', multi_process=True, writes=False),
        Mode(
            'predict', 'classify --images by the run in --workdir', takes_images=True, multi_process=True, writes=False
        ),
        Mode(
            'features',
            'write activations of --images at --layers; --layers=list shows them',
            takes_images=True,
            takes_layers=True,
            needs_workdir=False,
            writes=False,
        ),
        Mode('ensemble', 'average the probabilities of the runs that --workdir names', takes_images=True, writes=False),
        Mode('export', 'write the weights of the run in --workdir to the file --config.weights.path', writes=False),
        Mode('import', 'begin a run in --workdir with the weights in --config.weights.path', function='import_weights'),
        Mode(
            'neighbors',
            'find the images of --images that are nearest at --layers',
            takes_images=True,
            takes_layers=True,
            writes=False,
        ),
        Mode('figures', 'draw figures of the run in --workdir: docs/gallery.md', takes_images=True, writes=False),
        Mode('report', 'write one HTML page about the run in --workdir, or about several', writes=False),
        Mode('summary', 'show layers, shapes, parameters and exchanged numbers', needs_workdir=False),
        Mode(
            'compile',
            'compile the training step for another machine; --config.compile.target=list shows which',
            needs_workdir=False,
            function='compile_step',
        ),
        Mode('verify', 'check every file of a run or a dataset', needs_workdir=False, writes=False),
        Mode(
            'ablations',
            'train a network and its ablations by several seeds; write the table of differences',
            trains=True,
            prepares=True,
        ),
        Mode('benchmark', 'measure step time, layers, input and memory', trains=True, prepares=True),
    )
}


def run(mode: str, config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Run a mode by name; return its numbers, as its file says."""
    return MODES[mode].run(config, workdir)
