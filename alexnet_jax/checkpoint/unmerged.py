"""Checkpoints whose arrays orbax left unmerged, as versions before 0.3 saved them where the path had a *, ? or [.

Each process writes its arrays to a key-value store (OCDBT) of its own, `state/ocdbt.process_<n>`. At the end of a save
orbax joins them to one store that refers to their files; where it takes the path for a pattern it finds none, and the
save ends as if it had. A backslash in the path is worse: the stores are written to the path that has / in its place.
"""

from __future__ import annotations

from pathlib import Path

from alexnet_jax.checkpoint.manifest import MANIFEST_FILE

# Of the joined store, as orbax configures it: metadata inline, one root node, one file for the manifest.
_CONFIG = {'max_inline_value_bytes': 1024, 'max_decoded_node_bytes': 100_000_000, 'manifest_kind': 'single'}


def is_unmerged(checkpoint: Path) -> bool:
    """Return whether a checkpoint was saved with the arrays of each process, and without the store that joins them."""
    return _lacks_arrays(checkpoint) and bool(_process_stores(checkpoint))


def explain_missing_arrays(checkpoint: Path) -> str:
    """Return why a checkpoint was saved without arrays that orbax would find; '' if it had them."""
    if not _lacks_arrays(checkpoint):
        return ''
    if _process_stores(checkpoint):
        return (
            'its arrays were not merged, as orbax takes *, ? and [ in a path for a pattern; a training from a path '
            'without them merges them'
        )
    return 'its arrays are missing; where a path has a backslash, orbax writes them to the one that has / in its place'


def merge_arrays(checkpoint: Path) -> None:
    """Write the store that joins those of the processes. Raises what TensorStore does if one is damaged."""
    import tensorstore

    # Stores of one context alone can share their files.
    context = tensorstore.Context()

    def open_store(folder: Path, **options: object) -> tensorstore.KvStore:
        spec = {'driver': 'ocdbt', 'base': {'driver': 'file', 'path': f'{folder}/'}, **options}
        return tensorstore.KvStore.open(spec, context=context).result()

    joined = open_store(checkpoint / 'state', config=_CONFIG, assume_config=True)
    transaction = tensorstore.Transaction(atomic=True)
    for folder in _process_stores(checkpoint):
        open_store(folder).experimental_copy_range_to(joined.with_transaction(transaction)).result()
    transaction.commit_sync()


def _lacks_arrays(checkpoint: Path) -> bool:
    """Return whether a checkpoint never had the joined store; what was read back after its save lost it since."""
    was_read_back = (checkpoint / MANIFEST_FILE).exists()
    return not was_read_back and not (checkpoint / 'state' / 'manifest.ocdbt').exists()


def _process_stores(checkpoint: Path) -> list[Path]:
    return sorted((checkpoint / 'state').glob('ocdbt.process_*'))
