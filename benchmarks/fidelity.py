"""How fast is the fidelity check, exact and clustered, on catalogues of any size?

    python benchmarks/fidelity.py --items 12000 100000 1000000 --json docs/results/fidelity.json
    python benchmarks/fidelity.py --run runs/toys --items 11924 100000 1000000 --json docs/results/fidelity-trained.json

A check: has a row fewer than tau items that score higher than the best of its own? With `--run` items and queries are
those of a trained model, and a larger catalogue gets jittered copies of the items; without it they are planted so that
`--acceptance` of the rows pass. Acceptance 1 is the whole scan: the best item vouches, so no row can leave early.

A case is one catalogue with one tau; its rows were taken in turn, and medians are quoted. Before the clock starts every
answer is held to a count in float64: ours must agree in every row, rivals but for rows that items within their rounding
decide. In the rows, `us_per_query` is of one check, `step_us_per_query` (ours only) of a generation step, half of whose
rows draw 50 candidates from the catalogue; `false_accept_rate` is the share of rows which pass among those that the
exact check fails, `false_reject_rate` the other way, `false_accepts_per_decision` the share of all rows;
`share_of_peak` compares the multiplications of a whole scan, as many as norms leave to be done, with the fastest matrix
product in single precision that was measured here: a scan in lower precision may do more than all of it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from catalogues import Catalogue, checks, planted, trained
from machine import environment, pin_threads
from rivals import rivals
from torch import Tensor

from rsir_scale.ranking.base import ItemSearch, SearchQuery
from rsir_scale.ranking.build import exact_search
from rsir_scale.ranking.clustered import ClusteredSearch, Semantics, probe_table
from rsir_scale.ranking.clusters import Clusters, make_clusters
from rsir_scale.ranking.compiled import CompiledSearch, PackedTable, instructions, takes
from rsir_scale.ranking.exact import ExactSearch, best_vouchers
from rsir_scale.ranking.lists import FaissLists, ListScan, TorchLists
from rsir_scale.ranking.score import exact_scores

BoolArray = npt.NDArray[np.bool_]
SEMANTICS: tuple[Semantics, ...] = "count", "membership"
TOLERANCE = 1e-5  # of |query| · greatest |item|: what single precision may be wrong by
TUNED = "faiss-flat-tuned", "numpy-scan", "torch-scan"
STEP_CANDIDATES = 50


@dataclass(frozen=True)
class Expected:
    """The right answers, `[B]`: which rows pass, and which do or do not whatever the rounding of a rival."""

    passed: BoolArray
    surely_passed: BoolArray
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[12_000, 100_000])
    parser.add_argument("--run", type=Path, help="take items and queries from this run's theta_0")
    parser.add_argument("--rank-threshold", type=int, nargs="+", default=[20])
    parser.add_argument("--acceptance", type=float, nargs="+", default=[0.4, 1.0], help="of planted queries")
    parser.add_argument("--norm-spread", type=float, nargs="+", default=[0.15], help="of planted log norms")
    parser.add_argument("--batch", type=int, nargs="+", default=[1024])
    parser.add_argument("--nprobe", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--scans", nargs="+", default=["auto"], help="of the clusters: compiled, faiss, torch")
    parser.add_argument("--all-instructions", action="store_true")
    parser.add_argument("--skip", nargs="*", default=[], help="implementations to leave out, by the start of the name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    pin_threads(arguments.threads)
    peak = peak_gflops(arguments.device)
    print(f"fastest product in single precision: {peak:.0f} GFLOP/s")
    rows = [row for case in catalogues(arguments) for row in measure(*case, arguments, peak)]
    if arguments.json:
        described = environment() | {"peak_gflops": round(peak, 1), "device": arguments.device}
        arguments.json.write_text(json.dumps({"environment": described, "rows": rows}, indent=1) + "\n")
    if arguments.figure:
        draw(rows, arguments.figure)


def peak_gflops(device: str) -> float:
    """The fastest of some large float32 products by torch, and by NumPy on a CPU."""
    size = 2048 if device == "cpu" else 8192
    one = torch.randn((size, size), device=device)
    ways: list[Callable[[], object]] = [lambda: one @ one]
    if device == "cpu":
        ways.append(lambda: one.numpy() @ one.numpy())
    return max(2 * size**3 / _timed(way, device) / 1e9 for way in ways for _ in range(4))


def catalogues(arguments: argparse.Namespace) -> list[tuple[Callable[[], Catalogue], int, float | None]]:
    """How to make each case's catalogue, its tau, and the acceptance that it was planted with."""
    made: list[tuple[Callable[[], Catalogue], int, float | None]] = []
    for items in arguments.items:
        for batch in arguments.batch:
            for tau in arguments.rank_threshold:
                if arguments.run:
                    made.append((partial(trained, arguments.run, items=items, batch=batch, seed=0), tau, None))
                    continue
                made += [
                    (
                        partial(planted, items=items, batch=batch, tau=tau, acceptance=share, spread=spread, seed=0),
                        tau,
                        share,
                    )
                    for share in arguments.acceptance
                    for spread in arguments.norm_spread
                ]
    return made


