"""Where a fit stands: weights, best weights, optimiser moments and position, kept so that a crash loses one interval.

Tensors go into attempt-named objects of bounded size; after them one JSON, replaced whole, names them, and those that
it named before are deleted. Killed anywhere, the store holds the old state or the new one; what a killed attempt wrote
is deleted when training is done. A worker may outlive its driver for a while and save beside the next one's: so nobody
deletes what another may be about to name. No random state is kept, because every draw is keyed by the number of its
update. Nothing is pickled.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field
from torch import Tensor, nn

from rsir_scale.errors import IntegrityError, StorageFullError, shown
from rsir_scale.models.shards import SHARD_BYTES, assemble, read_pieces, write_shards
from rsir_scale.runs import layout
from rsir_scale.runs.records import Count, FileEntry, Record
from rsir_scale.runs.trained import CurvePoint
from rsir_scale.storage.base import ObjectMissingError, Store
from rsir_scale.training.optimiser import RowAdam

_MODEL, _BEST, _OPTIMISER = "model/", "best/", "optimiser/"


class Position(Record):
    """The part of a fit's state that is no tensor.

    Attributes:
        update: optimiser updates done.
        best_update: update of the best score so far.
        best_score: that score; of no meaning before the first.
        seconds: wall time spent so far, over all starts.
        curve: every score so far.
    """

    update: Count = 0
    best_update: Count = 0
    best_score: float = -1.0
    seconds: float = 0.0
    curve: tuple[CurvePoint, ...] = ()

    def after(self, point: CurvePoint, *, seconds: float) -> "Position":
        """The position after one more score."""
        better = not self.update or point.score > self.best_score
        return Position(
            update=point.update,
            best_update=point.update if better else self.best_update,
            best_score=point.score if better else self.best_score,
            seconds=seconds,
            curve=(*self.curve, point),
        )


@dataclass(frozen=True)
class FitState:
    """A state as it is saved and resumed; the tensors of a running fit are its own, and change with its next update.

    Attributes:
        position: where the fit stands.
        tensors: by name: `model/…`, `best/…`, `optimiser/<parameter>/<moment>`.
    """

    position: Position
    tensors: dict[str, Tensor]


class _StateRecord(Position):
    """What a fit's `state.json` holds."""

    tensors: tuple[FileEntry, ...] = Field(min_length=1)


def dump_state(position: Position, model: nn.Module, best: Mapping[str, Tensor], optimiser: RowAdam) -> FitState:
    """Name all that a resumed fit needs; nothing is copied, so it must be saved before the fit goes on."""
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {_BEST + name: tensor for name, tensor in best.items()}
    for index, moments in optimiser.moments().items():
        tensors |= {f"{_OPTIMISER}{index}/{name}": tensor for name, tensor in moments.items()}
    return FitState(position, tensors)


def restore_state(state: FitState, model: nn.Module, optimiser: RowAdam) -> tuple[Position, dict[str, Tensor]]:
    """Put a state back into a model and its optimiser; return the position and the best weights.

    The tensors of the state may become the optimiser's and the best weights: they are not to be used again.

    Raises:
        IntegrityError: the model has other tensors than the one that the state was saved of.
    """
    own, kept = (
        {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in one.items()}
        for one in (model.state_dict(), _under(state.tensors, _MODEL))
    )
    if own != kept:
        names = sorted(name for name in own.keys() | kept.keys() if own.get(name) != kept.get(name))
        raise IntegrityError(
            f"the training that was stopped had another {type(model).__name__}: {len(names)} tensors differ, "
            f"{shown(names[0])} among them; put the class back as it was when the run began, or name another run "
            "directory"
        )
    model.load_state_dict(_under(state.tensors, _MODEL))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(state.tensors, _OPTIMISER).items():
        index, _, moment = name.partition("/")
        moments.setdefault(int(index), {})[moment] = tensor
    optimiser.restore(moments)
    return state.position, _under(state.tensors, _BEST)


class StateFiles:
    """The saved state of one fit.

    Args:
        store: of the run.
        folder: of the fit: `layout.training` for theta_k, `layout.learning` for what an augmenter learns.
        shard_bytes: bytes of tensors in one object, about.
    """

    def __init__(self, store: Store, folder: str, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._store = store
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._key = layout.fit_state(folder)

    def read(self) -> FitState | None:
        """The last state that was saved whole; None before any.

        Raises:
            IntegrityError: it is damaged.
        """
        record = self._record()
        while record is not None:
            try:
                tensors = assemble(read_pieces(self._store, record.tensors))
            except ObjectMissingError:
                # Another one has saved meanwhile, and deleted what was to be read.
                newer = self._record()
                if newer == record:
                    raise
                record = newer
            else:
                return FitState(Position(**record.model_dump(exclude={"tensors"})), tensors)
        return None

    def write(self, state: FitState) -> None:
        """Save a state in place of the last one. Raises StorageFullError, after which the last one still counts."""
        attempt = layout.new_attempt()
        begun: list[str] = []

        def key(part: int) -> str:
            begun.append(layout.fit_tensors(self._folder, attempt, part))
            return begun[-1]

        try:
            last = self._record()
        except IntegrityError:
            # What it named goes with the rest when the training is done.
            last = None
        try:
            entries = write_shards(self._store, state.tensors, key=key, kind="state", shard_bytes=self._shard_bytes)
            self._store.put(self._key, _StateRecord(**state.position.model_dump(), tensors=entries).to_bytes())
        except StorageFullError:
            # On a disk that is full, what no record will name must not stay.
            self._delete(begun)
            raise
        self._delete(entry.key for entry in (last.tensors if last else ()))

    def delete(self) -> None:
        """Remove the state and what killed attempts left of others: its training is done."""
        self._store.delete(self._key)
        prefix = self._key.removesuffix(".json")
        self._delete(key for key in list(self._store.list(self._folder)) if key.startswith(f"{prefix}-"))

    def _record(self) -> _StateRecord | None:
        data = self._store.read_if_exists(self._key)
        return None if data is None else _StateRecord.from_bytes(data, f"{self._store.root}/{self._key}")

    def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._store.delete(key)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
