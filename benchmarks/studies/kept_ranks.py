"""Ranks that a study keeps when its run directories are gone: one small Parquet file, added to on any machine.

The file is replaced whole, under a lock: of seeds whose runs are gone it is the only copy. A row is the ranks of all
users under one model, `(arm, seed, iteration)`, on validation and on test, in the order of the dataset's users. Ranks
above 20 are kept as 21: no metric looks beyond 20.
"""

import io
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.record.result_file import Row, alone
from rsir_scale.analysis.significance import paired_gain
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.runs.evaluated import TEST_RANK, VALIDATION_RANK, read_evaluation, read_ranks
from rsir_scale.storage.opening import open_store

METRICS = (("NDCG", 10), ("Recall", 10), ("NDCG", 20), ("Recall", 20))
BASE = "base"
Key = tuple[str, int, int]
Ranks = dict[str, np.ndarray]
SPLITS = {"validation": VALIDATION_RANK, "test": TEST_RANK}
KEY = ["arm", "seed", "iteration"]
LARGEST = 21


def ranks_at(folder: Path, iteration: int) -> Ranks:
    """The ranks of an iteration of a run, by split. Raises SystemExit: it was not evaluated."""
    store = open_store(folder)
    evaluation = read_evaluation(store, iteration)
    if evaluation is None:
        raise SystemExit(f"{folder} has no ranks of iteration {iteration}: finish the run first")
    ranks = read_ranks(store, evaluation)
    return {split: ranks[column].to_numpy() for split, column in SPLITS.items()}


def keep(path: Path, found: dict[Key, Ranks]) -> dict[Key, Ranks]:
    """Add models to the file, and return all that it holds then.

    Raises:
        SystemExit: the models were not evaluated on as many users as those of the file, or it holds one of them with
            other ranks: what was compared with that one would be compared with another now.
    """
    with alone(path):
        return _keep(path, found)


def _keep(path: Path, found: dict[Key, Ranks]) -> dict[Key, Ranks]:
    before = read(path) if path.exists() else {}
    changed = [key for key in found.keys() & before.keys() if not _same(found[key], before[key])]
    if changed:
        raise SystemExit(
            f"{path} holds {sorted(changed)[0]} with other ranks ({len(changed)} such): give what was made anew a file "
            "of its own, with all that it is compared with"
        )
    kept = before | found
    users = {split: {len(ranks[split]) for ranks in kept.values()} for split in SPLITS}
    if any(len(numbers) > 1 for numbers in users.values()):
        raise SystemExit(f"{path} holds models of other users ({users}): give each dataset a file of its own")
    rows = [
        dict(zip(KEY, key, strict=True)) | {split: narrowed(ranks[split]).tolist() for split in SPLITS}
        for key, ranks in sorted(kept.items())
    ]
    data = io.BytesIO()
    pl.DataFrame(rows, schema_overrides=dict.fromkeys(SPLITS, pl.List(pl.UInt8))).write_parquet(data)
    open_store(path.parent).put(path.name, data.getvalue())
    return kept


def read(path: Path) -> dict[Key, Ranks]:
    """The models of a file, with their ranks."""
    return {
        (row["arm"], row["seed"], row["iteration"]): {split: np.array(row[split], dtype=np.int64) for split in SPLITS}
        for row in pl.read_parquet(path).iter_rows(named=True)
    }


def _same(one: Ranks, other: Ranks) -> bool:
    return all(np.array_equal(narrowed(one[split]), narrowed(other[split])) for split in SPLITS)


def narrowed(ranks: np.ndarray) -> np.ndarray:
    """Ranks as a file keeps them; a user without a held-out item there (rank null) has the largest."""
    kept: np.ndarray = np.minimum(np.nan_to_num(ranks, nan=LARGEST), LARGEST).astype(np.uint8)
    return kept


def gains(kept: dict[Key, Ranks]) -> list[Row]:
    """Each arm's later iterations against its own theta_0: one row for each arm, iteration, split and metric."""
    rows = []
    for arm, iteration in sorted({(arm, iteration) for arm, _, iteration in kept if iteration}):
        seeds = sorted(seed for name, seed, number in kept if (name, number) == (arm, iteration))
        pairs = {seed: (kept[arm, seed, 0], kept[arm, seed, iteration]) for seed in seeds}
        rows += contrast(arm, BASE, iteration, pairs)
    return rows


def contrast(arm: str, against: str, iteration: int, pairs: dict[int, tuple[Ranks, Ranks]]) -> list[Row]:
    """The paired gain over seeds and users, one row for each split and metric; none without pairs.

    Args:
        pairs: by seed, the ranks that are set against, and the arm's own.
    """
    rows = []
    for split in SPLITS if pairs else ():
        before, after = (np.stack([pair[side][split] for pair in pairs.values()]) for side in (0, 1))
        for metric, cutoff in METRICS:
            values = [per_user(ranks, metric=metric, cutoff=cutoff) for ranks in (before, after)]
            gain = paired_gain(*values)
            rows.append(
                {
                    "arm": arm,
                    "against": against,
                    "split": split,
                    "iteration": iteration,
                    "metric": f"{metric}@{cutoff}",
                    "base": float(values[0].mean()),
                    "treated": float(values[1].mean()),
                    "gain": gain.mean,
                    "low": gain.low,
                    "high": gain.high,
                    "per_seed": gain.per_seed,
                    "seeds": list(pairs),
                }
            )
    return rows
