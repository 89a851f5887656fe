"""The record of an iteration's model, without the model: what it is, and which weights files are its own.

Weights are written under an attempt's name; `model/model.json`, created only if absent, then names them. The iteration
has a model when that file exists, and only one ever counts. What is in the weights is the business of `models`.
"""

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from rsir_scale.config.settings import ModelConfig
from rsir_scale.runs import layout
from rsir_scale.runs.records import Count, FileEntry, Record, Sha256
from rsir_scale.storage.base import AlreadyExistsError, Store


class ModelDescription(BaseModel):
    """All that is needed to build the backbone that weights fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: ModelConfig
    item_count: PositiveInt
    max_length: PositiveInt


class CurvePoint(Record):
    """A score taken during a fit: updates done, mean loss of those since the one before, and the score (NDCG@20)."""

    update: int
    loss: float
    score: float


class TrainedModel(Record):
    """What `model/model.json` holds.

    Attributes:
        description: how to build the backbone.
        weights: the safetensors objects, in the order in which they are read, and their hashes.
        updates: optimiser updates done; best_update: where the kept weights stood.
        validation_score: NDCG@20 on the validation items at that update.
        train_s: wall time of the fit, over all starts.
        curve: every validation, in order; none in older runs.
        encoder: what encoded the last updates: `compiled (INSTRUCTIONS)`, `torch` or `torch, padded`; none in older
            runs and where the last start made no update.
    """

    description: ModelDescription
    weights: tuple[FileEntry, ...] = Field(min_length=1)
    updates: int
    best_update: int
    validation_score: float
    train_s: float
    curve: tuple[CurvePoint, ...] = ()
    encoder: str | None = None

    @field_validator("weights", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, value: Any) -> Any:
        # Runs of version 0.1 have one weights file, and its entry stands alone.
        return [value] if isinstance(value, dict) else value


class Teacher(Record):
    """What `teacher/teacher.json` holds: another run's model, copied, that writes every iteration's sequences.

    Attributes:
        run: where its run lay; iteration: whose model it was.
        description: how to build the backbone.
        weights: the copies in this run, and their hashes.
        weights_sha256: of all of them; with the description, who the teacher is.
        validation_score: NDCG@20 in its own run.
        dataset_fingerprint: of the data that it was trained on.
    """

    run: str
    iteration: Count
    description: ModelDescription
    weights: tuple[FileEntry, ...] = Field(min_length=1)
    weights_sha256: Sha256
    validation_score: float
    dataset_fingerprint: str


def weights_sha256(weights: tuple[FileEntry, ...]) -> str:
    """The SHA-256 of weights as a whole: that of their file, or of the hashes of several, one after another."""
    if len(weights) == 1:
        return weights[0].sha256
    return hashlib.sha256("".join(entry.sha256 for entry in weights).encode()).hexdigest()


def publish_model(store: Store, iteration: int, model: TrainedModel) -> TrainedModel:
    """Make a model the iteration's own, and return the one that is: this one, or an earlier attempt's."""
    try:
        store.create(layout.model(iteration), model.to_bytes())
    except AlreadyExistsError:
        return read_model(store, iteration)
    return model


def has_model(store: Store, iteration: int) -> bool:
    """Whether the iteration's training is done."""
    return store.exists(layout.model(iteration))


def read_model(store: Store, iteration: int) -> TrainedModel:
    """Read the record. Raises ObjectMissingError, IntegrityError."""
    key = layout.model(iteration)
    return TrainedModel.from_bytes(store.read(key), f"{store.root}/{key}")