def measure(
    make: Callable[[], Catalogue], tau: int, wanted: float | None, arguments: argparse.Namespace, peak: float
) -> list[dict[str, object]]:
    """Check every contender of one case, then time them in turn."""
    catalogue = make()
    items_VD, query = catalogue.items_VD, catalogue.query
    expected = exact_answers(items_VD, query, tau)
    device = torch.device(arguments.device)
    items_VD = items_VD.to(device)
    query = SearchQuery(**{name: column.to(device) for name, column in vars(query).items()})
    contenders = contend(items_VD, query, tau, arguments)
    for contender in contenders:
        judge(contender, expected)
    for _ in range(arguments.repeats):
        for contender in contenders:
            contender.taken.append(_timed(contender.check, arguments.device))
            if contender.step is not None:
                contender.steps.append(_timed(contender.step, arguments.device))
    passed, batch = expected.passed, len(expected.passed)
    case: dict[str, object] = {
        "case": f"{catalogue.embeddings} {len(items_VD) - 1} tau {tau} batch {batch} {passed.mean():.2f}",
        "embeddings": catalogue.embeddings,
        "threads": arguments.threads,
        "items": len(items_VD) - 1,
        "rank_threshold": tau,
        "batch": batch,
        "acceptance_rate": round(float(passed.mean()), 4),
    }
    if wanted is not None:
        case["wanted_acceptance"] = wanted
    scanned = scanned_share(items_VD, query) if passed.all() else None
    rows = [case | row_of(contender, batch, items_VD, scanned, peak) for contender in contenders]
    show(rows)
    return rows


def contend(items_VD: Tensor, query: SearchQuery, tau: int, arguments: argparse.Namespace) -> list[Contender]:
    """Build everybody who is not skipped."""
    _, target_B, _ = best_vouchers(query, items_VD)
    reached_B = (target_B + _tolerance(items_VD, query)).float()
    skipped = tuple(arguments.skip)
    found = []
    for name, build_s, rival in rivals(items_VD, query.query_BD, reached_B, tau, skipped):
        facts = {"implementation": name, "ours": False, "exact": True, "rival": True, "build_s": round(build_s, 3)}
        found.append(Contender(facts, partial(rival, query.query_BD, reached_B, tau)))
    builders: dict[str, Callable[[], ItemSearch]] = {ExactSearch.name: lambda: ExactSearch(items_VD)}
    if arguments.device == "cpu":
        used = instructions() if arguments.all_instructions else instructions()[:1]
        builders |= {f"exact/{name}": partial(CompiledSearch, items_VD, using=name) for name in used}
    found += [
        _ours(build, query, tau, {"exact": True}) for name, build in builders.items() if not name.startswith(skipped)
    ]
    if arguments.nprobe and not "clustered".startswith(skipped):
        found += clustered(items_VD, query, tau, arguments)
    return found


def clustered(items_VD: Tensor, query: SearchQuery, tau: int, arguments: argparse.Namespace) -> Iterator[Contender]:
    """One scan of the clusters of each kind, with every nprobe and meaning; the scan's memory is theirs together."""
    started = time.perf_counter()
    count = max(1, round(4 * (len(items_VD) - 1) ** 0.5))
    clusters = make_clusters(items_VD, clusters=count, seed=0)
    probing = exact_search(probe_table(clusters, device=items_VD.device))
    cluster_s = time.perf_counter() - started
    for kind in arguments.scans:
        started = time.perf_counter()
        scan = list_scan(kind, items_VD, clusters)
        before_s = cluster_s + time.perf_counter() - started
        for nprobe in arguments.nprobe:
            for semantics in SEMANTICS:
                build = partial(ClusteredSearch, scan, probing, clusters, nprobe=nprobe, semantics=semantics)
                facts = {"exact": False, "nprobe": nprobe, "semantics": semantics, "clusters": count}
                yield _ours(build, query, tau, facts, before_s=before_s)


