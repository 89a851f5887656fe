"""The content of a prepared dataset as one SHA-256, independent of how rows are split into files and of row groups.

Each column is a stream of its own, so that only the order of rows matters, never where one batch ends. Times are left
out: they order a log before it is prepared and change no result after. Users' and items' own ids are in: an export
carries them.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl

from rsir_scale.data.sequences import Int32Array, Sequences


class Fingerprint:
    """Collects the content batch by batch, in the order of sequence ids."""

    def __init__(self) -> None:
        self._columns = {name: hashlib.sha256() for name in ("ids", "lengths", "items", "validation", "test")}

    def update(self, training: Sequences, validation: Int32Array, test: Int32Array) -> None:
        """Add the next users: their training sequences and, row for row, their held-out items (0: none)."""
        self._add("ids", training.ids)
        self._add("lengths", training.lengths)
        self._add("items", training.items)
        self._add("validation", validation)
        self._add("test", test)

    def hexdigest(self, *, user_ids: pl.Series, item_ids: pl.Series, truncation: int) -> str:
        """Close with the two vocabularies (String, in index order) and the length that users were cut to."""
        whole = hashlib.sha256(f"prepared dataset, truncation {truncation}".encode())
        for column in self._columns.values():
            whole.update(column.digest())
        for ids in (user_ids, item_ids):
            whole.update(_text_digest(ids))
        return whole.hexdigest()

    def _add(self, name: str, values: npt.NDArray[np.integer]) -> None:
        self._columns[name].update(np.ascontiguousarray(values, dtype="<i8").tobytes())


def _text_digest(texts: pl.Series) -> bytes:
    digest = hashlib.sha256(texts.str.len_bytes().to_numpy().astype("<i8").tobytes())
    for piece in texts.to_frame().iter_slices(1 << 20):
        digest.update("".join(piece.to_series().to_list()).encode())
    return digest.digest()
