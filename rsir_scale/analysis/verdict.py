"""What a run of its own can say in a sentence: did a later theta_k beat theta_0, as far as users tell?

Comes in: a run's manifests and the ranks that it keeps. Goes out: for each leading metric a difference with an interval
on test and on validation, and sentences. The iteration that is compared is the one with the best validation after the
first; test decides nothing but the word. A run has one seed and no control, so the interval is over users alone, and
the sentences say that longer training may do as much.

Shapes: U users.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsir_scale.analysis.significance import Difference, difference
from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.data.sequences import numbers_of
from rsir_scale.errors import IntegrityError
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.runs.evaluated import TEST_RANK, VALIDATION_RANK, ranks_of
from rsir_scale.runs.manifest import Manifest
from rsir_scale.runs.selection import SELECTION_METRIC, best_iteration
from rsir_scale.storage.base import Store

TEST, VALIDATION = "test", "validation"
COLUMNS: Mapping[str, str] = {TEST: TEST_RANK, VALIDATION: VALIDATION_RANK}
GAIN, ON_TEST_ALONE = "a gain is shown", "a gain is shown on test alone"
LOSS, OPEN = "a loss is shown", "no gain is shown"
NO_CONTROL = (
    "No control was run: longer training may do as much. "
    "`rsir study init DATASET --out FILE` begins a study that compares both."
)
_LEADING = 2  # metrics that have a sentence
_LEAST_USERS = 2
Values_U = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """One metric of the compared iteration against theta_0, on both splits."""

    metric: str
    test: Difference
    validation: Difference

    @property
    def word(self) -> str:
        """What test shows; a gain that validation does not point to is told apart."""
        if self.test.low > 0.0:
            return GAIN if self.validation.mean > 0.0 else ON_TEST_ALONE
        return LOSS if self.test.high < 0.0 else OPEN


@dataclass(frozen=True)
class Verdict:
    """What is claimed of a run.

    Attributes:
        iteration: the one that is compared with theta_0; None where there is none, or too few users for an interval.
        best_iteration: the best by validation, theta_0 among them.
        compared: one entry for each leading metric, the most important first.
        sentences: the same in words, and what to keep in mind.
    """

    iteration: int | None
    best_iteration: int
    compared: tuple[Compared, ...]
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, as `rsir status --json` prints it."""
        return {
            "iteration": self.iteration,
            "best_iteration": self.best_iteration,
            "compared": [asdict(each) | {"word": each.word} for each in self.compared],
            "sentences": list(self.sentences),
        }


def verdict_of(store: Store, manifests: list[Manifest], evaluation: EvaluationConfig) -> Verdict:
    """Compare the best later iteration with theta_0.

    Args:
        store: of the run.
        manifests: of its iterations, one or more, all evaluated.
        evaluation: names the metrics; the first two have a sentence, at the first cutoff.

    Raises:
        ObjectMissingError, IntegrityError: ranks are lost or damaged.
    """
    best, later = best_iteration(manifests) or 0, best_iteration(manifests[1:])
    names = leading_metrics(evaluation)
    if later is None:
        return Verdict(None, best, (), (_alone(manifests[0], names), "Only theta_0 was trained: nothing to compare."))
    users = min(len(values_of(store, 0, split, names[0])) for split in COLUMNS)
    if users < _LEAST_USERS:
        return Verdict(None, best, (), (f"{users} users are too few for an interval.", _best(best)))
    compared = tuple(_compared(store, later, name) for name in names)
    sentences = [_sentence(later, each) for each in compared]
    return Verdict(later, best, compared, (*sentences, _best(best), NO_CONTROL))


def leading_metrics(evaluation: EvaluationConfig) -> tuple[str, ...]:
    """The metrics that a run is summed up by, such as NDCG@10 and Recall@10."""
    return tuple(f"{metric}@{evaluation.cutoffs[0]}" for metric in evaluation.metrics[:_LEADING])


def values_of(store: Store, iteration: int, split: str, name: str) -> Values_U:
    """A metric such as NDCG@10 of each user who has an item in the split, by sequence id. Raises IntegrityError."""
    metric, _, cutoff = name.partition("@")
    ranks_U = numbers_of(ranks_of(store, iteration).column(COLUMNS[split]).drop_null())
    return per_user(ranks_U, metric=metric, cutoff=int(cutoff))


def against_first(store: Store, iteration: int, split: str, name: str) -> Difference:
    """A metric of theta_k less that of theta_0, over two users or more. Raises IntegrityError."""
    base_U, ours_U = (values_of(store, k, split, name) for k in (0, iteration))
    if len(base_U) != len(ours_U):
        raise IntegrityError(
            f"{store.root}: iterations 0 and {iteration} rank {len(base_U)} and {len(ours_U)} users of {split}, "
            "and both were evaluated on the same: restore their ranks"
        )
    return difference(base_U[None], ours_U[None])


def percent(found: Difference) -> tuple[float, float, float] | None:
    """Mean and bounds as per cent of the base; None where that is 0."""
    if not found.base:
        return None
    scale = 100.0 / found.base
    return scale * found.mean, scale * found.low, scale * found.high


def told(found: Difference) -> str:
    """A difference with its interval, as per cent of the base; in the metric's unit where the base is 0."""
    shares = percent(found)
    if shares is None:
        return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    mean, low, high = shares
    return f"{mean:+.1f} % [{low:+.1f}, {high:+.1f}]"


def _compared(store: Store, iteration: int, name: str) -> Compared:
    return Compared(name, *(against_first(store, iteration, split, name) for split in (TEST, VALIDATION)))


def _sentence(iteration: int, found: Compared) -> str:
    return (
        f"Iteration {iteration} against 0: {found.metric} {told(found.test)} on test, {told(found.validation)} on "
        f"validation: {found.word}."
    )


def _best(best: int) -> str:
    name = SELECTION_METRIC.partition("/")[2]
    return f"By validation {name} iteration {best} is best{'' if best else ': theta_0 stays'}."


def _alone(manifest: Manifest, names: tuple[str, ...]) -> str:
    values = ", ".join(
        f"{name} {manifest.metrics[f'{split}/{name}']:.4f} on {split}"
        for name in names
        for split in (TEST, VALIDATION)
        if f"{split}/{name}" in manifest.metrics
    )
    return f"Iteration 0: {values}."
