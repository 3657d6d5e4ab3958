"""Execute the notebooks of docs/ from clean kernels, and write them with their outputs.

python docs/execute_notebooks.py [docs/lesson.ipynb ...]

Needs requirements-lesson.txt. tests/test_lesson.py keeps what is written true.
"""

import base64
import hashlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
NOTEBOOKS = ('lesson.ipynb', 'im2col.ipynb')
# Cells that print what differs from machine to machine (times, results of trainings) have this tag.
MEASURED = 'measured'
Cell = dict[str, Any]


def execute_notebook(path: Path, *, environment: dict[str, str] | None = None) -> Any:
    """Return the notebook as a kernel that knows nothing executes it, in its folder. Raises if a cell does."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,
        coalesce_streams=True,  # what is printed arrives in pieces, as time has it
        resources={'metadata': {'path': str(path.parent)}},
    )
    client.execute(env=environment or clean_environment())
    shrink_pictures(notebook.cells)
    # The version of Python that happened to run it is no part of the notebook.
    notebook.metadata['language_info'] = {'name': 'python'}
    notebook.metadata['sources'] = source_checksum(notebook.cells)
    return notebook


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of jax, XLA and matplotlib."""
    return {name: value for name, value in os.environ.items() if not re.match('JAX_|XLA_|MPLBACKEND', name)}


def shrink_pictures(cells: list[Cell]) -> None:
    """Reduce every picture to 128 colors, which halves its bytes."""
    from PIL import Image

    for output in (output for cell in cells for output in cell.get('outputs', ())):
        data = output.get('data', {})
        if 'image/png' in data:
            picture, small = Image.open(io.BytesIO(base64.b64decode(data['image/png']))), io.BytesIO()
            picture.convert('RGB').quantize(128).save(small, 'PNG', optimize=True)
            data['image/png'] = base64.b64encode(small.getvalue()).decode()


def source_checksum(cells: list[Cell]) -> str:
    """Return the SHA-256 of the code of all cells, which tells whether outputs belong to it."""
    code = '\0'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')
    return hashlib.sha256(code.encode()).hexdigest()


def describe_outputs(cells: list[Cell]) -> Iterator[tuple[str, list[str]]]:
    """Yield what each code cell printed, unless it is a measured one, and the types of its pictures."""
    for cell in cells:
        if cell['cell_type'] != 'code':
            continue
        printed, pictures = '', []
        for output in cell['outputs']:
            data = output.get('data', {})
            # A picture also says its size in words.
            found = [kind for kind in data if kind.startswith('image/')]
            pictures += found
            printed += '' if found else ''.join(output.get('text') or data['text/plain'])
        yield '' if MEASURED in cell['metadata'].get('tags', ()) else printed, pictures


def main(paths: list[str]) -> None:
    """Execute notebooks and write them in place."""
    import nbformat

    for path in map(Path, paths or [DOCS / name for name in NOTEBOOKS]):
        nbformat.write(execute_notebook(path), path)
        print(f'{path}: {path.stat().st_size / 2**10:.0f} KiB')


if __name__ == '__main__':
    main(sys.argv[1:])
