"""A finished run of two generations on a small market, made once a process without Ray, for tests that read runs."""

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import polars as pl

from rsir_scale.config.file import resolve
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.prepare import prepare
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.randomness import uniforms
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store

USERS, ITEMS = 60, 30
Interaction = tuple[str, str, float | None]


@dataclass(frozen=True)
class TinyRun(Run):
    """A run in a folder of this machine."""

    @property
    def path(self) -> Path:
        return Path(self.store.root)

    def copy_to(self, folder: Path) -> "TinyRun":
        """A copy that a test may damage."""
        shutil.copytree(self.path, folder)
        return TinyRun(open_store(folder), self.dataset, self.config)


def interactions(*, with_times: bool) -> list[Interaction]:
    """Users who walk a ring of items in steps of 1 or 2, with ties in time; the last of them has 2 interactions."""
    rows: list[Interaction] = []
    for user in range(USERS):
        draws = uniforms(5, user, range(14), 1)
        item, time = int(draws[0] * ITEMS), 1000.0 * user
        for step in range(2 if user == USERS - 1 else 5 + user % 9):
            rows.append((f"u{user}", str(100 + item), time if with_times else None))
            item = (item + 1 + int(draws[step] * 2)) % ITEMS
            time += float(step % 3 > 0)
    return rows


@cache
def tiny_dataset(*, with_times: bool = True) -> PreparedDataset:
    """The market, prepared."""
    folder = Path(mkdtemp(prefix="rsir-test-")) / "market"
    rows = interactions(with_times=with_times)
    schema = {"user_id": pl.String, "item_id": pl.String, "time": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("order")
    prepare(frame.with_columns(pl.col("order").cast(pl.Int64)).lazy(), folder, min_count=0)
    return open_dataset(folder)


@cache
def tiny_run(
    *,
    reading: str = "paper",
    remaining: str = "before_choice",
    with_times: bool = True,
    mode: str = "exact",
    semantics: str = "count",
    keep: str = "trial",
    start_vouches: bool = False,
    model: tuple[tuple[str, object], ...] = (),
) -> TinyRun:
    """Theta_0..theta_2, of which the first two wrote sequences; `model` has more settings of that section."""
    dataset = tiny_dataset(with_times=with_times)
    config = resolve(
        {
            "data": {"path": str(dataset.path), "max_length": 8},
            "model": {"width": 16, "feed_forward": 16, "blocks": 1, "heads": 2, "dropout": 0.1, **dict(model)},
            "training": {"max_epochs": 8, "batch_size": 16, "negatives": 16, "learning_rate": 0.02},
            "generation": {
                "reading": reading,
                "keep": keep,
                "trials_per_sequence": 2,
                "shard_sources": 25,
                "batch_size": 32,
                "top_candidates": 6,
            },
            "fidelity": {
                "rank_threshold": 4,
                "remaining": remaining,
                "start_vouches": start_vouches,
                "mode": mode,
                "semantics": semantics,
                "clusters": 8,
                "nprobe": 1,
            },
            "loop": {"iterations": 2},
        }
    )
    store = open_store(Path(mkdtemp(prefix="rsir-test-")) / "run")
    with open_run(store, config, dataset) as run:
        run_recursion(run, LocalPhases())
    return TinyRun(store, dataset, config)
