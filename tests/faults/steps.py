"""Every step of the commit protocol: which operation on which kind of object, and who takes it.

The list is not written down: it is recorded from an undisturbed run of each scenario, so that a new kind of object or
operation is in the matrix, or fails a test, on the day that it appears.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rsir_scale.loop.recursion import Phases
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.plan import ShardPlan

Performer = Literal["driver", "actor", "worker"]
KINDS = {
    "lease": r"lease/\d{5}\.json",
    "provenance": r"provenance\.json",
    "settings": r"run\.yaml",
    "events": r"events\.jsonl",
    "teacher weights": r"teacher/weights-\d{5}\.\*\.safetensors",
    "teacher": r"teacher/teacher\.json",
    "training state": r"training/state\.json",
    "training tensors": r"training/state-\d{5}\.\*\.safetensors",
    "weights": r"model/weights-\d{5}\.\*\.safetensors",
    "model": r"model/model\.json",
    "ranks": r"ranks\.\*\.parquet",
    "metrics": r"metrics\.json",
    "plan": r"generation/plan\.json",
    "learned": r"generation/learned/model\.json",
    "clusters": r"generation/clusters\.\*\.safetensors",
    "search": r"generation/search\.json",
    "errors": r"generation/errors/part-\d{5}\.\*\.parquet",
    "part": r"generation/data/part-\d{5}\.\*\.parquet",
    "commit": r"generation/commits/\d{5}\.json",
    "dropped": r"generation/dropped\.\*\.parquet",
    "generation manifest": r"generation/MANIFEST\.json",
    "model manifest": r"MANIFEST\.json",
}


@dataclass(frozen=True, order=True)
class Step:
    """One step.

    Attributes:
        scenario: where it was recorded.
        performer: who takes it.
        kind: of object.
        operation: as the store's hook is told, such as `create.link`.
        key: of the object, without its attempt's name.
        last: whether the kind's last object takes it, and not its first.
    """

    scenario: str
    performer: Performer
    kind: str
    operation: str
    key: str
    last: bool = False

    def __str__(self) -> str:
        return f"{self.performer}-{self.kind}-{self.operation}{'-last' * self.last}".replace(" ", "_")

    @property
    def writes(self) -> bool:
        """Whether it is part of a write."""
        return self.operation not in ("read", "exists", "delete")

    def is_(self, operation: str, key: str) -> bool:
        """Whether the hook was told of it."""
        return (operation, nameless(key)) == (self.operation, self.key)


def nameless(key: str) -> str:
    """A key without the name of its attempt or temporary file."""
    return re.sub(r"\.[0-9a-f]{12}\.", ".*.", re.sub(r"\.tmp-[0-9a-f]{32}$", ".tmp", key))


def kind_of(key: str) -> str:
    """What sort of object lies under a key. Raises LookupError for one that no run of ours has."""
    inner = re.sub(r"^iteration=\d{3}/", "", nameless(key))
    return next(kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, inner))


class Recorder:
    """A store's hook that writes down who does what; its phases say who is at work."""

    def __init__(self, phases: Phases) -> None:
        self.taken: list[tuple[Performer, str, str]] = []
        self._phases = phases
        self._performer: Performer = "driver"

    def __call__(self, operation: str, key: str) -> None:
        self.taken.append((self._performer, operation, nameless(key)))

    def train(self, run: HeldRun, iteration: int) -> None:
        """See `Phases.train`."""
        with self._as("worker"):
            self._phases.train(run, iteration)

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        """See `Phases.generate`."""
        with self._as("actor"):
            self._phases.generate(run, plan)

    @contextmanager
    def _as(self, performer: Performer) -> Iterator[None]:
        self._performer = performer
        yield
        self._performer = "driver"

    def steps(self, scenario: str) -> list[Step]:
        """Each step once, in the order in which it is first taken; and where several objects take it, also the last."""
        found: dict[tuple[Performer, str, str], list[str]] = {}
        for performer, operation, key in self.taken:
            found.setdefault((performer, kind_of(key), operation), []).append(key)
        steps = []
        for (performer, kind, operation), keys in found.items():
            steps.append(Step(scenario, performer, kind, operation, keys[0]))
            if keys[-1] != keys[0]:
                steps.append(Step(scenario, performer, kind, operation, keys[-1], last=True))
        return steps
