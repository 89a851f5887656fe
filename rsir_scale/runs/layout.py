"""Where everything of a run lies: every key name, once, and what a key says.

Keys are relative to the run's root (docs/architecture.md, "A run on disk"). Objects that several attempts may write
carry their attempt in the name and are never renamed; an object without one is created only if absent, or is mutable
state of the lease's holder. A new kind of object is one line of `Kind` and the function that makes its key.
"""

import re
import uuid
from dataclasses import dataclass
from enum import Enum
from functools import cache
from string import Formatter
from typing import Any


class Kind(Enum):
    """Every kind of object, by the shape of its key; a fit has a folder, which is a key itself."""

    RUN_CONFIG = "run.yaml"
    PROVENANCE = "provenance.json"
    EVENTS = "events.jsonl"
    LEASE = "lease/{generation:05d}.json"
    TEACHER = "teacher/teacher.json"
    TEACHER_WEIGHTS = "teacher/weights-{part:05d}.{attempt}.safetensors"
    MODEL_LINK = "iteration={iteration:03d}/MANIFEST.json"
    TRAINING = "iteration={iteration:03d}/training"
    LEARNING = "iteration={iteration:03d}/generation/learned"
    FIT_STATE = "{fit}/state.json"
    FIT_TENSORS = "{fit}/state-{part:05d}.{attempt}.safetensors"
    FIT_PROGRESS = "{fit}/progress.json"
    MODEL = "iteration={iteration:03d}/model/model.json"
    WEIGHTS = "iteration={iteration:03d}/model/weights-{part:05d}.{attempt}.safetensors"
    METRICS = "iteration={iteration:03d}/metrics.json"
    RANKS = "iteration={iteration:03d}/ranks.{attempt}.parquet"
    PLAN = "iteration={iteration:03d}/generation/plan.json"
    SEARCH = "iteration={iteration:03d}/generation/search.json"
    CLUSTERS = "iteration={iteration:03d}/generation/clusters.{attempt}.safetensors"
    PREPARED = "iteration={iteration:03d}/generation/prepared.json"
    PREPARED_TABLE = "iteration={iteration:03d}/generation/prepared.{attempt}.parquet"
    LEARNED = "iteration={iteration:03d}/generation/learned/model.json"
    LEARNED_WEIGHTS = "iteration={iteration:03d}/generation/learned/weights-{part:05d}.{attempt}.safetensors"
    COMMIT = "iteration={iteration:03d}/generation/commits/{shard:05d}.json"
    PART = "iteration={iteration:03d}/generation/data/part-{shard:05d}.{attempt}.parquet"
    ERRORS = "iteration={iteration:03d}/generation/errors/part-{shard:05d}.{attempt}.parquet"
    REPLACED = "iteration={iteration:03d}/generation/replaced.{attempt}.parquet"
    DROPPED = "iteration={iteration:03d}/generation/dropped.{attempt}.parquet"
    GENERATION_LINK = "iteration={iteration:03d}/generation/MANIFEST.json"


@dataclass(frozen=True)
class Place:
    """What a key says of its object; None is what the keys of its kind do not say.

    Attributes:
        kind: what the object is.
        iteration: of the run.
        shard: of the iteration's generation.
        part: of what is stored in several files.
        attempt: which wrote it.
        fit: the folder of a fit, whose kind is one of `FITS`.
        generation: of drivers, counted from 0.
    """

    kind: Kind
    iteration: int | None = None
    shard: int | None = None
    part: int | None = None
    attempt: str | None = None
    fit: str | None = None
    generation: int | None = None

    @property
    def key(self) -> str:
        """The key; fields that the keys of its kind do not say are left out."""
        return self.kind.value.format(**vars(self))


RUN_CONFIG = Place(Kind.RUN_CONFIG).key
PROVENANCE = Place(Kind.PROVENANCE).key
EVENTS = Place(Kind.EVENTS).key
# Who writes all sequences, where that is not the run's own model.
TEACHER = Place(Kind.TEACHER).key
FITS = (Kind.TRAINING, Kind.LEARNING)
# The fields that hold something else than a number.
_TEXT = {"attempt": "[0-9a-f]{12}", "fit": ".+"}
# What names objects lies in these folders; JSON elsewhere is the user's, or names none.
_RECORD = re.compile(r"(?:teacher|iteration=\d{3,})/.*\.json")


def parse(key: str) -> Place | None:
    """Return what a key says; None where it is no key that this module makes, to the letter."""
    for kind in Kind:
        found = _pattern(kind).fullmatch(key)
        if found is not None:
            said: dict[str, Any] = {
                name: text if name in _TEXT else int(text) for name, text in found.groupdict().items()
            }
            place = Place(kind, **said)
            return place if place.key == key and _is_fit(place.fit) else None
    return None


def is_record(key: str) -> bool:
    """Whether the object may name others: any JSON in a folder of ours, also of a kind that is not known here."""
    return _RECORD.fullmatch(key) is not None


def new_attempt() -> str:
    """A name for one attempt at writing something: 12 hexadecimal digits, of no influence on any result."""
    return uuid.uuid4().hex[:12]


