"""What does the clustered check cost in the end? The paper's Table 11: base, exact and clustered, with intervals.

    python benchmarks/cluster_accuracy.py run    --config configs/sports.yaml --out runs/clusters-sports
    python benchmarks/cluster_accuracy.py report --out runs/clusters-sports --json docs/results/clusters-sports.json

Runs are those of `paired_gain.py` (theta_0 of a seed is shared, budgets are equal in updates, it resumes after any
stop), with an arm `exact` and, for each `--nprobe` and semantics, one that scans an inverted file of FAISS instead:
`count` ranks an own item among the probed items wherever it lies, `membership` is the paper's Sec. D.5 to the letter.
The report sets each clustered theta_1 against the exact one of the same seed, over seeds and users.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from machine import environment
from paired_gain import METRICS, compare, generated, ranks_of, run_arm

from rsir_scale.evaluation.iteration import TEST_RANK, VALIDATION_RANK
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.evaluation.significance import paired_gain
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store


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
            for arm in ["exact", *arms(arguments.nprobe, arguments.semantics)]:
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
    """One row for each arm, split and metric: theta_1 against theta_0, and against the exact theta_1."""
    done: dict[str, dict[int, Path]] = {}
    for folder in sorted(out.glob("*-seed*")):
        arm, _, seed = folder.name.rpartition("-seed")
        if read_status(open_store(folder))["state"] == "done":
            done.setdefault(arm, {})[int(seed)] = folder
    rows = [row for arm, folders in done.items() for row in arm_rows(arm, folders, done["exact"])]
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
    for row in rows:
        against = row.get("against_exact")
        told = (
            f"  against exact {against['mean']:+.1%} [{against['low']:+.1%}, {against['high']:+.1%}]" if against else ""
        )
        print(
            f"{row['arm']:>14} {row['split']:>10} {row['metric']:>9} {row['base']:.4f} -> {row['treated']:.4f} "
            f"{row['gain']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}]{told}  seeds {len(row['per_seed'])}"
        )


def arm_rows(arm: str, folders: dict[int, Path], exact: dict[int, Path]) -> list[dict[str, object]]:
    """The rows of one arm, over the seeds that both it and the exact arm have finished."""
    seeds = sorted(folders.keys() & exact.keys())
    if not seeds:
        return []
    rows = [row for row in compare(arm, [folders[seed] for seed in seeds]) if row["iteration"] == 1]
    if arm == "exact":
        return rows
    written = generated([folders[seed] for seed in seeds], 0)
    for split, column in (("validation", VALIDATION_RANK), ("test", TEST_RANK)):
        sides = [np.stack([ranks_of(side[seed], 1, column) for seed in seeds]) for side in (exact, folders)]
        for metric, cutoff in METRICS:
            difference = paired_gain(*(per_user(ranks, metric=metric, cutoff=cutoff) for ranks in sides))
            for row in rows:
                if (row["split"], row["metric"]) == (split, f"{metric}@{cutoff}"):
                    row["against_exact"] = {
                        "mean": difference.mean,
                        "low": difference.low,
                        "high": difference.high,
                        "per_seed": difference.per_seed,
                    }
                    row["generated"] = written
    return rows


if __name__ == "__main__":
    main()
