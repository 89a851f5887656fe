"""Who is measured on a case of `fidelity.py`, and the right answers that everybody is held to before the clock starts.

Comes in: an item table, checks to make on it and a threshold. Goes out: contenders, built, each with the seconds that
took. Ours must agree in every row with a count in float64 that shares no code with them but the score that decides;
rivals, in single precision, may differ in rows that items within their rounding decide. Clustered ones may err: how
often is what their rows say.

Shapes: B rows, V items.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.speed.catalogues import checks
from benchmarks.speed.rivals import left_out, rivals
from rsir_scale.augmenters.rsir.rules import cluster_count
from rsir_scale.config.settings import FidelityConfig
from rsir_scale.ranking.answer import best_vouchers
from rsir_scale.ranking.base import ItemSearch, SearchQuery
from rsir_scale.ranking.build import exact_search, list_scan
from rsir_scale.ranking.clustered import ClusteredSearch, Semantics, probe_table
from rsir_scale.ranking.clusters import make_clusters
from rsir_scale.ranking.compiled import CompiledSearch, instructions
from rsir_scale.ranking.exact import ExactSearch
from rsir_scale.ranking.score import exact_scores

BoolArray = npt.NDArray[np.bool_]
SEMANTICS: tuple[Semantics, ...] = "count", "membership"
TOLERANCE = 1e-5  # of |query| · greatest |item|: what single precision may be wrong by
STEP_CANDIDATES = 50


@dataclass(frozen=True)
class Expected:
    """The right answers, `[B]`: which rows pass, and which fail whatever the rounding of a rival."""

    passed: BoolArray
    surely_failed: BoolArray


@dataclass
class Contender:
    """One implementation on one case.

    Attributes:
        facts: what its row says beside the figures.
        check: answers which rows pass.
        step: answers a generation step, where it can.
    """

    facts: dict[str, object]
    check: Callable[[], BoolArray]
    step: Callable[[], object] | None = None
    taken: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)


def contend(items_VD: Tensor, query: SearchQuery, tau: int, arguments: argparse.Namespace) -> list[Contender]:
    """Build everybody who is not skipped."""
    _, target_B, _ = best_vouchers(query, items_VD)
    reached_B = (target_B + _tolerance(items_VD, query)).float()
    skipped = tuple(arguments.skip)
    found = []
    for rival in rivals(items_VD, query.query_BD, reached_B, tau, skipped):
        facts = {"implementation": rival.name, "ours": False, "exact": True, "rival": rival.name, **rival.facts}
        found.append(Contender(facts, partial(rival.check, query.query_BD, reached_B, tau)))
    builders: dict[str, Callable[[], ItemSearch]] = {ExactSearch.name: lambda: ExactSearch(items_VD)}
    if arguments.device == "cpu":
        used = instructions() if arguments.all_instructions else instructions()[:1]
        builders |= {f"exact/{name}": partial(CompiledSearch, items_VD, using=name) for name in used}
    found += [
        _ours(build, query, tau, {"exact": True}) for name, build in builders.items() if not left_out(name, skipped)
    ]
    if arguments.nprobe and not left_out("clustered", skipped):
        found += clustered(items_VD, query, tau, arguments)
    return found


def clustered(items_VD: Tensor, query: SearchQuery, tau: int, arguments: argparse.Namespace) -> Iterator[Contender]:
    """One scan of the clusters of each kind, with every nprobe and meaning; the scan's memory is theirs together."""
    started = time.perf_counter()
    count = cluster_count(FidelityConfig(), len(items_VD) - 1)
    clusters = make_clusters(items_VD, clusters=count, seed=0)
    probing = exact_search(probe_table(clusters, device=items_VD.device))
    cluster_s = time.perf_counter() - started
    for kind in arguments.scans:
        started = time.perf_counter()
        scan = list_scan(items_VD, clusters, kind)
        before_s = cluster_s + time.perf_counter() - started
        for nprobe in arguments.nprobe:
            for semantics in SEMANTICS:
                build = partial(ClusteredSearch, scan, probing, clusters, nprobe=nprobe, semantics=semantics)
                facts = {"exact": False, "nprobe": nprobe, "semantics": semantics, "clusters": count}
                yield _ours(build, query, tau, facts, before_s=before_s)


