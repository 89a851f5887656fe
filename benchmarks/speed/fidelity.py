"""How fast is the fidelity check, exact and clustered, on catalogues of any size?

    python -m benchmarks.speed.fidelity --items 12000 100000 1000000 --json docs/results/fidelity.json
    python -m benchmarks.speed.fidelity --run runs/toys --items 11924 100000 1000000 --acceptance natural .4 1 \
        --json docs/results/fidelity-trained.json

A check: has a row fewer than tau items that score higher than the best of its own? With `--run` items and queries are
those of a trained model, a larger catalogue gets jittered copies of the items, and `--acceptance` pulls queries towards
their own items until that share of the rows passes; `natural`, the default, leaves them alone, and so does a share
below the natural one. Without `--run` catalogue and queries are planted so that the share passes. Acceptance 1 is the
whole scan: the best item vouches, so no row can leave early. `catalogues.py` says what is real and what is planted.

A case is one catalogue with one tau; every contender is timed once a round, in turn, and medians over the rounds are
quoted (`round_spread`: the slowest round over the fastest, everybody's times added up: how calm the machine was;
`times_tuned`: the median over the rounds of how many times the best tuned full scan of the same round it is).
Before the clock starts every answer is held to a count in float64: ours must agree in every row, rivals but for rows
that items within their rounding decide. In the rows, `us_per_query` is of one check, `step_us_per_query` (ours only) of
a generation step, half of whose rows draw 50 candidates from the catalogue; `false_accept_rate` is the share of rows
which pass among those that the exact check fails, `false_reject_rate` the other way, `false_accepts_per_decision` the
share of all rows; `share_of_peak` compares the multiplications of a whole scan, as many as norms leave to be done, with
the fastest matrix product in single precision that was measured here: a scan in lower precision may do more than all of
it. `norm_spread` is the deviation of the items' log norms; `settings` are what a rival was tuned to.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.record.machine import environment, pin_threads
from benchmarks.speed.catalogues import Catalogue, planted, trained
from benchmarks.speed.contenders import BoolArray, Contender, contend, exact_answers, judge, scanned_share
from rsir_scale.ranking.base import SearchQuery

TUNED = "faiss-flat-tuned", "numpy-scan", "torch-scan"
CALM = 1.2
TYPICAL = 0.2, 0.7  # acceptance of trained models
WRONG = "false_accept_rate", "false_accepts_per_decision", "false_reject_rate"
SHOWN = (
    "step_us_per_query",
    "share_of_peak",
    *WRONG,
    "build_s",
    "settings",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[12_000, 100_000])
    parser.add_argument("--run", type=Path, help="take items and queries from this run's theta_0")
    parser.add_argument("--rank-threshold", type=int, nargs="+", default=[20])
    parser.add_argument(
        "--acceptance", type=share, nargs="+", help="shares, or natural (default: .4 1, with --run natural)"
    )
    parser.add_argument("--norm-spread", type=float, nargs="+", default=[0.15], help="of planted log norms")
    parser.add_argument("--jitter", type=float, default=0.3, help="of copies of trained items, in their lengths")
    parser.add_argument("--batch", type=int, nargs="+", default=[1024])
    parser.add_argument("--nprobe", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--scans", nargs="+", default=["auto"], help="of the clusters: compiled, faiss, torch")
    parser.add_argument("--all-instructions", action="store_true")
    parser.add_argument("--skip", nargs="*", default=[], help="implementations to leave out, by name or its first part")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    arguments.acceptance = arguments.acceptance or ([None] if arguments.run else [0.4, 1.0])
    if not arguments.run and None in arguments.acceptance:
        parser.error("--acceptance natural needs --run: planted queries have none of their own")
    pin_threads(arguments.threads)
    peak = peak_gflops(arguments.device)
    print(f"fastest product in single precision: {peak:.0f} GFLOP/s")
    rows = [row for case in cases(arguments) for row in measure(*case, arguments, peak)]
    note_missing(rows)
    if arguments.json:
        described = environment() | {"peak_gflops": round(peak, 1), "device": arguments.device}
        arguments.json.write_text(json.dumps({"environment": described, "rows": rows}, indent=1) + "\n")
    if arguments.figure:
        draw(rows, arguments.figure)


def share(text: str) -> float | None:
    """An acceptance of the command line; None is the natural one."""
    return None if text == "natural" else float(text)


def peak_gflops(device: str) -> float:
    """The fastest of some large float32 products by torch, and by NumPy on a CPU."""
    size = 2048 if device == "cpu" else 8192
    one = torch.randn((size, size), device=device)
    ways: list[Callable[[], object]] = [lambda: one @ one]
    if device == "cpu":
        ways.append(lambda: one.numpy() @ one.numpy())
    return max(2 * size**3 / _timed(way, device) / 1e9 for way in ways for _ in range(4))


def cases(arguments: argparse.Namespace) -> list[tuple[Callable[[], Catalogue], int, float | None]]:
    """How to make each case's catalogue, its tau, and the acceptance that is wanted of it."""
    sizes = product(arguments.items, arguments.batch, arguments.rank_threshold, arguments.acceptance)
    made: list[tuple[Callable[[], Catalogue], int, float | None]] = []
    for items, batch, tau, wanted in sizes:
        facts = {"items": items, "batch": batch, "tau": tau, "acceptance": wanted, "seed": 0}
        ways = (
            [partial(trained, arguments.run, jitter=arguments.jitter, **facts)]
            if arguments.run
            else [partial(planted, spread=spread, **facts) for spread in arguments.norm_spread]
        )
        made += [(way, tau, wanted) for way in ways]
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
    spread = take_turns(contenders, arguments.repeats, arguments.device)
    case = case_of(catalogue, tau, wanted, expected.passed) | {"threads": arguments.threads, "round_spread": spread}
    scanned = scanned_share(items_VD, query) if expected.passed.all() else None
    tuned = best_tuned(contenders)
    rows = [case | row_of(one, tuned, len(query.query_BD), items_VD, scanned, peak) for one in contenders]
    show(rows)
    return rows