def teacher_weights(attempt: str, part: int) -> str:
    """A copy of the teacher's weights, or of some of them."""
    return Place(Kind.TEACHER_WEIGHTS, attempt=attempt, part=part).key


def lease(generation: int) -> str:
    """Who held the run as the `generation`-th driver."""
    return Place(Kind.LEASE, generation=generation).key


def folder(iteration: int) -> str:
    """All of one iteration."""
    return f"iteration={iteration:03d}"


def model_link(iteration: int) -> str:
    """The manifest of theta_k; the iteration exists when this exists."""
    return Place(Kind.MODEL_LINK, iteration=iteration).key


def generation_link(iteration: int) -> str:
    """The manifest of what theta_k wrote; that counts when this exists."""
    return Place(Kind.GENERATION_LINK, iteration=iteration).key


def training(iteration: int) -> str:
    """All of the fit of theta_k that is gone when it is done."""
    return Place(Kind.TRAINING, iteration=iteration).key


def learning(iteration: int) -> str:
    """All of the fit of what the iteration's augmenter learns; what is not of its state stays."""
    return Place(Kind.LEARNING, iteration=iteration).key


def fit_state(fit: str) -> str:
    """Where a fit stands, and which files hold its tensors, in its folder `fit`; gone when it is done."""
    return Place(Kind.FIT_STATE, fit=fit).key


def fit_tensors(fit: str, attempt: str, part: int) -> str:
    """Some tensors of a state; they count while the state names them."""
    return Place(Kind.FIT_TENSORS, fit=fit, attempt=attempt, part=part).key


def fit_progress(fit: str) -> str:
    """How far a fit is, for the driver to show; gone when it is done."""
    return Place(Kind.FIT_PROGRESS, fit=fit).key


def weights(iteration: int, attempt: str, part: int) -> str:
    """Weights of theta_k, or some of them."""
    return Place(Kind.WEIGHTS, iteration=iteration, attempt=attempt, part=part).key


def model(iteration: int) -> str:
    """What the model is, and which weights are its own."""
    return Place(Kind.MODEL, iteration=iteration).key


def metrics(iteration: int) -> str:
    """Metrics of theta_k."""
    return Place(Kind.METRICS, iteration=iteration).key


def ranks(iteration: int, attempt: str) -> str:
    """Each user's ranks under theta_k."""
    return Place(Kind.RANKS, iteration=iteration, attempt=attempt).key


def plan(iteration: int) -> str:
    """The shards of an iteration's generation."""
    return Place(Kind.PLAN, iteration=iteration).key


def search(iteration: int) -> str:
    """How the iteration's checks look at the catalogue, where that had to be decided."""
    return Place(Kind.SEARCH, iteration=iteration).key


def clusters(iteration: int, attempt: str) -> str:
    """The catalogue in clusters, by theta_k's item vectors."""
    return Place(Kind.CLUSTERS, iteration=iteration, attempt=attempt).key


def prepared(iteration: int) -> str:
    """What an augmenter made once for the iteration, by name and hash."""
    return Place(Kind.PREPARED, iteration=iteration).key


def prepared_table(iteration: int, attempt: str) -> str:
    """A table that `prepared` names."""
    return Place(Kind.PREPARED_TABLE, iteration=iteration, attempt=attempt).key


def learned(iteration: int) -> str:
    """What an augmenter fitted for the iteration, and which weights are its own."""
    return Place(Kind.LEARNED, iteration=iteration).key


def learned_weights(iteration: int, attempt: str, part: int) -> str:
    """Weights of it, or some of them."""
    return Place(Kind.LEARNED_WEIGHTS, iteration=iteration, attempt=attempt, part=part).key


def commit(iteration: int, shard: int) -> str:
    """The shard counts when this exists."""
    return Place(Kind.COMMIT, iteration=iteration, shard=shard).key


def part(iteration: int, shard: int, attempt: str) -> str:
    """Rows of one shard."""
    return Place(Kind.PART, iteration=iteration, shard=shard, attempt=attempt).key


def errors(iteration: int, shard: int, attempt: str) -> str:
    """Sources of one shard that failed, with the reason."""
    return Place(Kind.ERRORS, iteration=iteration, shard=shard, attempt=attempt).key


def replaced(iteration: int, attempt: str) -> str:
    """Sequence ids of the sources that an iteration's rows replace."""
    return Place(Kind.REPLACED, iteration=iteration, attempt=attempt).key


def dropped(iteration: int, attempt: str) -> str:
    """Sequence ids of an iteration's duplicates."""
    return Place(Kind.DROPPED, iteration=iteration, attempt=attempt).key


def _is_fit(folder: str | None) -> bool:
    place = None if folder is None else parse(folder)
    return folder is None or (place is not None and place.kind in FITS)


@cache
def _pattern(kind: Kind) -> re.Pattern[str]:
    pieces = []
    for literal, field, digits, _ in Formatter().parse(kind.value):
        pieces.append(re.escape(literal))
        if field is not None:
            value = _TEXT.get(field) or f"[0-9]{{{int(str(digits)[:-1])},}}"
            pieces.append(f"(?P<{field}>{value})")
    return re.compile("".join(pieces))
