"""What an iteration's kept rows hold: how many, how many training pairs, and the hash of their content.

Comes in: parts in shard order and the ids of dropped duplicates. Goes out: counts and one SHA-256 over the rows sorted
by sequence_id (ids and items; no times, hosts or attempt names). A plan gives each shard ids above those of the shards
before it, so one part at a time is sorted and the whole is streamed. How rows fall into parts does not show.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import IntegrityError
from rsir_scale.runs.lineage import SequenceFile, committed_files, stream
from rsir_scale.runs.manifest import Manifest, combined_digest, read_chain
from rsir_scale.runs.run import Run


@dataclass(frozen=True)
class Content:
    """Kept rows, their training pairs (length - 1 each), and the hexadecimal SHA-256 of ids and items."""

    rows: int
    pairs: int
    sha256: str


def content_of(run: Run, files: Sequence[SequenceFile]) -> Content:
    """Stream the kept rows of `files` (one iteration's parts, by shard index).

    Raises:
        IntegrityError: a part is damaged, or holds an id that is not above those of the parts before it.
    """
    hashers = [hashlib.sha256() for _ in range(3)]
    rows = pairs = 0
    last = -1
    for file, unsorted in zip(files, stream(run, files), strict=True):
        sequences = _sorted(unsorted)
        if not len(sequences):
            continue
        if sequences.ids[0] <= last or (np.diff(sequences.ids) <= 0).any():
            raise IntegrityError(
                f"{file.key} holds sequence_id {sequences.ids[0]} or another twice or out of its shard's range: "
                "restore the part"
            )
        last = int(sequences.ids[-1])
        for hasher, values in zip(hashers, (sequences.ids, sequences.lengths, sequences.items), strict=True):
            hasher.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
        rows += len(sequences)
        pairs += int(np.maximum(sequences.lengths - 1, 0).sum())
    digest = hashlib.sha256(b"".join(hasher.digest() for hasher in hashers)).hexdigest()
    return Content(rows=rows, pairs=pairs, sha256=digest)


def digest(run: Run) -> str | None:
    """Recompute the committed digest of a run from its rows; None where none has written yet.

    Raises:
        IntegrityError: a part is damaged, or the rows of an iteration are not those that its manifest recorded.
    """
    manifests = read_chain(run.store)
    for manifest in manifests:
        _check(run, manifest)
    return combined_digest(manifests)


def _check(run: Run, manifest: Manifest) -> None:
    store, recorded = run.store, manifest.generation
    if recorded is None:
        return
    found = content_of(run, committed_files(store, manifest.iteration))
    if found != Content(rows=recorded.rows, pairs=recorded.pairs, sha256=recorded.content_sha256):
        raise IntegrityError(
            f"{store.root}: iteration {manifest.iteration} holds {found.rows} rows with content {found.sha256}, its "
            f"manifest says {recorded.rows} rows with {recorded.content_sha256}: restore its parts"
        )


def _sorted(sequences: Sequences) -> Sequences:
    return sequences.select(np.argsort(sequences.ids, kind="stable"))