def _ours(
    build: Callable[[], ItemSearch], query: SearchQuery, tau: int, facts: dict[str, object], *, before_s: float = 0.0
) -> Contender:
    started = time.perf_counter()
    search = build()
    build_s = before_s + time.perf_counter() - started
    facts = {"implementation": search.name, "ours": True, "build_s": round(build_s, 3)} | facts
    step = checks(query.query_BD, query.own_BR, exploring=True)
    return Contender(
        facts,
        lambda: search.search(query, rank_threshold=tau, top_candidates=1).passed_B.cpu().numpy(),
        lambda: search.search(step, rank_threshold=tau, top_candidates=STEP_CANDIDATES),
    )


def exact_answers(items_VD: Tensor, query: SearchQuery, tau: int) -> Expected:
    """Better items counted by a float64 product, and by `ranking.score` where that comes within 1e-9 of the target."""
    _, target_B, _ = best_vouchers(query, items_VD)
    query_BD = query.query_BD.double()
    better_B, clearly_B = torch.zeros((2, len(query_BD)), dtype=torch.int64)
    tolerance_B1 = _tolerance(items_VD, query)[:, None]
    near_B1 = tolerance_B1 * (1e-9 / TOLERANCE)
    for begin in range(1, len(items_VD), 8192):
        over_BV = query_BD @ items_VD[begin : begin + 8192].double().T - target_B[:, None]
        better_B += (over_BV > near_B1).sum(1)
        # Rivals are asked for a tolerance more than the target, and may be wrong by another.
        clearly_B += (over_BV > 2 * tolerance_B1).sum(1)
        row_N, column_N = (over_BV.abs() <= near_B1).nonzero(as_tuple=True)
        close_N = exact_scores(query.query_BD[row_N], items_VD[begin + column_N]) > target_B[row_N]
        better_B.index_add_(0, row_N, close_N.long())
    passed_B = query.vouching_BR.any(1) & (better_B < tau)
    return Expected(passed_B.numpy(), (clearly_B >= tau).numpy())


def judge(contender: Contender, expected: Expected) -> None:
    """Hold the answers to the expected ones, or note by how much they differ."""
    passed, facts = contender.check(), contender.facts
    if facts["exact"]:
        failed = ~expected.passed if facts["ours"] else expected.surely_failed
        wrong = int(((expected.passed & ~passed) | (failed & passed)).sum())
        if wrong:
            raise SystemExit(f"{facts['implementation']} is wrong in {wrong} of {len(passed)} rows: nothing measured")
    accepted, rejected = passed & ~expected.passed, ~passed & expected.passed
    facts["false_accept_rate"] = round(float(accepted.sum() / max(1, (~expected.passed).sum())), 4)
    facts["false_reject_rate"] = round(float(rejected.sum() / max(1, expected.passed.sum())), 4)
    facts["false_accepts_per_decision"] = round(float(accepted.mean()), 4)


def _tolerance(items_VD: Tensor, query: SearchQuery) -> Tensor:
    """Float64 `[B]`."""
    norm_B: Tensor = query.query_BD.double().norm(dim=1)
    return norm_B * (TOLERANCE * float(items_VD[1:].norm(dim=1).max()))


def scanned_share(items_VD: Tensor, query: SearchQuery) -> float:
    """The share of (row, item) pairs that a scan by falling norm cannot leave out."""
    target_B = best_vouchers(query, items_VD)[1]
    least_B = (target_B / query.query_BD.double().norm(dim=1)).float().cpu().sort().values
    norm_V = items_VD[1:].norm(dim=1).cpu()
    return float((torch.searchsorted(least_B, norm_V).double() / len(least_B)).mean())
