"""Reorder records from shards in the order of reading into shards in the order of ids.

Archives that can only be read from end to end have their images in any order; a dataset has them in one. So records
are written in the archive's order first, and copied into their places here; no image is decoded again.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Sequence

from array_record.python.array_record_module import ArrayRecordReader

from alexnet_jax.data import dataset
from alexnet_jax.prepare import shard_writer


@dataclasses.dataclass(frozen=True)
class ReorderJob:
    """All that a process needs to gather a shard's records from others."""

    path: str  # of the shard
    metadata_path: str  # written after the shard
    items: tuple[tuple[int, int], ...]  # for each record, the index of the shard it is in and its index there
    input_paths: tuple[str, ...]  # of the shards
    input_checksums: tuple[str, ...]  # their SHA-256

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that decides the shard's bytes; its text is a format, as in ShardJob."""
        text = repr((dataset.FORMAT_VERSION, shard_writer.WRITER_OPTIONS, self.items, self.input_checksums))
        return hashlib.sha256(text.encode()).hexdigest()


def plan_reordering(
    ordered: Sequence[shard_writer.ShardJob], written: Sequence[shard_writer.ShardJob]
) -> list[ReorderJob]:
    """Return the jobs that make the `ordered` shards of a split from its `written` ones, without unreadable images."""
    positions, checksums = {}, []
    for index, job in enumerate(written):
        metadata = shard_writer.read_shard_metadata(job.metadata_path)
        checksums.append(metadata.sha256)
        ids = [item.id for item in job.items if item.id not in metadata.left_out]
        positions.update({item_id: (index, record) for record, item_id in enumerate(ids)})
    jobs = []
    for job in ordered:
        items = [positions[item.id] for item in job.items if item.id in positions]
        used = sorted({index for index, _ in items})
        renumbered = {index: number for number, index in enumerate(used)}
        jobs.append(
            ReorderJob(
                path=job.path,
                metadata_path=job.metadata_path,
                items=tuple((renumbered[index], record) for index, record in items),
                input_paths=tuple(written[index].path for index in used),
                input_checksums=tuple(checksums[index] for index in used),
            )
        )
    return jobs


def reorder_shard(job: ReorderJob, report_progress: Callable[[int], None]) -> list[str]:
    """Write the shard unless it is complete, as `shard_writer.write_shard`; no image can be unreadable any more."""
    if not shard_writer.is_shard_complete(job):
        records = _gather_records(job)
        with shard_writer.open_record_writer(job.path) as write:
            for record in records:
                write(record)
        shard_writer.write_shard_metadata(job, records=len(records), payload=sum(map(len, records)))
    report_progress(len(job.items))
    return []


def _gather_records(job: ReorderJob) -> list[bytes]:
    """Read the shard's records, one input file after the other, as there may be a thousand."""
    records = [b''] * len(job.items)
    wanted = collections.defaultdict(list)
    for place, (file, record) in enumerate(job.items):
        wanted[file].append((record, place))
    for file, pairs in wanted.items():
        reader = ArrayRecordReader(job.input_paths[file])
        for record, place in sorted(pairs):
            records[place] = reader.read([record])[0]
        reader.close()
    return records
