"""Does the recursion help? Paired runs over several seeds, with an interval over seeds and users.

Each arm is a set of overrides on one config; each (arm, seed) is an ordinary run directory, made by the ordinary
recursion in this process (no Ray), so the study resumes after any stop and every figure can be verified with
`rsir verify`. Arms whose training settings agree share theta_0 of a seed. Budgets are equal in optimiser updates.

    python -m benchmarks.studies.paired_gain run    --config configs/toys.yaml --seeds 0 1 2 3 4 --out runs/gain-toys
    python -m benchmarks.studies.paired_gain report --out runs/gain-toys --json docs/results/gain-toys.json

With `--ranks FILE` the report keeps the ranks of finished runs there (one file for each config), so seeds may be made
on several machines. The arm `aa` keeps nothing that it generates: theta_1 is theta_0's training again under other
draws, which shows how large a difference without any cause is.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from benchmarks.record.result_file import write_rows
from benchmarks.studies.kept_ranks import Key, Ranks, gains, keep, ranks_at
from rsir_scale.config.effect import effective_settings
from rsir_scale.config.file import load_config
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run, read_config, read_provenance
from rsir_scale.runs.events import append_event
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.status import read_status
from rsir_scale.runs.trained import has_model
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.training.epoch import Progress

AA_ARM = ["generation.min_length=1000000", "generation.trials_per_sequence=1"]


def main() -> None:
    """Run arms or report on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make the runs that are missing")
    run.add_argument("--config", required=True)
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    run.add_argument("--arm", action="append", default=[], help="NAME or NAME:key=value,key=value; `aa` is built in")
    run.add_argument("--set", action="append", default=[], dest="overrides")
    run.add_argument("--out", type=Path, required=True)
    report = verbs.add_parser("report", help="compare the runs that are there")
    report.add_argument("--out", type=Path, required=True)
    report.add_argument("--ranks", type=Path, help="keep the ranks there, and report on all that it holds")
    report.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "run":
        torch.set_num_threads(1)
        for seed in arguments.seeds:
            for arm in arguments.arm or ["rsir", "aa"]:
                run_arm(arguments.config, arguments.overrides, arm, seed, arguments.out)
    else:
        write_report(arguments.out, arguments.json, arguments.ranks)


def run_arm(config_path: str, overrides: list[str], arm: str, seed: int, out: Path) -> None:
    """Make or finish one run."""
    name, _, keys = arm.partition(":")
    own = AA_ARM if name == "aa" else [key for key in keys.split(",") if key]
    config = load_config(config_path, [*overrides, *own, f"seed={seed}"])
    folder = out / f"{name}-seed{seed}"
    dataset = open_dataset(config.data.path)
    store = open_store(folder)
    with open_run(store, config, dataset) as run:
        share_base(config, folder, out)
        run_recursion(run, LocalPhases(report=lambda progress: tell(folder.name, progress)))
    print(json.dumps(read_status(store)["iterations"][-1]["metrics"]), flush=True)


def tell(name: str, progress: Progress) -> None:
    """Print one validation."""
    print(
        f"{name} update {progress.update}/{progress.maximum} loss {progress.loss:.4f} NDCG@20 {progress.score:.4f} "
        f"(best {progress.best_score:.4f}) {progress.seconds:.0f} s",
        flush=True,
    )


def share_base(config: Config, folder: Path, out: Path) -> None:
    """Take theta_0 over from a finished run of the same seed and training settings, if there is one."""
    if has_model(open_store(folder), 0):
        return
    for other in sorted(out.glob(f"*-seed{config.seed}")):
        store = open_store(other)
        if (
            other != folder
            and has_model(store, 0)
            and learned_from(store) == learned_from(open_store(folder))
            and training_settings(read_config(store)) == training_settings(config)
        ):
            # Under its name only when it is whole: what a kill leaves of a copy must not be taken for a model.
            copy, own = (folder / layout.folder(0) / name for name in ("model.part", "model"))
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(other / layout.folder(0) / "model", copy)
            shutil.rmtree(own, ignore_errors=True)
            copy.rename(own)
            append_event(open_store(folder), "base_shared", {"from": other.name})
            return


