"""What does the clustered check cost in the end? The paper's Table 11: base, exact and clustered, with intervals.

    python -m benchmarks.studies.cluster_accuracy run    --config configs/sports.yaml --out runs/clusters-sports
    python -m benchmarks.studies.cluster_accuracy report --out runs/clusters-sports \\
        --json docs/results/clusters-sports.json

Runs are those of `paired_gain.py` (theta_0 of a seed is shared, budgets are equal in updates, it resumes after any
stop), with an arm `exact` and, for each `--nprobe` and semantics, one that scans an inverted file of FAISS instead:
`count` ranks an own item among the probed items wherever it lies, `membership` is the paper's Sec. D.5 to the letter.
The report sets each clustered theta_1 against the exact one of the same seed, over seeds and users.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.record.result_file import write_rows
from benchmarks.studies.kept_ranks import contrast, gains
from benchmarks.studies.paired_gain import finished_arms, generated, ranks_of, run_arm

EXACT = "exact"


def main() -> None:
    """Run arms or report on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make the runs that are missing")
    run.add_argument("--config", required=True)
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    run.add_argument("--nprobe", type=int, nargs="+", default=[8, 32])
    run.add_argument("--semantics", nargs="+", default=["count", "membership"])
    run.add_argument("--set", action="append", default=[], dest="overrides")
    run.add_argument("--out", type=Path, required=True)
    report = verbs.add_parser("report", help="compare the runs that are there")
    report.add_argument("--out", type=Path, required=True)
    report.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "run":
        torch.set_num_threads(1)
        for seed in arguments.seeds:
            for arm in [EXACT, *arms(arguments.nprobe, arguments.semantics)]:
                run_arm(arguments.config, arguments.overrides, arm, seed, arguments.out)
    else:
        write_report(arguments.out, arguments.json)


def arms(nprobes: list[int], semantics: list[str]) -> list[str]:
    """Each clustered arm with its overrides, as `paired_gain` takes them."""
    return [
        f"{meaning}{nprobe}:fidelity.mode=clustered,fidelity.scan=faiss,fidelity.nprobe={nprobe},"
        f"fidelity.semantics={meaning}"
        for nprobe in nprobes
        for meaning in semantics
    ]


def write_report(out: Path, json_path: Path) -> None:
    """For each arm, split and metric a row against theta_0, and one against the exact theta_1 of the same seeds."""
    finished = finished_arms(out)
    ranks = ranks_of(finished)
    rows = [row for row in gains(ranks) if row["iteration"] == 1]
    for row in rows:
        row["generated"] = generated(list(finished[row["arm"]].values()), 0)
    exact = finished.get(EXACT, {})
    for arm in sorted(finished.keys() - {EXACT}):
        both = sorted(finished[arm].keys() & exact.keys())
        rows += contrast(arm, EXACT, 1, {seed: (ranks[EXACT, seed, 1], ranks[arm, seed, 1]) for seed in both})
    write_rows(json_path, rows)
    for row in rows:
        print(
            f"{row['arm']:>14} against {row['against']:>5} {row['split']:>10} {row['metric']:>9} {row['base']:.4f} -> "
            f"{row['treated']:.4f} {row['gain']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}] "
            f"seeds {len(row['seeds'])}"
        )


if __name__ == "__main__":
    main()
