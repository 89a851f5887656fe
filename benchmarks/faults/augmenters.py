"""Does every augmenter survive what RSIR survives? One run undisturbed, one with two actors, one killed: one digest.

    rsir data synthesize --users 2000 --items 400 --out data/planted --seed 1
    python -m benchmarks.faults.augmenters --data data/planted --json docs/results/augmenter-runs.json

Each run is a process of its own; with RAY_ADDRESS set, all use that cluster. The killed one gets SIGKILL after its
first commit, and once more while theta_1 is trained, and the same command goes on each time. `rsir verify` then
checks every file and writes every row again. A row of the result holds the seconds, the digests and what verification
found.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record.result_file import Row, write_rows
from rsir_scale.config.augmenters import BUILT_IN

SMALL = (
    *("model.width=32", "training.max_epochs=3", "training.batch_size=128", "training.loss=cross_entropy"),
    *("generation.trials_per_sequence=2", "generation.shard_sources=500", "fidelity.rank_threshold=10"),
)
# What an augmenter learns is learned for a few passes: the digest is looked at, not the accuracy.
PASSES = dict.fromkeys(("asrep", "diffuasr", "dr4sr"), ("augmenter.epochs=2",))
KILLED_AT = ("iteration=000/generation/commits", "iteration=001/training/state.json")
_WAIT_S = 900


def main() -> None:
    """Run, compare and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", default="configs/toys.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--augmenter", action="append", help="one of them; default all that are built in")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rsir-augmenter-runs-") as work:
        for name in arguments.augmenter or list(BUILT_IN):
            rows.append(compare(name, arguments, Path(work, name)))
            print(json.dumps(rows[-1]), flush=True)
    write_rows(arguments.json, rows, settings=[*SMALL, *arguments.overrides], config=arguments.config)
    if not all(row["equal"] and row["verified"] for row in rows):
        raise SystemExit("an augmenter's runs differ, or one does not verify")


def compare(name: str, arguments: argparse.Namespace, folder: Path) -> Row:
    """Run an augmenter three times; the digests, and what verification says of each run."""
    sets = [f"data.path={arguments.data.resolve()}", f"generation.augmenter={name}", "loop.iterations=2"]
    sets += [*SMALL, *PASSES.get(name, ()), *arguments.overrides]
    command = ["run", arguments.config, *(word for one in sets for word in ("--set", one))]
    started = time.perf_counter()
    finish([*command, "--set", "generation.actors=1", "--run-dir", str(folder / "one")])
    seconds = time.perf_counter() - started
    finish([*command, "--set", "generation.actors=2", "--run-dir", str(folder / "two")])
    killed = [*command, "--set", "generation.actors=2", "--run-dir", str(folder / "killed")]
    kills = [kill(killed, folder / "killed" / moment) for moment in KILLED_AT]
    finish(killed)
    runs = {kind: folder / kind for kind in ("one", "two", "killed")}
    digests = {kind: answer(["status", str(run), "--json"])["digest"] for kind, run in runs.items()}
    reports = [answer(["verify", str(run), "--json"]) for run in runs.values()]
    return {
        "augmenter": name,
        "seconds": round(seconds, 1),
        "kills": sum(kills),
        "digest": digests["one"],
        "equal": len(set(digests.values())) == 1,
        "verified": all(report["ok"] for report in reports),
        "rows": reports[0]["rows"],
        "rows_made_again": reports[0]["rows_rechecked"],
        "faults": [fault for report in reports for fault in report["faults"]][:3],
    }


def rsir(words: list[str]) -> list[str]:
    """The command line as this interpreter runs it."""
    return [sys.executable, "-m", "rsir_scale", *words]


def finish(words: list[str]) -> None:
    """Run to the end. Raises SystemExit with what the command printed."""
    done = subprocess.run(rsir(words), capture_output=True, text=True, timeout=_WAIT_S, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with {done.returncode}: {done.stderr[-2000:]}")


def kill(words: list[str], moment: Path) -> bool:
    """Run until a file is there, then SIGKILL; whether that came before the end."""
    with subprocess.Popen(rsir(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + _WAIT_S
        while not moment.exists() and run.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        alive = run.poll() is None
        run.send_signal(signal.SIGKILL)
    return alive


def answer(words: list[str]) -> dict[str, Any]:
    """What a command prints as JSON; `verify` may end with 4."""
    done = subprocess.run(rsir(words), capture_output=True, text=True, timeout=_WAIT_S, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
