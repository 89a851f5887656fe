"""Can a weaker model teach a stronger one? Each size of model as teacher of each, as in the paper's Fig. 4.

    python -m benchmarks.studies.weak_to_strong run    --config configs/toys.yaml --out runs/teachers-toys
    python -m benchmarks.studies.weak_to_strong report --out runs/teachers-toys \\
        --json docs/results/teachers-toys.json --ranks docs/results/ranks/teachers-toys.parquet \\
        --figure docs/results/teachers-toys.png

A size is WIDTHxBLOCKS; the feed-forward layer is twice as wide as the model. For each seed a base of each size is
trained once; then each student's theta_1 learns from what each teacher's theta_0 wrote (`generation.teacher`; where
teacher and student are one, the student's own), from the student's theta_0 and with equal budgets. A cell is theta_1
against theta_0 of the student, over seeds and users. Each run is an ordinary run directory, so all of it resumes after
any stop; `report` keeps the ranks of finished pairs, as in `strong_gain.py`.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.record.result_file import Row, write_rows
from benchmarks.studies.kept_ranks import BASE, Key, Ranks, gains, keep, ranks_at
from benchmarks.studies.paired_gain import is_done, run_arm
from rsir_scale.storage.opening import open_store

TEACHES = "teaches"


def main() -> None:
    """Run the grid or report on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make the runs that are missing")
    run.add_argument("--config", required=True)
    run.add_argument("--sizes", nargs="+", default=["16x1", "64x2", "128x2"], metavar="WIDTHxBLOCKS")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.add_argument("--set", action="append", default=[], dest="overrides")
    run.add_argument("--out", type=Path, required=True)
    report = verbs.add_parser("report", help="compare the runs that are there")
    report.add_argument("--out", type=Path, required=True)
    report.add_argument("--ranks", type=Path, required=True, help="what the study keeps when its runs are gone")
    report.add_argument("--json", type=Path, required=True)
    report.add_argument("--figure", type=Path, help="heat map of one metric")
    report.add_argument("--metric", default="NDCG@10", help="of the heat map, on test")
    arguments = parser.parse_args()
    if arguments.verb == "run":
        torch.set_num_threads(1)
        for seed in arguments.seeds:
            run_grid(arguments, seed)
        return
    rows = grid_rows(keep(arguments.ranks, finished(arguments.out)))
    write_rows(arguments.json, rows)
    _print(rows)
    if arguments.figure:
        draw(rows, arguments.metric, arguments.figure)


def run_grid(arguments: argparse.Namespace, seed: int) -> None:
    """Make or finish the bases of a seed, and each pair of teacher and student."""
    for size in arguments.sizes:
        overrides = [*arguments.overrides, *size_settings(size), "loop.iterations=0"]
        run_arm(arguments.config, overrides, f"{BASE}-{size}", seed, arguments.out)
    for teacher, student in product(arguments.sizes, arguments.sizes):
        base = (arguments.out / f"{BASE}-{teacher}-seed{seed}").resolve()
        taught = [] if teacher == student else [f"generation.teacher={base}@0"]
        overrides = [*arguments.overrides, *size_settings(student), "loop.iterations=1", *taught]
        run_arm(arguments.config, overrides, f"{teacher}-{TEACHES}-{student}", seed, arguments.out)


def size_settings(size: str) -> list[str]:
    """The overrides of a size. Raises SystemExit: it is no WIDTHxBLOCKS."""
    width, _, blocks = size.partition("x")
    if not (width.isdigit() and blocks.isdigit()):
        raise SystemExit(f"--sizes {size}: write WIDTHxBLOCKS, such as 64x2")
    return [f"model.width={width}", f"model.blocks={blocks}", f"model.feed_forward={2 * int(width)}"]


def finished(out: Path) -> dict[Key, Ranks]:
    """The ranks of theta_0 and theta_1 of every finished pair."""
    found: dict[Key, Ranks] = {}
    for folder in sorted(out.glob(f"*-{TEACHES}-*-seed*")):
        pair, _, seed = folder.name.rpartition("-seed")
        if is_done(open_store(folder)):
            found |= {(pair, int(seed), iteration): ranks_at(folder, iteration) for iteration in (0, 1)}
    return found


def grid_rows(kept: dict[Key, Ranks]) -> list[Row]:
    """One row for each pair, split and metric."""
    rows = []
    for row in gains(kept):
        teacher, _, student = row["arm"].partition(f"-{TEACHES}-")
        rows.append({"teacher": teacher, "student": student} | row)
    return rows


def _print(rows: list[Row]) -> None:
    for row in rows:
        interval = f"[{row['low']:+.1%}, {row['high']:+.1%}]"
        print(
            f"{row['teacher']:>8} teaches {row['student']:>8} {row['split']:>10} {row['metric']:>9} "
            f"{row['base']:.4f} -> {row['treated']:.4f}  {row['gain']:+.1%} {interval} seeds {len(row['seeds'])}"
        )


def draw(rows: list[Row], metric: str, path: Path) -> None:
    """Draw the gains on test: students in columns, teachers in rows, smallest first."""
    from matplotlib import pyplot

    cells = {(row["teacher"], row["student"]): row for row in rows if (row["split"], row["metric"]) == ("test", metric)}
    if not cells:
        raise SystemExit(f"no finished pair has {metric} on test: name one of the JSON's metrics")
    sizes = sorted({size for pair in cells for size in pair}, key=lambda size: [int(part) for part in size.split("x")])
    gain_TS = np.full((len(sizes), len(sizes)), np.nan)
    for (teacher, student), row in cells.items():
        gain_TS[sizes.index(teacher), sizes.index(student)] = 100 * row["gain"]
    figure, axes = pyplot.subplots(figsize=(1.5 * len(sizes) + 1.5, 1.2 * len(sizes) + 1))
    most = 1.7 * float(np.nanmax(np.abs(gain_TS)))  # pale enough for the figures in the cells
    image = axes.imshow(gain_TS, cmap="RdBu", vmin=-most, vmax=most)
    for (teacher, student), row in cells.items():
        told = f"{row['gain']:+.1%}\n[{row['low']:+.1%}, {row['high']:+.1%}]"
        axes.text(sizes.index(student), sizes.index(teacher), told, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_yticks(range(len(sizes)), sizes)
    axes.set_xlabel("student")
    axes.set_ylabel("teacher")
    axes.set_title(f"theta_1 against theta_0, test {metric}", fontsize=9)
    figure.colorbar(image, label="%")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