def learned_from(store: Store) -> tuple[str, str | None]:
    """What a run's first training read, by content."""
    provenance = read_provenance(store)
    assert provenance is not None  # noqa: S101  # it was begun
    return provenance.dataset.fingerprint, provenance.item_vectors_sha256


def training_settings(config: Config) -> dict[str, object]:
    """The settings that theta_0 depends on: those of synthetic sequences and of fine-tuning come after it."""
    sections = ("data.", "model.", "training.", "evaluation.", "seed")
    later = ("training.synthetic_", "training.finetune_")
    settings = effective_settings(config).items()
    return {key: value for key, value in settings if key.startswith(sections) and not key.startswith(later)}


def write_report(out: Path, json_path: Path, ranks_path: Path | None) -> None:
    """Compare theta_0 and the later iterations of every finished run, arm by arm, with those kept before."""
    arms = finished_arms(out)
    found = ranks_of(arms)
    rows = gains(keep(ranks_path, found) if ranks_path else found)
    for row in rows:
        # What was written is known of the runs that are here, and told only where they are all that the row is of.
        folders = arms.get(row["arm"], {})
        if sorted(folders) == row["seeds"]:
            row["generated"] = generated(list(folders.values()), row["iteration"] - 1)
    write_rows(json_path, rows)
    for row in rows:
        print(
            f"{row['arm']:>24} {row['split']:>10} theta_{row['iteration']} {row['metric']:>9} {row['base']:.4f} -> "
            f"{row['treated']:.4f}  {row['gain']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}] "
            f"seeds {len(row['seeds'])}"
        )


def finished_arms(out: Path) -> dict[str, dict[int, Path]]:
    """The finished run directories of a study, by arm and seed."""
    arms: dict[str, dict[int, Path]] = {}
    for folder in sorted(out.glob("*-seed*")):
        arm, _, seed = folder.name.rpartition("-seed")
        if is_done(open_store(folder)):
            arms.setdefault(arm, {})[int(seed)] = folder
    return arms


def is_done(store: Store) -> bool:
    """Whether a run lies there, and is finished."""
    return is_run(store) and read_status(store)["state"] == "done"


def ranks_of(arms: dict[str, dict[int, Path]]) -> dict[Key, Ranks]:
    """The ranks of every iteration of the runs."""
    return {
        (arm, seed, iteration): ranks_at(folder, iteration)
        for arm, folders in arms.items()
        for seed, folder in folders.items()
        for iteration in range(len(read_chain(open_store(folder))))
    }


def generated(folders: list[Path], iteration: int) -> dict[str, float]:
    """What the iteration wrote, as means over the runs."""
    entries = [read_status(open_store(folder))["iterations"][iteration] for folder in folders]
    names = ("new_sequences", "new_pairs", "acceptance", "novel_share", "own_items_share", "growth")
    # A share of nothing is null, and then absent here.
    known = [name for name in names if all(entry[name] is not None for entry in entries)]
    means = {name: float(np.mean([entry[name] for entry in entries])) for name in known}
    counters = [counters_of(open_store(folder), iteration) for folder in folders]
    for kind in ("true", "own", "other"):
        chosen = sum(counter[f"chosen_{kind}"] for counter in counters)
        means[f"acceptance_{kind}"] = sum(counter[f"accepted_{kind}"] for counter in counters) / max(1, chosen)
    kept = sum(counter["rows_kept"] for counter in counters)
    means["subsequence_share"] = sum(counter["subsequence_rows"] for counter in counters) / max(1, kept)
    return means


def counters_of(store: Store, iteration: int) -> dict[str, int]:
    """What an iteration's generation counted. Raises SystemExit: it wrote nothing."""
    generation = read_chain(store)[iteration].generation
    if generation is None:
        raise SystemExit(f"iteration {iteration} of {store.root} wrote no sequences: raise loop.iterations")
    return generation.counters


if __name__ == "__main__":
    main()
