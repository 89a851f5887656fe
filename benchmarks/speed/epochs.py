"""How fast is an epoch of each backbone, and how fast was it before its tokens were packed?

    OMP_NUM_THREADS=1 python -m benchmarks.speed.epochs --before FOLDER --json docs/results/training.json

`before` is the commit that this began with (`--before`: a checkout of it, built as its own installation builds it).
Both fit the same data with the same settings on one thread, in turns, a process each (`epoch_worker.py`). `epoch_s` is
the median of `--repeats` epochs after a first one, `cpu_epoch_s` what the process worked of it, which others on the
machine disturb less; `times_before` and `times_before_cpu` are medians of the rounds' ratios. The draws of dropout
differ between the versions, so losses are alike and not the same: epochs whose losses part by more than a hundredth are
no result. `--rectools` adds so many epochs of RecTools' SASRec (`rectools.py`) right after ours, with the loss and the
negatives of the preset, and `times_ours`, how many of our epochs one of theirs takes. Rows of the file that this does
not measure stay.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record.machine import commit, environment
from benchmarks.record.result_file import Row, read_rows, write_rows
from benchmarks.speed.rectools import ENVIRONMENT, rectools_epochs
from benchmarks.speed.turns import BEFORE, ROOT, Worker, clocked
from rsir_scale.config.file import load_config

SCRIPT = Path(__file__).with_name("epoch_worker.py")
BACKBONES = ("sasrec", "cl4srec", "semantic_id", "hstu")
CONFIGS = {"paper": "configs/toys.yaml", "strong": "configs/strong/toys.yaml"}
APART = 0.01  # of the losses


def main() -> None:
    """Measure, print, and write after each backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help=f"a built checkout of {BEFORE}")
    parser.add_argument("--presets", nargs="+", default=["paper"], choices=list(CONFIGS))
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of both sides")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rectools", type=int, default=0, metavar="EPOCHS", help="of RecTools, beside our SASRec")
    parser.add_argument("--env", type=Path, default=ENVIRONMENT, help="RecTools'; made where it is not there")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for preset in arguments.presets:
        for backbone in arguments.backbones:
            measured = measure(preset, backbone, arguments)
            if backbone == "sasrec" and arguments.rectools:
                measured.append(rectools_row(preset, arguments, ours_s=float(measured[0]["epoch_s"])))
            for row in measured:
                print(row, flush=True)
            if arguments.json:
                write_rows(arguments.json, [*others(read_rows(arguments.json), preset, backbone), *measured])


def others(rows: Sequence[Row], preset: str, backbone: str) -> list[Row]:
    """The rows that are not of the backbone under the preset."""
    return [row for row in rows if (row.get("preset"), row.get("backbone")) != (preset, backbone)]


def measure(preset: str, backbone: str, arguments: argparse.Namespace) -> list[Row]:
    """Time an epoch on both versions in turns. Raises SystemExit: their losses are not alike."""
    repeats: int = arguments.repeats
    overrides = [f"model.backbone={backbone}", f"training.preset={preset}", f"training.max_epochs={repeats + 1}"]
    given = ["--config", str(ROOT / CONFIGS[preset]), *overrides, *arguments.overrides]
    trees = {"ours": ROOT, "before": arguments.before}
    workers = {name: Worker(tree, SCRIPT, given) for name, tree in trees.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for _ in range(repeats + 1):
        for name, worker in workers.items():
            taken[name].append(worker.do())
    told = {name: json.loads(worker.end()) for name, worker in workers.items()}
    require_alike(*(told[name]["training_loss"] for name in workers))
    return [
        {
            "implementation": name,
            "preset": preset,
            "backbone": backbone,
            "threads": 1,
            "cpu": environment()["cpu"],
            "commit": commit() if name == "ours" else BEFORE,
            **{rename(key): value for key, value in clocked(taken[name][1:], taken["before"][1:]).items()},
            "epochs_s": [round(clock, 3) for clock, _ in taken[name][1:]],
            **told[name],
        }
        for name in workers
    ]


def rectools_row(preset: str, arguments: argparse.Namespace, *, ours_s: float) -> Row:
    """Time RecTools' epochs. Raises SystemExit: see `rectools_epochs`."""
    config = load_config(ROOT / CONFIGS[preset], [f"training.preset={preset}", *arguments.overrides])
    found = rectools_epochs(config, epochs=arguments.rectools, environment=arguments.env)
    epoch_s = statistics.median(found["epoch_s"])
    return {
        "implementation": "rectools",
        "preset": preset,
        "backbone": "sasrec",
        "threads": 1,
        "cpu": environment()["cpu"],
        "epoch_s": round(epoch_s, 3),
        "times_ours": round(epoch_s / ours_s, 1),
        "epochs_s": [round(seconds, 3) for seconds in found["epoch_s"]],
        "training_loss": found["losses"],
    }


def rename(figure: str) -> str:
    """`epoch_s` for what an epoch takes."""
    return {"seconds": "epoch_s", "cpu_seconds": "cpu_epoch_s"}.get(figure, figure)


def require_alike(ours: list[float], before: list[float]) -> None:
    """Refuse to compare the times of epochs that learned differently.

    Raises:
        SystemExit: the losses of an epoch are further apart than dropout accounts for.
    """
    if any(abs(one - other) > APART * other for one, other in zip(ours, before, strict=True)):
        raise SystemExit(f"losses {ours} and {before} are more than {APART:.0%} apart, so the times say nothing")


if __name__ == "__main__":
    main()