def list_scan(kind: str, items_VD: Tensor, clusters: Clusters) -> ListScan:
    """The scan of that kind, as `ranking.build` would choose it."""
    if kind == "torch":
        return TorchLists(items_VD, clusters)
    if kind == "compiled" or (kind == "auto" and takes(items_VD)):
        return PackedTable(items_VD, *clusters.lists(items_VD))
    return FaissLists(items_VD, clusters)


def _ours(
    build: Callable[[], ItemSearch], query: SearchQuery, tau: int, facts: dict[str, object], *, before_s: float = 0.0
) -> Contender:
    started = time.perf_counter()
    search = build()
    build_s = before_s + time.perf_counter() - started
    facts = {"implementation": search.name, "ours": True, "rival": False, "build_s": round(build_s, 3)} | facts
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
    return Expected(passed_B.numpy(), passed_B.numpy(), (clearly_B >= tau).numpy())


def judge(contender: Contender, expected: Expected) -> None:
    """Hold the answers to the expected ones, or note by how much they differ."""
    passed, facts = contender.check(), contender.facts
    if facts["exact"]:
        failed = ~expected.passed if facts["ours"] else expected.surely_failed
        wrong = int(((expected.surely_passed & ~passed) | (failed & passed)).sum())
        if wrong:
            raise SystemExit(f"{facts['implementation']} is wrong in {wrong} of {len(passed)} rows: nothing measured")
        return
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


def row_of(contender: Contender, batch: int, items_VD: Tensor, scanned: float | None, peak: float) -> dict[str, object]:
    """The figures of one contender."""
    seconds = statistics.median(contender.taken)
    row = dict(contender.facts) | {"us_per_query": round(1e6 * seconds / batch, 3)}
    if contender.steps:
        row["step_us_per_query"] = round(1e6 * statistics.median(contender.steps) / batch, 3)
    done = scanned if row["ours"] else 1.0
    if done is not None and row["exact"]:
        gflops = 2 * batch * (len(items_VD) - 1) * items_VD.shape[1] * done / seconds / 1e9
        row |= {"gflops": round(gflops, 1), "share_of_peak": round(gflops / peak, 3)}
    return row


def show(rows: list[dict[str, object]]) -> None:
    """Print a case: each implementation, and how many times the best tuned scan it is."""
    print(f"\n{rows[0]['case']}")
    tuned = min((float(str(row["us_per_query"])) for row in rows if row["implementation"] in TUNED), default=np.nan)
    for row in rows:
        name = str(row["implementation"]) + (f" {row['nprobe']} {row['semantics']}" if "nprobe" in row else "")
        us = float(str(row["us_per_query"]))
        extra = "  ".join(
            f"{key} {row[key]}"
            for key in ("step_us_per_query", "share_of_peak", "false_accept_rate", "false_reject_rate", "build_s")
            if key in row
        )
        print(f"  {name:<40} {us:10.2f} us/query  {tuned / us:6.2f}x the best tuned scan  {extra}", flush=True)


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Microseconds a query against items, one panel for each kind of case, one line for each implementation."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--figure needs matplotlib: pip install matplotlib") from None

    panels: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.get("semantics", "count") == "count":
            kind = f"{row['embeddings']}, tau {row['rank_threshold']}, batch {row['batch']}"
            kind += f", acceptance {row['wanted_acceptance']}" if "wanted_acceptance" in row else ""
            name = f"{row['implementation']}" + (f", nprobe {row['nprobe']}" if "nprobe" in row else "")
            line = panels.setdefault(kind, {}).setdefault(name, {})
            line[int(str(row["items"]))] = float(str(row["us_per_query"]))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(8 * len(panels), 5), squeeze=False, sharey=True)
    for panel, (kind, lines) in zip(axes[0], panels.items(), strict=True):
        for name, points in lines.items():
            panel.loglog(sorted(points), [points[items] for items in sorted(points)], marker="o", label=name)
        panel.set_title(kind)
        panel.set_xlabel("items")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    axes[0][0].set_ylabel(f"microseconds a check, threads: {rows[0]['threads']}")
    figure.tight_layout()
    figure.savefig(path)


def _timed(call: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
