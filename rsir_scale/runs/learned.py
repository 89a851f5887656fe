"""The record of what an augmenter fitted for an iteration: how the fit went, and which weights files are its own.

Weights are written under an attempt's name; `generation/learned/model.json`, created only if absent, then names them:
only one fit ever counts. What is in the weights, and how to build what they fit, is the augmenter's business.
"""

from pydantic import Field

from rsir_scale.runs import layout
from rsir_scale.runs.records import Count, FileEntry, Record, entry_of
from rsir_scale.runs.trained import CurvePoint
from rsir_scale.storage.base import AlreadyExistsError, Store


class LearnedModel(Record):
    """What `generation/learned/model.json` holds.

    Attributes:
        name: what was fitted, in words.
        weights: the safetensors objects, in the order in which they are read, and their hashes.
        updates: optimiser updates done; best_update: where the kept weights stood.
        score_name: what decided which weights are kept; score: its value at that update, higher is better.
        seconds: wall time of the fit, over all starts.
        curve: every score, in order.
    """

    name: str
    weights: tuple[FileEntry, ...] = Field(min_length=1)
    updates: Count
    best_update: Count
    score_name: str
    score: float
    seconds: float
    curve: tuple[CurvePoint, ...]


def publish_learned(store: Store, iteration: int, model: LearnedModel) -> LearnedModel:
    """Make a model the iteration's own, and return the one that is: this one, or an earlier attempt's."""
    try:
        store.create(layout.learned(iteration), model.to_bytes())
    except AlreadyExistsError:
        return read_learned(store, iteration)
    return model


def has_learned(store: Store, iteration: int) -> bool:
    """Whether the augmenter's fit is done."""
    return store.exists(layout.learned(iteration))


def read_learned(store: Store, iteration: int) -> LearnedModel:
    """Read the record. Raises ObjectMissingError, IntegrityError."""
    key = layout.learned(iteration)
    return LearnedModel.from_bytes(store.read(key), f"{store.root}/{key}")


def learned_files(store: Store, iteration: int) -> list[FileEntry]:
    """The record and the weights that it names, for the manifest; nothing where nothing was fitted."""
    if not has_learned(store, iteration):
        return []
    return [entry_of(store, layout.learned(iteration), "learned"), *read_learned(store, iteration).weights]
