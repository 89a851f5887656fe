"""The algorithm, written out: trial after trial, item after item, as the paper and the authors' code say.

This is the reference that the decoder is compared with. It knows no batch, no tensor and no early exit, and of the
engine it uses only what both must share: the rules and the draws. Scores are float64 inner products. Read it beside
Algorithm 1 (Sec. 3.2) for `check_before_choice=False`, and beside the released code for True.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.randomness import Purpose, uniforms

Vector = npt.NDArray[np.float64]
QueryOf = Callable[[list[int]], Vector]


@dataclass
class Trial:
    """What one trial left: the evidence lists hold one entry for each generated item.

    `vouchers` are the remaining items that score best: where several tie, any of them vouches. 0 where nothing did.
    """

    context: list[int]
    start: int
    stop: str = ""
    better: list[int] = field(default_factory=list)
    vouchers: list[set[int]] = field(default_factory=list)
    explored: list[bool] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, *, source: list[int], accepted: bool) -> None:
        """Count one check under what the context's last item is."""
        names = ["steps"]
        last = self.context[-1]
        if len(self.context) > self.start:
            own = last in source
            names.append("own" if own else "other")
            if own and self.context == source[: len(self.context)]:
                names.append("true")
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
            if accepted:
                self.counts["accepted " + name] = self.counts.get("accepted " + name, 0) + 1


class Literal:
    """All trials of a source under one model and one set of rules."""

    def __init__(self, items: Vector, query_of: QueryOf, rules: Rules, identity: tuple[int, int]) -> None:
        self.items = items
        self.query_of = query_of
        self.rules = rules
        self.identity = identity

    def trial(self, source: list[int], sequence_id: int, trial: int) -> Trial:
        """Run one trial from its start to its end."""

        def draw(step: int, purpose: Purpose) -> float:
            return float(uniforms(*self.identity, sequence_id, trial, step, purpose))

        start = 1
        if self.rules.start_at_prefix:
            start = 1 + int(draw(0, Purpose.START) * (min(len(source), self.rules.max_length or len(source)) - 1))
        run = self._released if self.rules.check_before_choice else self._paper
        return run(Trial(source[:start], start), source, draw)

    def _paper(self, trial: Trial, source: list[int], draw: Callable[[int, Purpose], float]) -> Trial:
        while True:
            spent = trial.context[trial.start :] if self.rules.start_vouches else trial.context
            remaining = {item for item in source if item not in spent}
            if not remaining:
                return _ended(trial, "COMPLETE")
            if len(trial.context) >= self._limit(source):
                return _ended(trial, "LENGTH")
            explore = draw(len(trial.context), Purpose.POOL) >= self.rules.exploit_prob
            chosen = self._choose(trial.context, source, explore, draw(len(trial.context), Purpose.ITEM))
            if chosen is None:
                return _ended(trial, "EXHAUSTED")
            if not self.rules.own_vouches_for_itself:
                remaining.discard(chosen)
            trial.context.append(chosen)
            accepted, vouchers, better = self._check(trial.context, remaining)
            accepted = self._by_coin(accepted, draw(len(trial.context), Purpose.COIN))
            trial.count(source=source, accepted=accepted)
            if not accepted:
                trial.context.pop()
                return _ended(trial, "FIDELITY" if remaining else "COMPLETE")
            _note(trial, vouchers, better, explore)

    def _released(self, trial: Trial, source: list[int], draw: Callable[[int, Purpose], float]) -> Trial:
        while True:
            remaining = {item for item in source if item not in trial.context}
            if not remaining:
                return _ended(trial, "COMPLETE")
            if len(trial.context) >= self._limit(source):
                return _ended(trial, "LENGTH")
            accepted, vouchers, better = self._check(trial.context, remaining)
            accepted = self._by_coin(accepted, draw(len(trial.context), Purpose.COIN))
            trial.count(source=source, accepted=accepted)
            if not accepted:
                return _ended(trial, "FIDELITY")
            explore = draw(len(trial.context), Purpose.POOL) >= self.rules.exploit_prob
            chosen = self._choose(trial.context, source, explore, draw(len(trial.context), Purpose.ITEM))
            if chosen is None:
                return _ended(trial, "EXHAUSTED")
            trial.context.append(chosen)
            _note(trial, vouchers, better, explore)

    def _by_coin(self, accepted: bool, uniform: float) -> bool:
        return accepted if self.rules.acceptance is None else uniform < self.rules.acceptance

    def _limit(self, source: list[int]) -> int:
        return len(source) if self.rules.max_length is None else self.rules.max_length

    def _scores(self, context: list[int]) -> Vector:
        """Scores of items 1..V, at positions 0..V-1."""
        return self.items[1:] @ self.query_of(context)

    def _check(self, context: list[int], remaining: set[int]) -> tuple[bool, set[int], int]:
        """Whether a remaining item ranks within the threshold; the best of them; how many items score higher."""
        if self.rules.rank_threshold is None:
            return True, {0}, -1
        if not remaining:
            return False, {0}, len(self.items) - 1
        scores = self._scores(context)
        best = max(scores[item - 1] for item in remaining)
        better = sum(1 for score in scores if score > best)
        rank = 1 + better
        return rank <= self.rules.rank_threshold, {item for item in remaining if scores[item - 1] == best}, better

    def _choose(self, context: list[int], source: list[int], explore: bool, uniform: float) -> int | None:
        scores = self._scores(context)
        pool = set(range(1, len(self.items))) if explore else set(source)
        if not self.rules.allow_repeats:
            pool -= set(context)
        ordered = sorted(pool, key=lambda item: (-scores[item - 1], item))
        if not ordered:
            return None
        if self.rules.greedy:
            return ordered[0]
        ordered = ordered[: self.rules.top_candidates]
        highest = scores[ordered[0] - 1]
        weights = [float(np.exp((scores[item - 1] - highest) / self.rules.temperature)) for item in ordered]
        left = uniform * sum(weights)
        for item, weight in zip(ordered, weights, strict=True):
            if left < weight:
                return item
            left -= weight
        return ordered[-1]


def _note(trial: Trial, vouchers: set[int], better: int, explore: bool) -> None:
    trial.vouchers.append(vouchers)
    trial.better.append(better)
    trial.explored.append(explore)


def _ended(trial: Trial, stop: str) -> Trial:
    trial.stop = stop
    return trial
