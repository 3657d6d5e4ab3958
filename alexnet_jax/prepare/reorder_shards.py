"""Ordering: shards whose images were read in the order of an archive, into shards in the order of their ids.

Archives that can only be read from end to end have their images in any order; datasets have them in one. So records
are made in the archive's order first, and here they find their places; nothing is decoded again.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from alexnet_jax.data import dataset
from alexnet_jax.prepare import shard_writer
from alexnet_jax.runtime import atomic_io


@dataclasses.dataclass(frozen=True)
class ReorderJob:
    """All that a process needs to put a shard in order."""

    path: str  # of the shard
    account: str  # of the file that says it is whole, written after it
    items: tuple[
        tuple[int, int], ...
    ]  # for each record the number of the shard it is in, and its number there
    origins: tuple[str, ...]  # the shards' paths
    checksums: tuple[str, ...]  # and their SHA-256

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the shard's bytes."""
        return hashlib.sha256(
            repr((dataset.FORMAT_VERSION, shard_writer.WRITER_OPTIONS, self.items, self.checksums)).encode()
        ).hexdigest()


def plan_reordering(ordered: Sequence[shard_writer.ShardJob], made: Sequence[shard_writer.ShardJob]) -> list[ReorderJob]:
    """How the shards `made` become the `ordered` ones of the same split. What could not be read is in neither."""
    places, checksums = {}, []
    for number, job in enumerate(made):
        account = shard_writer.read_shard_metadata(job.account)
        checksums.append(account.sha256)
        whole = [item.id for item in job.items if item.id not in account.left_out]
        places.update({identity: (number, record) for record, identity in enumerate(whole)})
    found = []
    for job in ordered:
        items = [places[item.id] for item in job.items if item.id in places]
        used = sorted({number for number, _ in items})
        renumbered = {number: place for place, number in enumerate(used)}
        found.append(
            ReorderJob(
                path=job.path,
                account=job.account,
                items=tuple((renumbered[number], record) for number, record in items),
                origins=tuple(made[number].path for number in used),
                checksums=tuple(checksums[number] for number in used),
            )
        )
    return found


def reorder_shard(job: ReorderJob, tick: Callable[[int], None]) -> list[str]:
    """Makes the shard unless it is there and whole; as shards.make, but that nothing can be unreadable any more."""
    fingerprint = job.fingerprint()
    if not shard_writer.is_shard_complete(job, fingerprint):
        records = _gather_records(job)
        with atomic_io.atomic_path(job.path) as partial:
            with shard_writer.open_record_writer(partial) as write:
                for record in records:
                    write(record)
            size, checksum = os.path.getsize(partial), atomic_io.file_checksum(partial)
        payload, none = (
            sum(map(len, records)),
            np.zeros(0, np.int64),
        )  # sums and finds are in the other accounts
        account = shard_writer.ShardMetadata(
            fingerprint, size, checksum, len(records), payload, none, none, none, {}, {}, {}
        )
        shard_writer.write_shard_metadata(job.account, account)
    tick(len(job.items))
    return []


def _gather_records(job: ReorderJob) -> list[bytes]:
    """The shard's records, gathered from one file after the other, as they may be in a thousand."""
    records = [b''] * len(job.items)
    wanted = collections.defaultdict(list)
    for place, (origin, record) in enumerate(job.items):
        wanted[origin].append((record, place))
    for origin, numbers in wanted.items():
        reader = ArrayRecordReader(job.origins[origin])
        for record, place in sorted(numbers):
            records[place] = reader.read([record])[0]
        reader.close()
    return records
