"""Is the gain the generated data's? RSIR against its base, against more training, and against a copy of the data.

    python -m benchmarks.studies.strong_gain run    --config configs/strong/toys.yaml --out runs/strong-toys
    python -m benchmarks.studies.strong_gain report --out runs/strong-toys \\
        --ranks docs/results/ranks/strong-toys.parquet --json docs/results/strong-toys.json

For each seed there is one base, theta_0, and from it, with equal budgets in optimiser updates:

- `rsir-finetune`, `rsir-retrain`: the config's recursion, warm-started or from scratch;
- `extra-finetune`, `extra-retrain`: theta_0 trained on with D_0 alone, for at most as many updates as theta_1 of the
  variant, at the rate of fine-tuning;
- `copies-…`: D_0 and each of its sequences once more; `reordered-…`: once more with a random window of a fifth of its
  items shuffled (two at least), the paper's heuristic; `thinned-…`: D_0 and each of its sequences m times more, each
  time without up to half of its items, order kept, which is what most accepted sequences look like. They are the
  augmenters `copies`, `reordering` and `thinned`, in the variant of the arm that they are set against.

All are ordinary run directories of `paired_gain.py`, which resume after any stop. `report` takes the ranks of all users
over into the file `--ranks`, one for each config, and reports on what that holds, so seeds may be made on several
machines, one after another. Intervals are over seeds and users. In ranks that were kept before there were augmenters,
`reordered` has all sequences once more; now those that a shuffle leaves as they were leave no row.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import count, product, takewhile
from pathlib import Path

import torch

from benchmarks.record.result_file import write_rows
from benchmarks.studies.kept_ranks import BASE, Key, Ranks, contrast, keep, ranks_at
from benchmarks.studies.paired_gain import AA_ARM, run_arm
from rsir_scale.config.file import load_config
from rsir_scale.runs.evaluated import read_evaluation
from rsir_scale.storage.opening import open_store

VARIANTS = ("finetune", "retrain")
# The settings of each kind of copy.
COPIES = {
    "copies": ("generation.augmenter=copies", "generation.trials_per_sequence=1"),
    "reordered": ("generation.augmenter=reordering", "augmenter.rate=0.2", "generation.trials_per_sequence=1"),
    "thinned": ("generation.augmenter=thinned",),
}


def main() -> None:
    """Run arms or report on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make what is missing")
    run.add_argument("--config", required=True)
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    run.add_argument("--variants", nargs="+", choices=VARIANTS, default=["finetune"])
    run.add_argument("--copies", nargs="*", choices=list(COPIES), default=list(COPIES))
    run.add_argument("--set", action="append", default=[], dest="overrides")
    run.add_argument("--out", type=Path, required=True)
    report = verbs.add_parser("report", help="compare what is there")
    report.add_argument("--out", type=Path, required=True)
    report.add_argument("--ranks", type=Path, required=True, help="what the study keeps when its runs are gone")
    report.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "report":
        write_report(arguments.out, arguments.ranks, arguments.json)
        return
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        for variant in arguments.variants:
            for arm in (f"rsir-{variant}:loop.variant={variant}", extra_arm(arguments, variant)):
                run_arm(arguments.config, arguments.overrides, arm, seed, arguments.out)
        for name, variant in product(arguments.copies, arguments.variants):
            run_arm(arguments.config, arguments.overrides, copy_arm(name, variant), seed, arguments.out)


def extra_arm(arguments: argparse.Namespace, variant: str) -> str:
    """The arm that keeps nothing it generates, warm-started: as much more training on D_0 as theta_1 has in all."""
    training = load_config(arguments.config, arguments.overrides).training
    passes = (training.for_finetuning() if variant == "finetune" else training).max_epochs
    keys = [*AA_ARM, "loop.variant=finetune", f"training.finetune_epochs={passes}"]
    return f"extra-{variant}:{','.join(keys)}"


def copy_arm(name: str, variant: str) -> str:
    """The arm that is trained on a copy of D_0 beside D_0; in every iteration it is D_0 that is copied."""
    keys = [*COPIES[name], "generation.sources=real", f"loop.variant={variant}"]
    return f"{name}-{variant}:{','.join(keys)}"


def write_report(out: Path, ranks_path: Path, json_path: Path) -> None:
    """Keep the ranks of what is finished; of all that is kept, a row for each two arms, iteration, split and metric."""
    kept = keep(ranks_path, finished(out))
    rows = [
        row
        for arm, against, iteration in dict.fromkeys(contrasts_of(kept))
        for row in contrast(
            arm, against, iteration, paired(models_of(kept, against, iteration), models_of(kept, arm, iteration))
        )
    ]
    write_rows(json_path, rows)
    for row in rows:
        print(
            f"{row['arm']:>18} against {row['against']:>18} {row['split']:>10} theta_{row['iteration']} "
            f"{row['metric']:>9} {row['base']:.4f} -> {row['treated']:.4f}  {row['gain']:+.1%} "
            f"[{row['low']:+.1%}, {row['high']:+.1%}] seeds {len(row['seeds'])}"
        )


def finished(out: Path) -> dict[Key, Ranks]:
    """The ranks of every evaluated model of the study's folders; theta_0, which the arms of a seed share, is `base`."""
    found = {}
    for folder in sorted(out.glob("*-seed*")):
        arm, _, seed = folder.name.rpartition("-seed")
        for iteration in takewhile(partial(is_evaluated, folder), count()):
            found[arm if iteration else BASE, int(seed), iteration] = ranks_at(folder, iteration)
    return found


def is_evaluated(folder: Path, iteration: int) -> bool:
    """Whether the ranks of an iteration are there."""
    return read_evaluation(open_store(folder), iteration) is not None


def contrasts_of(kept: dict[Key, Ranks]) -> Iterator[tuple[str, str, int]]:
    """What is set against what, by iteration: RSIR against its base and each other arm, and each of these against it.

    Two variants name some twice.
    """
    for variant in VARIANTS:
        arm = f"rsir-{variant}"
        others = [*(f"extra-{name}" for name in VARIANTS), *(f"{name}-{variant}" for name in COPIES)]
        for iteration in sorted({iteration for name, _, iteration in kept if name == arm}):
            yield arm, BASE, iteration
            for other in others:
                yield arm, other, iteration
                yield other, BASE, iteration


def models_of(kept: dict[Key, Ranks], arm: str, iteration: int) -> dict[int, Ranks]:
    """The ranks of an arm's iteration, by seed; the base has but one."""
    wanted = arm, 0 if arm == BASE else iteration
    return {seed: ranks for (name, seed, number), ranks in kept.items() if (name, number) == wanted}


def paired(before: dict[int, Ranks], after: dict[int, Ranks]) -> dict[int, tuple[Ranks, Ranks]]:
    """The seeds that both have."""
    return {seed: (before[seed], after[seed]) for seed in sorted(before.keys() & after.keys())}


if __name__ == "__main__":
    main()
