"""What does each augmenter cost, and how much does it write? Seconds to prepare and to write a dataset, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.augmenters --config configs/toys.yaml \\
        --json docs/results/augmenters.json

Theta_0 is fitted once, for `--epochs` passes. Each augmenter then fits what it needs (`fit_s`, for as many passes as
`--epochs` says where it has an option `epochs`), prepares (`prepare_s`) and writes all sources of D_0 (`write_s`). The
rival `literal` writes a sample of the sources one at a time, with every context encoded from its start; its rows must
be those of the batched writer before its seconds count. `speedup` is per source. Counts are those before duplicates.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.record.machine import pin_threads
from benchmarks.record.result_file import Row, write_rows
from benchmarks.speed import plain_asrep, plain_dr4sr
from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.augmenters.written import Written
from rsir_scale.config.augmenters import BUILT_IN
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.sequences import Sequences
from rsir_scale.generation.learning import fit_augmenter_locally
from rsir_scale.loop.local import LocalPhases
from rsir_scale.runs import layout
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.runs.plan import plan_iteration
from rsir_scale.storage.opening import open_store

SEED = 1
LITERAL = {"asrep": plain_asrep.literal, "dr4sr": plain_dr4sr.literal}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/toys.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--augmenter", action="append", help="one of them; default all that are built in")
    parser.add_argument("--epochs", type=int, default=2, help="passes over D_0, of theta_0 and of what is learned")
    parser.add_argument("--literal-sources", type=int, default=200, help="sources that the rival writes")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    pin_threads(1)
    common = [*arguments.overrides, f"training.max_epochs={arguments.epochs}"]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rsir-augmenters-") as work:
        base = Path(work, "base")
        for name in arguments.augmenter or list(BUILT_IN):
            row = measure(name, arguments.config, common, base, arguments)
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    write_rows(arguments.json, rows, settings=common, config=arguments.config)


def measure(name: str, config_path: str, common: list[str], base: Path, arguments: argparse.Namespace) -> Row:
    """Fit, prepare and write with one augmenter."""
    chosen = [*common, f"generation.augmenter={name}"]
    config = load_config(config_path, chosen)
    if "epochs" in config.augmenter:
        chosen.append(f"augmenter.epochs={arguments.epochs}")
        config = load_config(config_path, chosen)
    folder = base.with_name(name)
    with open_run(open_store(folder), config, open_dataset(config.data.path)) as run:
        give_base(run, folder, base)
        sources = run.dataset.training_sequences()
        augmenter = augmenter_of(run, 0)
        plan = plan_iteration(run, 0, trials=augmenter.trials)
        fit_s = timed(lambda: fit_augmenter_locally(augmenter))
        prepare_s = timed(lambda: augmenter.prepare(plan))
        augmenter.open()
        started = time.perf_counter()
        written = augmenter.write(sources)
        write_s = time.perf_counter() - started
        literal_s = against_literal(name, augmenter, sources, arguments.literal_sources)
    row: Row = {
        "augmenter": name,
        "sources": len(sources),
        "fit_s": round(fit_s, 2),
        "passes": arguments.epochs if "epochs" in config.augmenter else 0,
        "prepare_s": round(prepare_s, 3),
        "write_s": round(write_s, 3),
        "rows": len(written),
        "items": int(written.offsets[-1]),
        "added_items": added_items(written, sources, replaces=augmenter.replaces_source),
        "stops": dict(written.stops),
    }
    if literal_s is not None:
        per_source = literal_s / min(arguments.literal_sources, len(sources))
        row |= {"literal_s": round(literal_s, 2), "speedup": round(per_source * len(sources) / write_s, 1)}
    shutil.rmtree(folder)
    return row


def give_base(run: HeldRun, folder: Path, base: Path) -> None:
    """Leave theta_0 in a run: fitted the first time, copied after that."""
    model = Path(layout.model(0)).parent
    if base.exists():
        shutil.copytree(base, folder / model)
        return
    LocalPhases().train(run, 0)
    shutil.copytree(folder / model, base)


def timed(work: object) -> float:
    """Seconds that a call without arguments takes."""
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def against_literal(name: str, augmenter: Augmenter, sources: Sequences, count: int) -> float | None:
    """Seconds that the rival takes for a sample, once its rows are those of the batched writer; None without one."""
    if name not in LITERAL:
        return None
    chosen = np.random.default_rng(SEED).permutation(len(sources))[:count]
    sample = sources.select(np.sort(chosen))
    started = time.perf_counter()
    expected = LITERAL[name](augmenter, sample)
    seconds = time.perf_counter() - started
    found = augmenter.write(sample)
    same = np.array_equal(found.items, expected.items) and np.array_equal(found.offsets, expected.offsets)
    if not same:
        raise SystemExit(f"{name}: the rows are not those that are written one sequence at a time")
    return seconds


def added_items(written: Written, sources: Sequences, *, replaces: bool) -> int:
    """Items that training has more of afterwards, before duplicates are settled."""
    replaced = int(sources.lengths[np.unique(written.source)].sum()) if replaces else 0
    return int(written.offsets[-1]) - replaced


if __name__ == "__main__":
    main()
