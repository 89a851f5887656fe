"""Named tensors as several safetensors objects of bounded size, written and read one at a time.

Comes in: tensors, too large to be held twice. Goes out: attempt-named objects and their hashes, in order. A tensor that
does not fit the object at hand goes on, by rows, in the next ones; the header of each says which rows it holds, and of
how many. So neither writing nor reading holds more than the tensors themselves and one object.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rsir_scale.errors import IntegrityError
from rsir_scale.runs.records import FileEntry, FileKind, read_entry, write_entry
from rsir_scale.storage.base import Store, size_of

SHARD_BYTES = 64 << 20
_ROWS = "rows"


@dataclass(frozen=True)
class Piece:
    """Some rows of a tensor, or all of it.

    Attributes:
        name: of the tensor.
        values: those rows; a scalar is whole.
        first: the first of them.
        rows: of the whole tensor; 1 for a scalar.
    """

    name: str
    values: Tensor
    first: int
    rows: int

    @property
    def shape(self) -> torch.Size:
        """Of the whole tensor."""
        return torch.Size((self.rows, *self.values.shape[1:])) if self.values.dim() else self.values.shape


def write_shards(
    store: Store,
    tensors: Mapping[str, Tensor],
    *,
    key: Callable[[int], str],
    kind: FileKind,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[FileEntry, ...]:
    """Write tensors as numbered objects; nothing counts before a record names them.

    Args:
        store: of the run.
        tensors: by name, on any device, left alone.
        key: of the i-th object.
        kind: of all.
        shard_bytes: values in one object at most, unless a single row has more.

    Returns:
        One entry an object, at least one.

    Raises:
        StorageFullError: the store took no more bytes.
    """
    return tuple(
        write_entry(store, key(index), kind, _serialised(pieces))
        for index, pieces in enumerate(_packed(tensors, shard_bytes))
    )


def read_pieces(store: Store, entries: Sequence[FileEntry]) -> Iterator[Piece]:
    """Read the objects that `write_shards` wrote, each hashed before anything of it is given.

    Raises:
        ObjectMissingError: one is missing.
        IntegrityError: one is not what its entry says, or is no safetensors.
    """
    room = sum(size_of(store, entry.key) for entry in entries)
    for entry in entries:
        data = read_entry(store, entry)
        for piece in pieces_of(data):
            # Room is made for a tensor as soon as its first rows are met.
            if piece.shape.numel() * piece.values.element_size() > room:
                raise IntegrityError(
                    f"{store.root}/{entry.key} has rows of {piece.name!r} of shape {tuple(piece.shape)}, for which its "
                    "files have no room: restore them, or train the iteration again"
                )
            yield piece


def pieces_of(data: bytes) -> Iterator[Piece]:
    """The pieces of one object. Raises IntegrityError: it is no safetensors, or its header does not fit its values."""
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        places = json.loads(header.get("__metadata__", {}).get(_ROWS, "{}"))
        pieces = [
            Piece(name, values, *map(int, places.get(name, (0, len(values) if values.dim() else 1))))
            for name, values in tensors.items()
        ]
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"weights are damaged ({error}): restore them, or train the iteration again") from error
    yield from pieces


def assemble(pieces: Iterator[Piece], *, into: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Put pieces together.

    Args:
        pieces: of any number of tensors, each from its first row on, without a gap.
        into: tensors that take the values in place; those of other names are made.

    Returns:
        All tensors that the pieces were of, those of `into` among them.

    Raises:
        IntegrityError: rows are missing, or a shape is not that of `into`.
    """
    whole: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    for piece in pieces:
        target = whole.get(piece.name)
        if target is None:
            given = None if into is None else into.get(piece.name)
            target = whole[piece.name] = torch.empty(piece.shape, dtype=piece.values.dtype) if given is None else given
        count = len(piece.values) if piece.values.dim() else 1
        if target.shape != piece.shape or filled.get(piece.name, 0) != piece.first or piece.first + count > piece.rows:
            raise IntegrityError(
                f"{piece.name!r} of shape {tuple(piece.shape)} goes on at row {piece.first}, but "
                f"{filled.get(piece.name, 0)} rows of {tuple(target.shape)} were there: a file is missing or foreign"
            )
        with torch.no_grad():
            (target[piece.first : piece.first + count] if piece.values.dim() else target).copy_(piece.values)
        filled[piece.name] = piece.first + count
    short = next((name for name, rows in filled.items() if whole[name].dim() and rows < len(whole[name])), None)
    if short is not None:
        raise IntegrityError(
            f"{short!r} has {filled[short]} of {len(whole[short])} rows: its last file is missing from the record"
        )
    return whole


def _packed(tensors: Mapping[str, Tensor], shard_bytes: int) -> Iterator[list[Piece]]:
    """Fill objects one after another, tensors in the order given."""
    held: list[Piece] = []
    room = shard_bytes
    for name, tensor in tensors.items():
        rows = len(tensor) if tensor.dim() else 1
        # What has no values is whole in one piece.
        row_bytes = tensor.numel() * tensor.element_size() // max(1, rows)
        first = 0
        while first < max(1, rows):
            if held and room < row_bytes:
                yield held
                held, room = [], shard_bytes
            count = min(rows - first, max(1, room // row_bytes)) if row_bytes else rows
            held.append(Piece(name, tensor[first : first + count] if tensor.dim() else tensor, first, rows))
            room -= count * row_bytes
            first += max(1, count)
    yield held


def _serialised(pieces: Sequence[Piece]) -> bytes:
    places = {
        piece.name: (piece.first, piece.rows)
        for piece in pieces
        if piece.values.dim() and len(piece.values) < piece.rows
    }
    values: dict[str, Tensor] = {}
    met: set[int] = set()
    for piece in pieces:
        own = piece.values.detach().to("cpu").contiguous()
        memory = own.untyped_storage().data_ptr()
        # Tied weights are one tensor under two names, which safetensors does not take.
        values[piece.name] = own.clone() if memory in met else own
        met.add(memory)
    return save(values, metadata={_ROWS: json.dumps(places)} if places else None)
