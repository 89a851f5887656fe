"""What the recursion tells while it works: training by its validations, writing by its shards.

Comes in: what the phases report. Goes out: steps for a `ProgressLine`, and a note for each phase that ends. Rates are
of this start, so a resumed phase does not claim work that was done before. Training mostly ends early: its time left is
an upper bound, and says so.
"""

from collections.abc import Mapping

from rsir_scale.loop.line import ProgressLine
from rsir_scale.steps import Meter, Step, duration
from rsir_scale.training.epoch import Progress


def phase(iteration: int, last: int, name: str) -> str:
    """What a step of the recursion is called."""
    return f"iteration {iteration}/{last}  {name}"


class TrainingLine:
    """What a training tells, on a `ProgressLine`; `name` says what is trained."""

    def __init__(self, line: ProgressLine, *, iteration: int, last: int, name: str = "training") -> None:
        self._line = line
        self._where = iteration, last
        self._name = name
        self._meter: Meter | None = None

    def update(self, progress: Progress) -> None:
        """Show the state after a validation; time left is what the whole budget would take."""
        if self._meter is None:
            self._meter = Meter(progress.maximum, done=progress.update)
        rate, left = self._meter.rate(progress.update), self._meter.left(progress.update)
        facts = (
            f"{rate:.1f} updates/s" if rate else "",
            f"loss {progress.loss:.3f}",
            f"{progress.score_name} {progress.score:.4f} (best {progress.best_score:.4f})",
        )
        self._line.update(
            Step(
                phase(*self._where, self._name),
                progress.update,
                progress.maximum,
                "update",
                facts=tuple(filter(None, facts)),
                left=f"at most {left}" if left else None,
            )
        )

    def done(self, *, updates: int, score: float, seconds: float) -> None:
        """Say how the fit ended."""
        facts = (f"{updates:,} updates", f"best validation NDCG@20 {score:.4f}", duration(seconds))
        self._line.note(Step(phase(*self._where, "trained"), facts=facts).text)


class GenerationLine:
    """What the shards of an iteration tell, on a `ProgressLine`.

    Args:
        rows: source rows of each shard that was missing at the start, by shard index.
        done: shards committed before; shards: all of the plan.
    """

    def __init__(
        self, line: ProgressLine, *, iteration: int, last: int, rows: Mapping[int, int], done: int, shards: int
    ) -> None:
        self._line = line
        self._where = iteration, last
        self._rows = rows
        self._done, self._shards = done, shards
        self._rows_done = 0
        self._totals: dict[str, int] = {}
        self._sources: Meter | None = None
        self._trials: Meter | None = None

    def update(self, shard: int, counts: Mapping[str, int]) -> None:
        """Count a committed shard and show where the phase stands."""
        self._done += 1
        self._rows_done += self._rows.get(shard, 0)
        for name, count in counts.items():
            self._totals[name] = self._totals.get(name, 0) + count
        trials = self._totals.get("trials", 0)
        if self._sources is None or self._trials is None:
            self._sources = Meter(sum(self._rows.values()), done=self._rows_done)
            self._trials = Meter(0, done=trials)
        rate, left = self._trials.rate(trials), self._sources.left(self._rows_done)
        facts = (f"{rate:,.0f} trials/s" if rate else "", self._acceptance())
        what = phase(*self._where, "generating")
        self._line.update(Step(what, self._done, self._shards, "shard", tuple(filter(None, facts)), left))

    def done(self) -> None:
        """Say what this start wrote."""
        kept, trials = self._totals.get("rows_kept", 0), self._totals.get("trials", 0)
        facts = (
            f"{self._done}/{self._shards} shards",
            f"{trials:,} trials left {kept:,} sequences",
            self._acceptance(),
        )
        self._line.note(Step(phase(*self._where, "generated"), facts=facts).text)

    def _acceptance(self) -> str:
        steps = self._totals.get("steps", 0)
        return f"acceptance {100 * self._totals.get('accepted_steps', 0) / steps:.1f} %" if steps else ""