def take_turns(contenders: list[Contender], rounds: int, device: str) -> float:
    """Time every contender once a round, and say by how much the slowest round took longer than the fastest."""
    for _ in range(rounds):
        for contender in contenders:
            contender.taken.append(_timed(contender.check, device))
            if contender.step is not None:
                contender.steps.append(_timed(contender.step, device))
    pooled: list[float] = [sum(taken) for taken in zip(*(contender.taken for contender in contenders), strict=True)]
    return round(max(pooled) / min(pooled), 3)


def case_of(catalogue: Catalogue, tau: int, wanted: float | None, passed: BoolArray) -> dict[str, object]:
    """What all rows of a case say; rivals are compared within one `case`."""
    items, batch, share_passed = len(catalogue.items_VD) - 1, len(passed), float(passed.mean())
    norm_spread = float(catalogue.items_VD[1:].norm(dim=1).log().std())
    asked = "natural" if wanted is None else f"wanted {wanted:g}"
    copies = "" if catalogue.jitter is None else f" jitter {catalogue.jitter:g}"
    told: dict[str, object] = {
        "case": f"{catalogue.embeddings} {items}{copies} norms {norm_spread:.2f} tau {tau} batch {batch} "
        f"{asked} passing {share_passed:.2f}",
        "embeddings": catalogue.embeddings,
        "items": items,
        "rank_threshold": tau,
        "batch": batch,
        "acceptance_rate": round(share_passed, 4),
        "norm_spread": round(norm_spread, 3),
    }
    optional = {"wanted_acceptance": wanted, "jitter": catalogue.jitter, "pull": catalogue.pull}
    return told | {name: value for name, value in optional.items() if value is not None}


def best_tuned(contenders: list[Contender]) -> Contender | None:
    """The fastest tuned full scan, if one takes part."""
    tuned = [contender for contender in contenders if contender.facts["implementation"] in TUNED]
    return min(tuned, key=lambda contender: statistics.median(contender.taken), default=None)


def row_of(
    contender: Contender, tuned: Contender | None, batch: int, items_VD: Tensor, scanned: float | None, peak: float
) -> dict[str, object]:
    """The figures of one contender."""
    seconds = statistics.median(contender.taken)
    row = dict(contender.facts) | {"us_per_query": round(1e6 * seconds / batch, 3)}
    if tuned is not None:
        ratios = (theirs / own for theirs, own in zip(tuned.taken, contender.taken, strict=True))
        row["times_tuned"] = round(statistics.median(ratios), 2)
    if contender.steps:
        row["step_us_per_query"] = round(1e6 * statistics.median(contender.steps) / batch, 3)
    done = scanned if row["ours"] else 1.0  # of a whole scan
    if done is not None and row["exact"]:
        gflops = 2 * batch * (len(items_VD) - 1) * items_VD.shape[1] * done / seconds / 1e9
        row |= {"gflops": round(gflops, 1), "share_of_peak": round(gflops / peak, 3)}
    return row


def show(rows: list[dict[str, object]]) -> None:
    """Print a case: each implementation, and how many times the best tuned scan it is."""
    print(f"\n{rows[0]['case']}  (round spread {rows[0]['round_spread']})")
    if float(str(rows[0]["round_spread"])) > CALM:
        print("note: rounds differ by more than the machine's own noise; other work is on these cores")
    for row in rows:
        name = str(row["implementation"]) + (f" {row['nprobe']} {row['semantics']}" if "nprobe" in row else "")
        us = float(str(row["us_per_query"]))
        times = f"{row['times_tuned']:6.2f}x the best tuned scan" if "times_tuned" in row else ""
        told = (key for key in SHOWN if key in row and not (row["exact"] and key in WRONG))
        print(
            f"  {name:<40} {us:10.2f} us/query  {times}  " + "  ".join(f"{key} {row[key]}" for key in told), flush=True
        )


def note_missing(rows: list[dict[str, object]]) -> None:
    """Say of which sizes there is no case with the acceptance that trained models have."""
    low, high = TYPICAL
    had = {row["items"] for row in rows if low <= float(str(row["acceptance_rate"])) <= high}
    for items in {row["items"]: None for row in rows if row["items"] not in had}:
        print(f"note: no case of {items} items has an acceptance of {low} to {high}: name another --acceptance")


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Microseconds a query against items, one panel for each kind of case, one line for each implementation."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--figure needs matplotlib: pip install matplotlib") from None

    panels: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.get("semantics", "count") == "count":
            # Where the natural acceptance is above the wanted one nothing is pulled: it belongs to the same line.
            kind = (
                f"{str(row['embeddings']).removesuffix('-pulled')}, tau {row['rank_threshold']}, batch {row['batch']}"
            )
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
