"""Exact or clustered? Both are timed on a sample of the real work; the exact check gives way for a good reason only.

Comes in: a model, some of the sources and both searches, the clustered one still to be made. Goes out: a verdict with
the figures that it rests on. Exact it is while the whole generation stays within a minute an actor, and after that
unless clusters make it at least twice as fast and let through few of the rows that the exact check fails.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rsir_scale.augmenters.quarantine import Rows, survive
from rsir_scale.augmenters.rsir.decode import decode
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.tally import Tally
from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import ResumableError, RsirError, reason_of
from rsir_scale.models.base import Backbone
from rsir_scale.ranking.base import ItemSearch, SearchQuery, SearchResult

SOON_ENOUGH_S = 60.0
LEAST_GAIN = 2.0
MOST_FALSE_ACCEPTS = 0.05
_QUERIES_KEPT = 8
Mode = Literal["exact", "clustered", "random"]


@dataclass(frozen=True)
class Verdict:
    """What was chosen, why, and the measurements: seconds projected for one actor, and rates of the sample."""

    mode: Mode
    why: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class _Listening:
    """A search that keeps the first questions it was asked, with answers, and adds up its time."""

    inner: ItemSearch
    name: str = "listening"
    seconds: float = 0.0
    heard: list[tuple[SearchQuery, SearchResult]] = field(default_factory=list)
    heard_s: float = 0.0

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        started = time.perf_counter()
        result = self.inner.search(query, rank_threshold=rank_threshold, top_candidates=top_candidates)
        took = time.perf_counter() - started
        self.seconds += took
        if len(self.heard) < _QUERIES_KEPT:
            self.heard.append((query, result))
            self.heard_s += took
        return result


def calibrate(
    backbone: Backbone,
    sources: Sequences,
    rules: Rules,
    *,
    identity: tuple[int, int],
    exact: ItemSearch,
    clustered: Callable[[], ItemSearch],
    sources_per_actor: float,
) -> Verdict:
    """Choose between the two searches.

    Args:
        sources: the sample, cut as the reading wants, of 2 items and more.
        identity: (seed, iteration), as `decode` takes it.
        clustered: makes clusters and the search over them; called only where exact would take long.
        sources_per_actor: how many sources one actor will have.
    """
    if not len(sources) or rules.rank_threshold is None:
        return Verdict("exact", "there is nothing to check")
    listening = _Listening(exact)
    started = time.perf_counter()
    try:
        decode(backbone, listening, sources, rules, identity=identity)
    except RsirError:
        raise
    except Exception as error:  # noqa: BLE001  # generation finds the source, and sets it aside
        return Verdict("exact", f"a source of the sample fails, so that nothing was timed ({reason_of(error)})")
    sample_s = time.perf_counter() - started
    scale = sources_per_actor / len(sources)
    figures = {"exact_s": sample_s * scale, "exact_search_share": listening.seconds / sample_s}
    if figures["exact_s"] <= SOON_ENOUGH_S:
        return Verdict("exact", f"exact takes about {figures['exact_s']:.0f} s an actor", _rounded(figures))
    started = time.perf_counter()
    approximate = clustered()
    figures["build_s"] = time.perf_counter() - started
    figures |= _compare(approximate, listening, rules, rules.rank_threshold)
    search_s = listening.seconds * figures["clustered_over_exact"]
    figures["clustered_s"] = (sample_s - listening.seconds + search_s) * scale + figures["build_s"]
    return _verdict(figures)


def coin(
    backbone: Backbone, sources: Sequences, rules: Rules, *, identity: tuple[int, int], search: ItemSearch
) -> Verdict:
    """Measure how often the check passes a step, for a coin that passes as many.

    A source of the sample that fails is left out. Whether too many fail is decided in their shards.

    Args:
        sources: the sample, as `calibrate` takes it.
        rules: those of the check.
        search: exact.

    Raises:
        ResumableError: every source of the sample fails, so that there is nothing to measure.
    """

    def tallied(rows: Rows) -> Tally:
        return decode(backbone, search, sources.select(rows), rules, identity=identity).tally

    survived = survive(tallied, len(sources), max_rate=1.0)
    failed, tally = list(survived.failed.values()), survived.result
    if failed and not len(survived.rows):
        raise ResumableError(
            f"all {len(failed)} sources of the sample that fidelity.mode=random measures its coin on fail; the first "
            f"reason: {failed[0]}: mend its cause, and run the same command again"
        )
    rate = tally.accepted_steps / max(1, tally.steps)
    said = f"a coin passes {rate:.1%} of the steps, as the check with tau {rules.rank_threshold} did of {tally.steps}"
    if failed:
        said += f"; {len(failed)} of {len(sources)} sampled sources failed and were left out (the first: {failed[0]})"
    return Verdict("random", said, {"acceptance": rate})


def _compare(approximate: ItemSearch, listening: _Listening, rules: Rules, threshold: int) -> dict[str, float]:
    """Ask the kept questions again: the time against the exact one's, and the share of failed rows that now pass."""
    failed = wrong = 0
    started = time.perf_counter()
    answers = [
        approximate.search(query, rank_threshold=threshold, top_candidates=rules.top_candidates)
        for query, _ in listening.heard
    ]
    taken = time.perf_counter() - started
    for (query, exact), answer in zip(listening.heard, answers, strict=True):
        failed_B = query.checked_B & ~exact.passed_B
        failed += int(failed_B.sum())
        wrong += int((failed_B & answer.passed_B).sum())
    return {"clustered_over_exact": taken / listening.heard_s, "false_accept_rate": wrong / max(1, failed)}


def _verdict(figures: dict[str, float]) -> Verdict:
    gain, wrong = figures["exact_s"] / figures["clustered_s"], figures["false_accept_rate"]
    said = (
        f"exact takes about {figures['exact_s']:.0f} s an actor, clustered {figures['clustered_s']:.0f} s, and passes "
        f"{wrong:.1%} of the rows that exact fails"
    )
    mode: Mode = "clustered" if gain >= LEAST_GAIN and wrong <= MOST_FALSE_ACCEPTS else "exact"
    return Verdict(mode, said, _rounded(figures))


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}
