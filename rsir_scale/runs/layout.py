"""Where everything of a run lies: every key name, once.

Keys are relative to the run's root (docs/architecture.md, "A run on disk"). Objects that several attempts may write
carry their attempt in the name and are never renamed; an object without one is created only if absent, or is mutable
state of the lease's holder.
"""

import uuid

RUN_CONFIG = "run.yaml"
PROVENANCE = "provenance.json"
EVENTS = "events.jsonl"
# Who writes all sequences, where that is not the run's own model.
TEACHER = "teacher/teacher.json"


def new_attempt() -> str:
    """A name for one attempt at writing something: 12 hexadecimal digits, of no influence on any result."""
    return uuid.uuid4().hex[:12]


def teacher_weights(attempt: str, part: int) -> str:
    """A copy of the teacher's weights, or of some of them."""
    return f"teacher/weights-{part:05d}.{attempt}.safetensors"


def lease(generation: int) -> str:
    """Who held the run as the `generation`-th driver."""
    return f"lease/{generation:05d}.json"


def folder(iteration: int) -> str:
    """All of one iteration."""
    return f"iteration={iteration:03d}"


def manifest(iteration: int) -> str:
    """The iteration exists when this exists."""
    return f"{folder(iteration)}/MANIFEST.json"


def extension(iteration: int) -> str:
    """What the iteration wrote after its manifest, when `loop.iterations` was raised."""
    return f"{folder(iteration)}/generation/MANIFEST.json"


def training(iteration: int) -> str:
    """All of the fit of theta_k that is gone when it is done."""
    return f"{folder(iteration)}/training"


def learning(iteration: int) -> str:
    """All of the fit of what the iteration's augmenter learns; what is not of its state stays."""
    return f"{folder(iteration)}/generation/learned"


def fit_state(fit: str) -> str:
    """Where a fit stands, and which files hold its tensors, in its folder `fit`; gone when it is done."""
    return f"{fit}/state.json"


def fit_tensors(fit: str, attempt: str, part: int) -> str:
    """Some tensors of a state; they count while the state names them."""
    return f"{fit}/state-{part:05d}.{attempt}.safetensors"


def fit_progress(fit: str) -> str:
    """How far a fit is, for the driver to show; gone when it is done."""
    return f"{fit}/progress.json"


def weights(iteration: int, attempt: str, part: int) -> str:
    """Weights of theta_k, or some of them."""
    return f"{folder(iteration)}/model/weights-{part:05d}.{attempt}.safetensors"


def model(iteration: int) -> str:
    """What the model is, and which weights are its own."""
    return f"{folder(iteration)}/model/model.json"


def metrics(iteration: int) -> str:
    """Metrics of theta_k."""
    return f"{folder(iteration)}/metrics.json"


def ranks(iteration: int, attempt: str) -> str:
    """Each user's ranks under theta_k."""
    return f"{folder(iteration)}/ranks.{attempt}.parquet"


def plan(iteration: int) -> str:
    """The shards of an iteration's generation."""
    return f"{folder(iteration)}/generation/plan.json"


def search(iteration: int) -> str:
    """How the iteration's checks look at the catalogue, where that had to be decided."""
    return f"{folder(iteration)}/generation/search.json"


def clusters(iteration: int, attempt: str) -> str:
    """The catalogue in clusters, by theta_k's item vectors."""
    return f"{folder(iteration)}/generation/clusters.{attempt}.safetensors"


def prepared(iteration: int) -> str:
    """What an augmenter made once for the iteration, by name and hash."""
    return f"{folder(iteration)}/generation/prepared.json"


def prepared_table(iteration: int, attempt: str) -> str:
    """A table that `prepared` names."""
    return f"{folder(iteration)}/generation/prepared.{attempt}.parquet"


def learned(iteration: int) -> str:
    """What an augmenter fitted for the iteration, and which weights are its own."""
    return f"{learning(iteration)}/model.json"


def learned_weights(iteration: int, attempt: str, part: int) -> str:
    """Weights of it, or some of them."""
    return f"{learning(iteration)}/weights-{part:05d}.{attempt}.safetensors"


def commit(iteration: int, shard: int) -> str:
    """The shard counts when this exists."""
    return f"{folder(iteration)}/generation/commits/{shard:05d}.json"


def part(iteration: int, shard: int, attempt: str) -> str:
    """Rows of one shard."""
    return f"{folder(iteration)}/generation/data/part-{shard:05d}.{attempt}.parquet"


def errors(iteration: int, shard: int, attempt: str) -> str:
    """Sources of one shard that failed, with the reason."""
    return f"{folder(iteration)}/generation/errors/part-{shard:05d}.{attempt}.parquet"


def replaced(iteration: int, attempt: str) -> str:
    """Sequence ids of the sources that an iteration's rows replace."""
    return f"{folder(iteration)}/generation/replaced.{attempt}.parquet"


def dropped(iteration: int, attempt: str) -> str:
    """Sequence ids of an iteration's duplicates."""
    return f"{folder(iteration)}/generation/dropped.{attempt}.parquet"
